"""Load: whether an operator needs one more replica, or one fewer, from the age of what waits at its inputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from camlink.runtime.events import Scale
from camlink.runtime.status import LinkStatus, RunStatus
from camlink.workflow.elastic import Elastic

LOAD: Final = "load"
SPARE: Final = 0.8
"""So much of what the others can do may be asked of them when one leaves: between that and all is calm."""
HOPE: Final = 1.1
"""What they can do was measured when there was too much; work may have become lighter, so one leaves on trial later."""
_RATE_S: Final = 2.0


@dataclass
class _Seen:
    """What an operator showed of late: (at, frames sent to it, frames it is done with), and since when it is so."""

    past: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=1200))
    late_s: float = -1.0
    calm_s: float = -1.0
    each_per_s: float = 0.0
    asked: int = 0


class Load:
    """Looks at one status after the other; `elastic` holds the operators that may join and leave by themselves."""

    def __init__(self, elastic: Mapping[str, Elastic]) -> None:
        self._elastic = elastic
        self._seen = {name: _Seen() for name in elastic}

    def look(self, status: RunStatus, at: float) -> Iterator[Scale]:
        """The orders that the load of time `at` [s] asks for."""
        for operator in status.operators:
            if operator.name in self._elastic and operator.state == "running":
                links = [link for link in status.links if link.target == operator.name]
                yield from self._one(operator.name, operator.replicas, links, at)

    def _one(self, name: str, replicas: int, links: list[LinkStatus], at: float) -> Iterator[Scale]:
        wish, seen = self._elastic[name], self._seen[name]
        seen.past.append((at, sum(k.sent for k in links), sum(k.acknowledged for k in links)))
        come_per_s, done_per_s = _rates(seen.past)
        late = age_s(seen.past) > wish.age_s
        if late:
            seen.calm_s = -1.0
            seen.late_s = at if seen.late_s < 0 else seen.late_s
            seen.each_per_s = done_per_s / max(replicas, 1)
        else:
            seen.late_s, seen.asked = -1.0, 0
            seen.calm_s = at if seen.calm_s < 0 else seen.calm_s
        if late and at - seen.late_s >= wish.after_s and replicas < wish.max and (
                seen.asked != replicas + 1):  # there is no room for it if it did not come
            seen.late_s, seen.asked = at, replicas + 1
            yield Scale(operator=name, replicas=replicas + 1, who=LOAD)
        elif not late and at - seen.calm_s >= wish.idle_s and replicas > wish.min:
            seen.calm_s = at
            if come_per_s <= SPARE * seen.each_per_s * (replicas - 1) or not seen.each_per_s:
                yield Scale(operator=name, replicas=replicas - 1, who=LOAD)
            else:
                seen.each_per_s *= HOPE


def age_s(past: deque[tuple[float, int, int]]) -> float:
    """For how long the oldest frame that is not done with has been waiting; 0 when all are."""
    now_s, sent, done = past[-1]
    return next((now_s - then for then, count, _ in past if count > done), 0.0) if sent > done else 0.0


def _rates(past: deque[tuple[float, int, int]]) -> tuple[float, float]:
    now_s, sent, done = past[-1]
    then, sent_then, done_then = next(seen for seen in past if now_s - seen[0] <= _RATE_S)
    past_s = now_s - then
    return ((sent - sent_then) / past_s, (done - done_then) / past_s) if past_s > 0 else (0.0, 0.0)
