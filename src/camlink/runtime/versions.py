"""Versions: what camlink runs with here, and how another machine differs from it."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


@cache
def needed() -> tuple[str, ...]:
    """Names of the packages without which camlink does not run, itself first; extras are nobody's need."""
    asked = [line for line in requires("camlink") or () if "extra ==" not in line]
    return ("camlink", *(found[0] for line in asked if (found := _NAME.match(line))))


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of what is needed; what is not there is left out."""
    found = {"python": platform.python_version()}
    for name in needed():
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What differs, a sentence each; of Python what stands before the second dot."""
    return [f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
            for name in sorted({*there, *here}) if _told(name, there) != _told(name, here)]


def _told(name: str, found: Mapping[str, str]) -> str:
    text = found.get(name, "")
    return text.rpartition(".")[0] if name == "python" else text
