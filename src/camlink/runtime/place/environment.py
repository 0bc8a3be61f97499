"""Environment: a Python on another machine that fits ours: as it is found, or made beside it for the time of a run.

What is made is a venv in our folder there: a wheel of ourselves, unpacked, before whatever packages that Python has
already. It needs no network, and no pip unless packages are missing; it goes with our folder.
"""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from importlib.resources import files
from typing import Any, Final

import msgspec

from camlink.errors import InputError, PeerLost
from camlink.runtime.place.ssh import Reach
from camlink.runtime.versions import needed, versions

OLDEST: Final = (3, 11)
INSTALL_S: Final = 300.0
_LOOK: Final = """
import importlib.metadata as m, importlib.util as u, json, sys, sysconfig
found = {"python": "%d.%d.%d" % sys.version_info[:3]}
for name in sys.argv[1:]:
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
if u.find_spec("camlink") is None: found.pop("camlink", None)
folders = [sysconfig.get_path("purelib"), *(p for p in sys.path if p.endswith(("site-packages", "dist-packages")))]
print(json.dumps({"versions": found, "folders": folders}))
"""
_ADD: Final = """
import pathlib, sys
lines = ["import site; site.addsitedir(%r)" % folder for folder in sys.argv[2:]]
pathlib.Path(sys.argv[1], "camlink-base.pth").write_text("".join(line + chr(10) for line in lines))
"""


class Found(msgspec.Struct, frozen=True):
    """A Python there: versions of itself and of what we need, and where its packages are (new ones in the first)."""

    versions: dict[str, str]
    folders: tuple[str, ...]


async def fit(reach: Reach, python: str) -> str:
    """A Python at the last host that can run an agent of this version; where none is named, one of our path or any.

    Raises InputError when there is none and none can be made of what is there.
    """
    if not python:
        try:
            return await fit(reach, sys.executable)
        except InputError:
            python = "python3"
    found = await _look(reach, python)
    if tuple(int(part) for part in found.versions["python"].split(".")[:2]) < OLDEST:
        raise InputError(f"{reach.where}: {python} is Python {found.versions['python']}, camlink needs "
                         f"{'.'.join(map(str, OLDEST))}; name another with `python:`")
    here = versions()
    if found.versions.get("camlink") == here["camlink"] and not _missing(found):
        return python
    made = f"{reach.folder}/env"
    await reach.call(python, "-m", "venv", "--without-pip", made)
    python = f"{made}/bin/python"
    (target, *_) = (await _look(reach, python)).folders
    await reach.call(python, "-c", _ADD, target, *found.folders)
    await reach.call(python, "-m", "zipfile", "-e", await reach.put_private("camlink.whl", pack()), target)
    if missing := _missing(await _look(reach, python)):
        wanted = [f"{name}=={here[name]}" if name in here else name for name in missing]
        try:
            await reach.call(python, "-m", "pip", "install", "--quiet", *wanted, patience_s=INSTALL_S)
        except PeerLost as error:
            raise InputError(f"{reach.where}: {', '.join(missing)} are missing and could not be installed; install "
                             f"them, or name a Python that has them with `python:` ({error})") from None
    return python


async def _look(reach: Reach, python: str) -> Found:
    try:
        said = await reach.call(python, "-c", _LOOK, *needed())
        return msgspec.json.decode(said, type=Found)
    except (PeerLost, msgspec.MsgspecError) as error:
        raise InputError(f"{reach.where}: '{python}' is no Python that works ({error}); name another with `python:`"
                         ) from None


def _missing(found: Found) -> list[str]:
    return [name for name in needed() if name not in found.versions and name != "camlink"]


def pack() -> bytes:
    """A wheel of this camlink, as it runs here, whether it was installed or is worked on (PEP 427)."""
    known = distribution("camlink")
    info = f"camlink-{known.version}.dist-info"
    parts = {f"camlink/{path}": data for path, data in _walk(files("camlink"), "")}
    parts[f"{info}/METADATA"] = (known.read_text("METADATA") or "").encode()
    parts[f"{info}/entry_points.txt"] = (known.read_text("entry_points.txt") or "").encode()
    parts[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: camlink\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in parts.items())
    parts[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in parts.items():
            wheel.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _walk(folder: Any, below: str) -> Iterable[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _walk(entry, f"{below}{entry.name}/")
        else:
            yield f"{below}{entry.name}", entry.read_bytes()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
