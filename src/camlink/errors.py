"""The whole exception tree: the type says who must act, the text says what, where and what to do.

CamlinkError
├── InputError            the user gave something that cannot work; exit code 2
│   ├── WorkflowError     a workflow that cannot run, with every problem found
│   ├── UnknownName       a name that is not registered; names the nearest known
│   ├── ParameterError    a parameter that is missing, misspelt or out of bounds
│   └── FormatError       a file or document that is missing, truncated or of no known layout
├── WorldError            the world failed while we ran; the scan ends degraded or failed
│   ├── SourceSilent      a detector that never sent, or stopped in the middle
│   ├── WireError         bytes from a socket that do not parse
│   ├── AddressInUse      a fixed port that somebody else holds
│   ├── PeerLost          a process or link that went away or does not answer
│   └── StorageError      a disk that is full, read-only or gone
├── OperatorFailed        the code of an operator raised
└── Closed                the other side was closed by us: the normal end, never shown
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class CamlinkError(Exception):
    """Root of every exception that camlink raises on purpose."""


class InputError(CamlinkError):
    """The user gave something that cannot work; nothing was started."""


class WorkflowError(InputError):
    """A workflow that cannot run; `problems` holds one sentence for each thing found."""

    def __init__(self, problems: Sequence[str], where: str = "workflow") -> None:
        self.problems = tuple(problems)
        self.where = where
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(f"{where}: {count}\n" + "\n".join(f"  - {p}" for p in self.problems))


class UnknownName(InputError):
    """A name that is not registered; the message names the nearest known one and lists the rest."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        self.what, self.name, self.known = what, name, tuple(sorted(known))
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        listed = ", ".join(self.known) or "none"
        super().__init__(f"unknown {what} '{name}'{hint} (known: {listed})")


class ParameterError(InputError):
    """A parameter that is missing, misspelt, of the wrong type or out of bounds."""


class FormatError(InputError):
    """A file or document that is missing, truncated or of no known layout."""


class WorldError(CamlinkError):
    """The world failed while we ran: what arrived is kept, the verdict says the rest."""


class SourceSilent(WorldError):
    """A detector that never sent a frame, or stopped before the scan was complete."""


class WireError(WorldError):
    """Bytes from a socket that do not parse; they are counted and dropped."""


class AddressInUse(WorldError, InputError):
    """A fixed port that somebody else holds; exit code 2, since the user chose it."""


class PeerLost(WorldError):
    """A process or link that went away, or did not answer in the stated time."""


class StorageError(WorldError):
    """A disk that is full, read-only or gone."""


class OperatorFailed(CamlinkError):
    """The code of an operator raised; the message carries its type, text and place."""


class Closed(CamlinkError):
    """The other side was closed on purpose: the normal end of a wait."""
