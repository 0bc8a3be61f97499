"""Ticket: the right to use a relay for one run, in one direction, for a short time; proved without being shown.

The relay has one secret. A ticket's secret is HMAC(relay secret, direction, run, end), so the relay needs no list of
runs. Who dials answers a fresh number with HMAC(ticket secret, number, what is asked): what was overheard is worthless.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import time
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from camlink.carry.far.keys import read_private, write_private
from camlink.errors import InputError, WireError

May = Literal["offer", "call"]
MAY: Final[tuple[May, May]] = ("offer", "call")
MAGIC: Final = b"camlink relay 1\n"
NONCE_BYTES: Final = 32
GREETING_BYTES: Final = len(MAGIC) + NONCE_BYTES
_ASKING: Final = struct.Struct("<1s32sQ32s32s")  # offer or call, run, end [s, UNIX], lane, proof
ASKING_BYTES: Final = _ASKING.size
_SECRET: Final = r"^[0-9a-f]{64}$"


class Ticket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one side of a run needs to use the relay at `address` (host:port) until `until_s` [s, UNIX]."""

    address: str
    run: str
    may: May
    until_s: int
    secret: Annotated[str, msgspec.Meta(pattern=_SECRET)]

    def __repr__(self) -> str:
        """Without the secret: this may stand in a log."""
        return f"Ticket(address={self.address!r}, run={self.run!r}, may={self.may!r})"

    def answer(self, greeting: bytes, lane: str) -> bytes:
        """What to say to the relay after its greeting; raises WireError when it is no relay."""
        if greeting[:len(MAGIC)] != MAGIC:
            raise WireError(f"{self.address} is no relay of camlink; check the address")
        head = (self.may[:1].encode(), _hash(self.run), self.until_s, _hash(lane))
        return _ASKING.pack(*head, _proof(bytes.fromhex(self.secret), greeting[len(MAGIC):], *head))


class Asked(NamedTuple):
    """What somebody with a right asked of the relay: to offer or to call a lane (of a run)."""

    offers: bool
    lane: bytes


class RelayKey:
    """The secret of a relay; in a file of mode 0600 on its machine, and with those who may give tickets."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def make(cls, path: Path) -> RelayKey:
        """A new secret in a new file."""
        secret = secrets.token_bytes(32)
        write_private(path, secret.hex().encode() + b"\n")
        return cls(secret)

    @classmethod
    def read(cls, path: Path) -> RelayKey:
        """The secret in a file; raises InputError when there is none, or others may read it."""
        text = read_private(path, 100).strip()
        try:
            secret = bytes.fromhex(text.decode("ascii"))
        except ValueError:
            secret = b""
        if len(secret) != 32:
            raise InputError(f"{path}: this is no key of a relay; make one with `camlink relay --new-key`")
        return cls(secret)

    def ticket(self, address: str, run: str, may: May, life_s: float) -> Ticket:
        """A new ticket."""
        until_s = int(time.time() + life_s)
        secret = self._of(may[:1].encode(), _hash(run), until_s)
        return Ticket(address=address, run=run, may=may, until_s=until_s, secret=secret.hex())

    def check(self, nonce: bytes, asking: bytes) -> Asked:
        """What was asked; raises WireError when the proof is wrong or the ticket's time is over."""
        may, run, until_s, lane, proof = _ASKING.unpack(asking)
        head = (may, run, until_s, lane)
        good = hmac.compare_digest(proof, _proof(self._of(may, run, until_s), nonce, *head))
        if may not in (b"o", b"c") or not good:
            raise WireError("a wrong ticket, or none")
        if time.time() >= until_s:
            raise WireError("a ticket whose time is over")
        return Asked(may == b"o", run + lane)

    def _of(self, may: bytes, run: bytes, until_s: int) -> bytes:
        return hmac.digest(self._secret, b"ticket" + may + run + struct.pack("<Q", until_s), "sha256")


def greeting() -> bytes:
    """What the relay says first: its name and a fresh number."""
    return MAGIC + secrets.token_bytes(NONCE_BYTES)


def _proof(secret: bytes, nonce: bytes, may: bytes, run: bytes, until_s: int, lane: bytes) -> bytes:
    return hmac.digest(secret, nonce + may + run + struct.pack("<Q", until_s) + lane, "sha256")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf8")).digest()
