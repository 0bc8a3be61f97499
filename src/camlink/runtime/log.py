"""The event log of a run: every event of the state machine with its time, one JSON line each, for replay."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from camlink.errors import FormatError, InputError, StorageError
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
    """Appends events to a new file; ticks that change nothing are left out. Raises InputError where a run is kept."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError:
            raise InputError(f"{path.parent} holds a run already; choose another folder, nothing is ever overwritten"
                             ) from None
        self._whole = 0

    def write(self, event: Message, at: float) -> None:
        """Append one event, or nothing of it; raises StorageError."""
        line = _ENCODER.encode(Entry(at, event)) + b"\n"  # type: ignore[arg-type]
        try:
            if self._file.write(line) == len(line):
                self._whole += len(line)
                return
            self._file.truncate(self._whole)  # a disk that is full takes a part, and what follows would be unreadable
            self._file.seek(self._whole)
            why = os.strerror(errno.ENOSPC)
        except OSError as error:
            why = str(error.strerror)
        raise StorageError(f"the event log {self._file.name!s} is incomplete: {why}")

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
