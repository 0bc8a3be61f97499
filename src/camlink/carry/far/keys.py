"""Keys: one CURVE key a role and run, with a short life, in files that only their user can read.

A key file holds the secret of its role and the public keys of the others (its pins): nothing else is ever accepted.
Secrets travel in these files alone, never as an argument, in a log or in a report. CURVE: CurveZMQ, RFC 26/ZMTP.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
import zmq

from camlink.clock import now_s
from camlink.errors import InputError, StorageError

LIFE_S: Final = 24 * 3600.0
LARGEST_FILE_BYTES: Final = 65_536
_Z85: Final = r"^[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}$"
Z85Key = Annotated[str, msgspec.Meta(min_length=40, max_length=40, pattern=_Z85)]


class Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key of one role in one run: public and secret key (Z85), pinned keys of other roles, its end [s, UNIX]."""

    run: str
    role: str
    public: Z85Key
    secret: Z85Key
    pins: dict[str, Z85Key]
    until_s: float

    def __repr__(self) -> str:
        """Without the secret: this may stand in a log."""
        return f"Keys(run={self.run!r}, role={self.role!r}, public={self.public!r})"

    def pin(self, role: str) -> bytes:
        """The public key of another role; raises InputError when this role has no business with it."""
        if role not in self.pins:
            raise InputError(f"the key of '{self.role}' does not know the role '{role}' (known: "
                             f"{', '.join(sorted(self.pins))}); make the keys of the run anew")
        return self.pins[role].encode("ascii")


def make_keys(run: str, pins: Mapping[str, Iterable[str]], life_s: float = LIFE_S) -> dict[str, Keys]:
    """A key for each role of a run; `pins` tells which roles each one talks to."""
    pairs = {role: zmq.curve_keypair() for role in pins}
    until_s = now_s() + life_s
    return {role: Keys(run=run, role=role, public=public.decode(), secret=secret.decode(), until_s=until_s,
                       pins={other: pairs[other][0].decode() for other in pins[role]})
            for role, (public, secret) in pairs.items()}


def write_private(path: Path, data: bytes) -> None:
    """A new file of mode 0600 from its first moment, complete or not there at all; raises StorageError."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, 0o600)  # whatever the umask
                file.write(data)
            part.replace(path)
        except OSError:
            part.unlink()  # half of it would be in the way of the next try
            raise
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; choose a folder of your own") from None


def read_private(path: Path, most_bytes: int = LARGEST_FILE_BYTES) -> bytes:
    """The content of a file of secrets; raises InputError when others may read it, or it is not ours."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise InputError(f"{path}: a file of secrets must be yours, with mode 0600; others may have read this "
                                 "one: make new keys")
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read the key: {error.strerror}; check the path") from None
    if len(data) > most_bytes:
        raise InputError(f"{path}: more than {most_bytes} bytes; this is no key file")
    return data


def write_keys(keys: Keys, folder: Path) -> Path:
    """Write `<role>.key` of mode 0600 into a folder of mode 0700; raises StorageError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            raise StorageError(f"{folder}: keys are kept in a folder of mode 0700 only; others may enter this one")
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}; choose a folder of your own") from None
    path = folder / f"{keys.role}.key"
    write_private(path, msgspec.json.encode(keys))
    return path


def read_keys(path: Path) -> Keys:
    """The key in a file; raises InputError when it is no key, too old, or readable by others."""
    try:
        keys = msgspec.json.decode(read_private(path), type=Keys)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InputError(f"{path}: this is no key file of camlink") from None  # the reason might quote the secret
    if now_s() >= keys.until_s:
        raise InputError(f"{path}: the life of this key is over; start a new run")
    return keys
