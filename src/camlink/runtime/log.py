"""The event log of a run: every event of the state machine with its time, one JSON line each, for replay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from camlink.errors import FormatError, StorageError
from camlink.runtime.events import Adjust, AgentLost, Begin, Cancel, Pause, Placing, Refused, Scale, Tag, Tick
from camlink.runtime.messages import Beat, Done, Exited, Failed, Joined, Linked, Message, Parted, Progress, Ready

AnyEvent = (
    Begin | Tick | Cancel | Scale | Pause | Adjust | Tag | AgentLost | Joined | Beat | Exited
    | Placing | Refused | Ready | Linked | Parted | Progress | Done | Failed
)


class Entry(msgspec.Struct, frozen=True):
    """One event and when it happened [s, UNIX]."""

    at: float
    event: AnyEvent


EVENTS: Final = "events.jsonl"
"""The log, in the folder of a run."""
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Entry)


class EventLog:
    """Appends events to a file; ticks that change nothing are left out."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, event: Message, at: float) -> None:
        """Append one event; raises StorageError."""
        try:
            self._file.write(_ENCODER.encode(Entry(at, event)) + b"\n")  # type: ignore[arg-type]
        except OSError as error:
            raise StorageError(f"the event log {self._file.name!s} is incomplete: {error.strerror}") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> Iterator[Entry]:
    """The events of a run in order; a last line that was cut by a crash is left out.

    Raises FormatError for any other line that is no event.
    """
    lines: list[Any] = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            if line:
                yield _DECODER.decode(line)
        except msgspec.DecodeError as error:
            if number < len(lines):
                raise FormatError(f"{path}, line {number}: not an event: {error}") from None
