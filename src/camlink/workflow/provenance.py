"""Where a result comes from: versions, machine, workflow and time, as plain texts; nothing of the person who ran it."""

from __future__ import annotations

import hashlib
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Final

PACKAGES: Final = ("numpy", "scipy", "numba", "h5py", "hdf5plugin", "pyzmq", "msgspec")


def provenance(workflow_text: str) -> dict[str, str]:
    """Texts by name: program, version, python, platform, one for each package, workflow, workflow_sha256, date.

    `date` is ISO 8601 in UTC.
    """
    return {
        "program": "camlink",
        "version": _version("camlink"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in PACKAGES},
        "workflow": workflow_text,
        "workflow_sha256": hashlib.sha256(workflow_text.encode()).hexdigest(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
