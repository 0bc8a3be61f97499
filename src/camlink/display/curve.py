"""Curve: how the scalars of a result went, version by version, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from camlink.block import Fact

LONGEST: Final = 2048
MOST_NAMES: Final = 16


@dataclass(slots=True)
class Curve:
    """Scalars of one source over its versions; when `LONGEST` rows are there, every second old one is given up."""

    rows: list[dict[str, float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, time_s: float, facts: dict[str, Fact]) -> None:
        """Take one version: its time [s, UNIX] and those facts that are numbers and change (lengths [m] do not)."""
        row = {"time_s": time_s}
        for name, value in facts.items():
            if isinstance(value, bool | str) or name.endswith("_m") or value != value:
                continue
            if name not in self.names and len(self.names) < MOST_NAMES:
                self.names.append(name)
            if name in self.names:
                row[name] = float(value)
        if len(self.rows) >= LONGEST:
            self.rows[:-1] = self.rows[:-1:2]
        self.rows.append(row)

    def snapshot(self) -> dict[str, list[float | None]]:
        """Columns of equal length by name, `time_s` [s] counted from the first row; None where a version was silent."""
        start = self.rows[0]["time_s"] if self.rows else 0.0
        columns: dict[str, list[float | None]] = {name: [r.get(name) for r in self.rows] for name in self.names}
        columns["time_s"] = [r["time_s"] - start for r in self.rows]
        return columns
