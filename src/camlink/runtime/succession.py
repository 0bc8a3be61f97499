"""Succession: which agent takes the place of one that is lost or soon ends, and how often; pure, as the states are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MOST_LOSSES: Final = 3
WITHIN_S: Final = 600.0
MARK: Final = ".next"


def root(agent: str) -> str:
    """The agent that stands in the plan of the run, of which `agent` is a successor, or which it is."""
    return agent.partition(MARK)[0]


@dataclass
class Succession:
    """The successors of agents: who was asked for and has not come, and who is whose heir.

    `margins` tells, for agents whose time is limited, how long before its end the heir is asked for [s]; `renew_s`
    when that is, and `leave_s` when it is too late to wait for it. Those `relieved` have handed on everything: that
    they end is no loss.
    """

    margins: dict[str, float] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)
    heirs: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    renew_s: dict[str, float] = field(default_factory=dict)
    leave_s: dict[str, float] = field(default_factory=dict)
    relieved: set[str] = field(default_factory=set)

    def joined(self, agent: str, left_s: float | None, at: float) -> None:
        """An agent has come, with the time that is left to it; half of that it works before it is relieved."""
        self.asked.pop(agent, None)
        margin_s = self.margins.get(root(agent))
        if left_s is not None and margin_s is not None:
            self.renew_s[agent] = at + max(left_s - margin_s, left_s / 2)
            self.leave_s[agent] = (self.renew_s[agent] + at + left_s) / 2

    def lost(self, agent: str, at: float) -> None:
        """An agent is gone."""
        self.asked.pop(agent, None)
        self.renew_s.pop(agent, None)
        self.leave_s.pop(agent, None)
        self.heirs = {old: heir for old, heir in self.heirs.items() if heir != agent}
        if agent not in self.relieved:
            self.losses.setdefault(root(agent), []).append(at)

    def heir(self, agent: str, at: float) -> str:
        """The successor of an agent; nothing when too many of its line were lost of late."""
        line = root(agent)
        if agent not in self.heirs:
            if sum(at - then < WITHIN_S for then in self.losses.get(line, ())) > MOST_LOSSES:
                return ""
            self.numbers[line] = self.numbers.get(line, 0) + 1
            self.heirs[agent] = f"{line}{MARK}{self.numbers[line]}"
        return self.heirs[agent]

    def due(self, at: float) -> list[str]:
        """Agents whose time soon ends and that have no successor yet."""
        return [agent for agent, then in self.renew_s.items() if at >= then and agent not in self.heirs]

    def alone(self, at: float) -> set[str]:
        """Agents whose time all but ends and whose successor has not come, from a queue for example."""
        return {agent for agent, then in self.leave_s.items()
                if at >= then and (agent not in self.heirs or self.heirs[agent] in self.asked)}

    def ending(self, at: float) -> set[str]:
        """Agents that take nobody any more: their successor has come, or it is too late to wait for it."""
        return {old for old, heir in self.heirs.items() if heir not in self.asked} | self.alone(at)

    def relieves(self, heir: str) -> list[str]:
        """Those whose place an agent takes that has come."""
        return [old for old, found in self.heirs.items() if found == heir]
