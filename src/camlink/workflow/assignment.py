"""Assignment: which agent hosts which worker, so that the needs of all are met; a pure function of both lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from camlink.workflow.needs import Needs, Offer, lacks, say_bytes

TRIES: Final = 20_000


class Want(NamedTuple):
    """A worker that waits for an agent: its operator, what it needs and the agents that it may go to, best first."""

    operator: str
    needs: Needs
    agents: tuple[str, ...]


class Given(NamedTuple):
    """The agent that a worker goes to, and which of its GPUs are for it alone."""

    agent: str
    gpus: tuple[int, ...] = ()


@dataclass
class _Left:
    """What is left of a pool."""

    cores: float
    memory_bytes: float
    disk_bytes: float
    gpus: list[int] | None


class Unmet(NamedTuple):
    """Why there is no assignment: the operator that it failed on, and a sentence."""

    operator: str
    text: str


def assign(wants: Mapping[str, Want], offers: Mapping[str, Offer]) -> dict[str, Given] | Unmet:
    """Give each worker an agent; replicas are spread, other workers stay together, GPUs are given to one each."""
    for want in wants.values():
        poor = {agent: lacks(want.needs, offers[agent]) for agent in want.agents if agent in offers}
        if all(poor.values()):
            said = "; ".join(f"{agent} lacks {text}" for agent, text in poor.items())
            return Unmet(want.operator, f"{want.operator} needs what no agent has: {said or 'no agent may host it'}")
    search = _Search(wants, offers)
    if not search.walk():
        hardest = wants[search.order[search.deepest]]
        return Unmet(hardest.operator, _together(wants, hardest))
    return {name: search.given[name] if want.needs else search.host(name) for name, want in wants.items()}


def _together(wants: Mapping[str, Want], hardest: Want) -> str:
    rivals = [want for want in wants.values() if set(want.agents) & set(hardest.agents) and want.needs]
    gpus, cores = sum(w.needs.gpus for w in rivals), sum(w.needs.cores for w in rivals)
    memory = sum(w.needs.memory_bytes for w in rivals)
    asked = [f"{count} {what}" for count, what in ((gpus, "GPUs"), (cores, "cores")) if count]
    asked += [f"{say_bytes(memory)} of memory"] if memory else []
    return (f"{', '.join(dict.fromkeys(w.operator for w in rivals))} need together {', '.join(asked)}, and "
            f"{', '.join(hardest.agents)} cannot host them all; ask for less, or for more agents")


class _Search:
    """Depth first, those first that need most; bounded, so that it ends whatever is asked."""

    def __init__(self, wants: Mapping[str, Want], offers: Mapping[str, Offer]) -> None:
        self._wants, self._offers = wants, offers
        self._pool = {agent: offer.pool or agent for agent, offer in offers.items()}
        self._left = {self._pool[agent]: _left(offer) for agent, offer in offers.items()}
        self._hosted: Counter[tuple[str, str]] = Counter()
        self._tries = TRIES
        self.given: dict[str, Given] = {}
        needy = [name for name, want in wants.items() if want.needs]
        self.order = sorted(needy, key=lambda name: _weight(wants[name].needs), reverse=True)
        self.deepest = 0

    def host(self, name: str) -> Given:
        """The best agent for a worker that needs nothing."""
        want = self._wants[name]
        agent = next(self._ranked(want))
        self._hosted[want.operator, agent] += 1
        return Given(agent)

    def walk(self) -> bool:
        """Give those with needs their agents; False when there is no way, or none was found in so many tries."""
        open_ways: list[Iterator[str]] = []
        while len(self.given) < len(self.order):
            if len(open_ways) == len(self.given):
                self.deepest = max(self.deepest, len(open_ways))
                open_ways.append(self._ranked(self._wants[self.order[len(open_ways)]]))
            if not self._step(self.order[len(open_ways) - 1], open_ways[-1]):
                open_ways.pop()
                if not open_ways or self._tries <= 0:
                    return False
                self._undo(self.order[len(open_ways) - 1])
        return True

    def _step(self, name: str, ways: Iterator[str]) -> bool:
        """Take the next of these agents that has room for a worker."""
        want = self._wants[name]
        for agent in ways:
            self._tries -= 1
            if (gpus := self._take(want.needs, agent)) is not None:
                self.given[name] = Given(agent, gpus)
                self._hosted[want.operator, agent] += 1
                return True
        return False

    def _undo(self, name: str) -> None:
        want, given = self._wants[name], self.given.pop(name)
        self._hosted[want.operator, given.agent] -= 1
        self._give_back(want.needs, given)

    def _ranked(self, want: Want) -> Iterator[str]:
        def rank(agent: str) -> tuple[bool, int]:
            free = self._left[self._pool[agent]].gpus
            return want.needs.prefers_gpu and not free, self._hosted[want.operator, agent]

        yield from sorted((agent for agent in want.agents if agent in self._offers), key=rank)

    def _take(self, needs: Needs, agent: str) -> tuple[int, ...] | None:
        """The GPUs of a worker at an agent that has room for it; None when it has none."""
        left = self._left[self._pool[agent]]
        few = left.gpus is not None and len(left.gpus) < needs.gpus
        if (few or left.cores < needs.cores or left.memory_bytes < needs.memory_bytes
                or left.disk_bytes < needs.disk_bytes or lacks(needs, self._offers[agent])):
            return None
        left.cores -= needs.cores
        left.memory_bytes -= needs.memory_bytes
        left.disk_bytes -= needs.disk_bytes
        wanted = max(needs.gpus, int(needs.prefers_gpu))
        gpus = tuple((left.gpus or ())[:wanted])
        if left.gpus:
            del left.gpus[:wanted]
        return gpus

    def _give_back(self, needs: Needs, given: Given) -> None:
        left = self._left[self._pool[given.agent]]
        left.cores += needs.cores
        left.memory_bytes += needs.memory_bytes
        left.disk_bytes += needs.disk_bytes
        if left.gpus is not None:
            left.gpus[:0] = given.gpus


def _weight(needs: Needs) -> tuple[int, float, int, bool]:
    return needs.gpus, needs.memory_bytes, needs.cores, needs.prefers_gpu


def _left(offer: Offer) -> _Left:
    unknown = float("inf")
    return _Left(unknown if offer.cores is None else offer.cores,
                 unknown if offer.memory_bytes is None else offer.memory_bytes,
                 unknown if offer.disk_bytes is None else offer.disk_bytes,
                 None if offer.gpus is None else list(range(offer.gpus)))
