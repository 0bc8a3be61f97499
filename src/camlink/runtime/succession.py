"""Succession: which agent takes the place of one that is lost or soon ends, and how often; pure, as the states are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MOST_LOSSES: Final = 3
WITHIN_S: Final = 600.0
MARGIN_S: Final = 300.0
MARK: Final = ".next"


def root(agent: str) -> str:
    """The agent that stands in the plan of the run, of which `agent` is a successor, or which it is."""
    return agent.partition(MARK)[0]


@dataclass
class Succession:
    """The successors of agents: who was asked for and has not come, whose heir is whom, whose time ends when [s]."""

    asked: dict[str, float] = field(default_factory=dict)
    heirs: dict[str, str] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    ends_s: dict[str, float] = field(default_factory=dict)
    renew_s: dict[str, float] = field(default_factory=dict)

    def joined(self, agent: str, left_s: float | None, at: float) -> None:
        """An agent has come, with the time that is left to it; its successor is asked for before that ends."""
        self.asked.pop(agent, None)
        if left_s is not None:
            self.ends_s[agent] = at + left_s
            self.renew_s[agent] = at + max(left_s - MARGIN_S, left_s / 2)

    def lost(self, agent: str, at: float) -> None:
        """An agent is gone."""
        self.asked.pop(agent, None)
        self.ends_s.pop(agent, None)
        self.renew_s.pop(agent, None)
        self.losses.setdefault(root(agent), []).append(at)

    def heir(self, agent: str, at: float) -> str:
        """The successor of an agent; nothing when too many of its line were lost of late."""
        if agent not in self.heirs:
            if sum(at - then < WITHIN_S for then in self.losses.get(root(agent), ())) > MOST_LOSSES:
                return ""
            line = sum(root(known) == root(agent) for known in self.heirs)
            self.heirs[agent] = f"{root(agent)}{MARK}{line + 1}"
        return self.heirs[agent]

    def due(self, at: float) -> list[str]:
        """Agents whose time soon ends and that have no successor yet."""
        return [agent for agent, then in self.renew_s.items() if at >= then and agent not in self.heirs]
