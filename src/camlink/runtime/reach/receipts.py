"""Receipts: the numbers of what both ends of a line between machines said and heard, so that a break costs no word.

Each end numbers what it says, keeps it until the other has heard it, and says it again when that takes too long; it
hears each message once and in order: what comes twice, or before its turn, is left. Pure: no socket, no clock.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import Final

from camlink.errors import PeerLost, WireError

AGAIN_S: Final = 1.0
LONGEST_S: Final = 8.0
ANSWER_S: Final = 0.1  # that we have heard goes along with what we say, or by itself after so long
BEHIND: Final = 256  # so many are not heard yet: news, which newer news replace, are not worth saying
MOST_KEPT: Final = 8192
MOST_KEPT_BYTES: Final = 64 << 20
_HEAD: Final = struct.Struct("<QQQ")  # life of the agent, number of this message, number up to which all was heard
_MOST_PARTS: Final = 3
_OVER: Final = (1 << 64) - 1


class Receipts:
    """One end of the line in one life of its agent; `life` (any number) tells it from the one before it."""

    def __init__(self, life: int) -> None:
        self.life = life
        self._said = self._heard = self._kept_bytes = 0
        self._kept: deque[tuple[int, Sequence[bytes]]] = deque()
        self._owes_since_s: float | None = None
        self._again_s, self._pause_s = 0.0, AGAIN_S

    @property
    def kept(self) -> int:
        """How many messages the other end has not heard yet, as far as we know."""
        return len(self._kept)

    def say(self, words: Sequence[bytes], at_s: float) -> list[bytes]:
        """The message to send; raises PeerLost when the other end has heard nothing for too many."""
        if len(self._kept) >= MOST_KEPT or self._kept_bytes > MOST_KEPT_BYTES:
            raise PeerLost(f"control network: {len(self._kept)} messages ({self._kept_bytes} bytes) to another machine "
                           "were not heard; is the way to it broken in one direction?")
        if not self._kept:
            self._pause_s = AGAIN_S
            self._again_s = at_s + AGAIN_S
        self._said += 1
        self._kept.append((self._said, words))
        self._kept_bytes += sum(map(len, words))
        return self._message(self._said, words)

    def hear(self, message: Sequence[bytes], at_s: float) -> Sequence[bytes] | None:
        """The words of a message; None when it has none, none whose turn it is, or is of another life.

        Raises WireError for nonsense, and PeerLost when the other end has said that this life is over.
        """
        life, number, heard = _read(message)
        if life != self.life:
            return None  # for an agent that had this connection's name before
        if number == _OVER:
            raise PeerLost("control network: another agent has come with the same key and takes the place of this one")
        if heard > self._said or bool(number) != (len(message) > 1):
            raise WireError(f"control network: message {number} tells that {heard} of {self._said} messages were heard")
        while self._kept and self._kept[0][0] <= heard:
            self._kept_bytes -= sum(map(len, self._kept.popleft()[1]))
            self._pause_s = AGAIN_S
            self._again_s = at_s + AGAIN_S
        self._again_s = min(self._again_s, at_s + AGAIN_S)  # the way is there again, however long it was not
        if not number:
            return None
        if self._owes_since_s is None:
            self._owes_since_s = at_s
        if number != self._heard + 1:
            return None
        self._heard = number
        return message[1:]

    def hurry(self) -> None:
        """The connection is new: what was not heard went down with the one before, maybe."""
        self._again_s, self._pause_s = 0.0, AGAIN_S

    def due(self, at_s: float) -> list[list[bytes]]:
        """What has to be sent now: what was not heard for too long, or else that we have heard."""
        if self._kept and at_s >= self._again_s:
            self._again_s = at_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_S)
            return [self._message(number, words) for number, words in self._kept]
        owes = self._owes_since_s is not None and at_s >= self._owes_since_s + ANSWER_S
        return [self._message(0, ())] if owes else []

    def _message(self, number: int, words: Sequence[bytes]) -> list[bytes]:
        self._owes_since_s = None
        return [_HEAD.pack(self.life, number, self._heard), *words]


def read_life(message: Sequence[bytes]) -> tuple[int, bool]:
    """Of which life a message is, and whether it is the first of it; raises WireError when it is none."""
    life, number, _ = _read(message)
    return life, number == 1


def over(life: int) -> list[bytes]:
    """Tells an agent that another one has taken its place."""
    return [_HEAD.pack(life, _OVER, 0)]


def _read(message: Sequence[bytes]) -> tuple[int, int, int]:
    if not 1 <= len(message) <= _MOST_PARTS or len(message[0]) != _HEAD.size:
        raise WireError(f"control network: a message of {len(message)} parts that is not of a line between machines")
    life, number, heard = _HEAD.unpack(message[0])
    return life, number, heard
