"""RunStatus: everything that a person may see of a run, as one immutable record with a version."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from camlink.carry.account import Histogram
from camlink.carry.far.path import Path

StepState = Literal["waiting", "active", "done", "failed"]
OperatorState = Literal["waiting", "starting", "ready", "running", "ended", "failed"]
Verdict = Literal["complete", "degraded", "failed"]

STEPS = ("identify and set up resources", "launch services", "connect network", "execute graph")


class StepStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One of the four steps: how many of its parts are done, and a sentence for people."""

    title: str
    state: StepState = "waiting"
    done: int = 0
    total: int = 0
    text: str = ""


class OperatorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One operator: where it runs, what it is doing, and the facts that it told.

    It was `given_up` when it ended with the run and did nothing wrong. `restarts` counts how often it was replaced,
    `repeated` the frames that came again and were left out, `forgotten` those that it had taken and that are lost with
    the disk of its journal, and `aside` those that it could not bear and that lie in the dead letters, by reason.
    """

    name: str
    use: str
    kind: str
    site: str
    state: OperatorState = "waiting"
    text: str = ""
    given_up: bool = False
    facts: dict[str, Any] = {}
    replicas: int = 1
    restarts: int = 0
    repeated: int = 0
    forgotten: int = 0
    aside: dict[str, int] = {}


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One link, counted in frames: sent = acknowledged + lost + in flight; `dropped` ones were never sent."""

    name: str
    source: str
    target: str
    kind: str = ""
    policy: str = "block"
    block: str = "Block"
    sent: int = 0
    received: int = 0
    acknowledged: int = 0
    dropped: dict[str, int] = {}
    lost: dict[str, int] = {}
    turned_away: dict[str, int] = {}
    in_flight: int = 0
    bytes: int = 0
    frames_per_s: float = 0.0
    bytes_per_s: float = 0.0
    age_ms: dict[str, float] = {}
    hop_ms: dict[str, float] = {}
    age_histogram: Histogram = Histogram()
    hop_histogram: Histogram = Histogram()
    resent: int = 0
    spilled: int = 0
    notes: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    queue_bytes: int = 0
    peak_queue_bytes: int = 0
    limit_bytes: int = 0


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run at one moment; `version` rises with every change.

    `orders` are what somebody asked of it and it did: at_s after its beginning, type, who, and the fields of that type.
    """

    version: int
    workflow: str
    scan: str = ""
    elapsed_s: float = 0.0
    steps: tuple[StepStatus, ...] = ()
    operators: tuple[OperatorStatus, ...] = ()
    links: tuple[LinkStatus, ...] = ()
    frames: dict[str, Any] = {}
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    paused: bool = False
    orders: tuple[dict[str, Any], ...] = ()
