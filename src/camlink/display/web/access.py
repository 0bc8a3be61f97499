"""Access: who may see and do what on the page; tokens let in, a cookie keeps, and both are known by their hash only."""

from __future__ import annotations

import enum
import hashlib
import math
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

PASS_S: Final = 12 * 3600.0
MOST_PASSES: Final = 1000
LONGEST_NAME: Final = 40
_LONGEST_SECRET: Final = 128


class Role(enum.IntEnum):
    """What somebody may do; each role includes those before it."""

    VIEWER = 1
    OPERATOR = 2
    OWNER = 3


class Pass(msgspec.Struct, frozen=True):
    """Somebody who was let in, until the clock of `Access` shows `until_s` [s]; `speaks` for others, by their names."""

    who: str
    role: Role
    until_s: float
    speaks: bool = False


class Access:
    """Tokens and passes of one page; `clock` gives seconds that only rise."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: dict[bytes, Pass] = {}
        self._passes: dict[bytes, Pass] = {}

    def invite(self, role: Role, life_s: float = PASS_S, who: str = "", *, speaks: bool = False) -> str:
        """A new token that lets in with `role` for `life_s`, as `who` if that is said; nobody can ask for it again."""
        return self._make(self._tokens, Pass(_clean(who) or role.name.lower(), role, self._clock() + life_s, speaks))

    def enter(self, token: str, who: str = "") -> str:
        """A new cookie for the holder of `token`, who may give a name if it has none; empty when it lets nobody in."""
        invited = self._find(self._tokens, token)
        if invited is None:
            return ""
        name = _clean(who) if invited.who == invited.role.name.lower() else ""
        until_s = min(invited.until_s, self._clock() + PASS_S)
        return self._make(self._passes, Pass(name or invited.who, invited.role, until_s))

    def by_cookie(self, cookie: str) -> Pass | None:
        """Who holds this cookie; None when it is unknown or its time is over."""
        return self._find(self._passes, cookie)

    def by_token(self, token: str) -> Pass | None:
        """Who holds this token, for programs that send it with every request."""
        return self._find(self._tokens, token)

    def leave(self, cookie: str) -> None:
        """End a pass."""
        self._passes.pop(_hash(cookie), None)

    def _make(self, where: dict[bytes, Pass], held: Pass) -> str:
        if len(where) >= MOST_PASSES:  # the oldest of the least role goes: nobody pushes out who may do more
            where.pop(min(where, key=lambda key: (where[key].until_s == math.inf, where[key].role)))
        secret = secrets.token_urlsafe(32)
        where[_hash(secret)] = held
        return secret

    def _find(self, where: dict[bytes, Pass], secret: str) -> Pass | None:
        if not secret or len(secret) > _LONGEST_SECRET:
            return None
        key = _hash(secret)
        held = where.get(key)
        if held is not None and self._clock() >= held.until_s:
            del where[key]
            return None
        return held


def _clean(who: str) -> str:
    return "".join(c for c in who if c.isprintable())[:LONGEST_NAME].strip()


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf8", "replace")).digest()
