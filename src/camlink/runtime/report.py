"""The machine-readable report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from camlink.errors import StorageError
from camlink.runtime.crew import Restart
from camlink.runtime.messages import Inventory
from camlink.runtime.states import RunState
from camlink.runtime.status import OperatorStatus, RunStatus
from camlink.runtime.versions import differences, versions
from camlink.runtime.watch import times


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, with all counts; the JSON that `--report` writes has these keys."""

    workflow: str
    scan: str
    verdict: str
    reasons: tuple[str, ...]
    frames: dict[str, Any]
    links: tuple[dict[str, Any], ...]
    times: dict[str, float | None]
    result: dict[str, Any]
    decisions: tuple[dict[str, Any], ...]
    versions: dict[str, str]
    operators: dict[str, dict[str, Any]]
    agents: dict[str, dict[str, Any]] = {}
    restarts: tuple[dict[str, Any], ...] = ()
    orders: tuple[dict[str, Any], ...] = ()
    folder: str
    wrong_input: bool = False
    control_refused: int = 0

    def with_result(self, **more: Any) -> Report:
        """The same report with more known of the result."""
        return msgspec.structs.replace(self, result={**self.result, **more})

    def write(self, path: Path) -> None:
        """Write it as JSON; raises StorageError."""
        try:
            path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
        except OSError as error:
            raise StorageError(f"cannot write the report {path}: {error.strerror}; choose another place") from None


_LINK_KEYS = ("name", "kind", "policy", "sent", "received", "acknowledged", "dropped", "lost", "in_flight", "resent",
              "turned_away", "paths", "bytes", "age_ms", "hop_ms", "age_histogram", "hop_histogram", "notes",
              "peak_queue_bytes", "limit_bytes")
_RESULT_FACTS = ("fourier_error", "iterations", "iteration", "error_vs_truth", "frc_half_bit_px")


def make_report(status: RunStatus, state: RunState, folder: Path, provenance: dict[str, str]) -> Report:
    """The report of a run that is over."""
    files: list[str] = []
    result: dict[str, Any] = {}
    for operator in status.operators:
        told = operator.facts.get("files", [])
        files += [str(f) for f in told] if isinstance(told, list) else [str(told)]
        result.update({key: operator.facts[key] for key in _RESULT_FACTS if key in operator.facts})
    if "iteration" in result:
        result.setdefault("iterations", result.pop("iteration"))
    return Report(
        workflow=status.workflow, scan=status.scan, verdict=status.verdict or "failed", reasons=status.reasons,
        frames=status.frames, links=tuple({key: getattr(link, key) for key in _LINK_KEYS} for link in status.links),
        times=times(state), result={"files": files, **result}, decisions=(),
        versions={name: text for name, text in provenance.items() if name != "workflow"},
        agents={name: _agent(there.has) for name, there in state.joined.items()},
        operators={o.name: _operator(o) for o in status.operators},
        restarts=tuple(_restart(r, state.begun_s) for r in state.restarts),
        orders=status.orders, folder=str(folder),
        wrong_input=any(w.failure is not None and w.failure.input for w in state.workers.values()),
        control_refused=state.refused,
    )


def _agent(has: Inventory) -> dict[str, Any]:
    """What the machine of an agent had, and what differed from here."""
    return {"host": has.host, "system": has.system, "cores": has.cores, "memory_bytes": has.memory_bytes,
            "gpus": has.gpus, "python": has.python, "differs": differences(has.versions, versions())}


def _operator(operator: OperatorStatus) -> dict[str, Any]:
    """State, text and facts; what happened to it, where something did."""
    told = {"restarts": operator.restarts, "repeated": operator.repeated, "set_aside": operator.aside}
    known = {"state": operator.state, "text": operator.text, "site": operator.site}
    return {**known, **operator.facts, **{k: v for k, v in told.items() if v}}


def _restart(restart: Restart, begun_s: float) -> dict[str, Any]:
    """When a worker was replaced and why; `took_s` from notice to work, or nothing when it never worked again."""
    took_s = round(restart.up_s - restart.down_s, 3) if restart.up_s else None
    return {"operator": restart.operator, "replica": restart.replica, "reason": restart.reason,
            "at_s": round(restart.down_s - begun_s, 3), "took_s": took_s}
