"""Job: what a batch system is asked to run and what it says of it; one small protocol whatever the system is."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Protocol

import msgspec

from camlink.errors import InputError

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LEFT: Final = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
QUEUED: Final = ("lsf", "pbs", "pbs_classic", "slurm", "facility")
"""Placers whose agents wait in a queue, and whose time is limited."""
# what a workflow may say of a job: it stands in scripts, and the words as they are
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.,:@/+-]{0,64}$")]
Count = Annotated[int, msgspec.Meta(ge=1)]
Amount = Annotated[int, msgspec.Meta(ge=0)]
Span = Annotated[float, msgspec.Meta(gt=0)]


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: `argv` is a list, never a text for a shell; nothing secret stands in it or in `environment`."""

    argv: tuple[str, ...]
    name: str
    folder: Path
    output: Path
    nodes: int = 1
    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0
    exclusive: bool = False
    walltime_s: float = 3600.0
    queue: str = ""
    account: str = ""
    environment: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Names of variables stand in scripts as they are; raises InputError."""
        for name in self.environment:
            if not _VARIABLE.fullmatch(name):
                raise InputError(f"job '{self.name}': '{name[:40]}' is no name of a variable")


class JobState(StrEnum):
    """Where a job is on its way."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def over(self) -> bool:
        """Whether it will never change again."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobStatus(msgspec.Struct, frozen=True):
    """What the batch system says of a job: its state, why in its own words, and its exit code when it has one."""

    state: JobState
    text: str = ""
    code: int | None = None


class Submitter(Protocol):
    """A batch system, or whatever starts programs on machines of its own."""

    async def submit(self, spec: JobSpec) -> str:
        """Hand a job over and give its id; raises PeerLost when the system does not take it."""
        ...

    async def status(self, job: str) -> JobStatus:
        """Where the job is now."""
        ...

    async def cancel(self, job: str) -> None:
        """End a job; one that has ended already stays as it is."""
        ...

    async def close(self) -> None:
        """Forget everything that belongs to this submitter; its jobs go on."""
        ...


def read_left(text: str) -> float | None:
    """Seconds in Slurm's [days-][hours:]minutes:seconds; None for words such as UNLIMITED or for nothing."""
    found = _LEFT.fullmatch(text.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
