"""Record: one measured case as `camlink bench` writes it, and how times are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any, Final

TOLERANCE: Final = 1e-5


def record(name: str, figure: float, beside: Mapping[str, float], note: str, *, unit: str = "ms/iteration",
           checked: bool) -> dict[str, Any]:
    """The figure beside others of the same run, and their ratios to it."""
    return {"case": name, "figure": round(figure, 4), "unit": unit,
            "beside": {other: round(value, 4) for other, value in beside.items()},
            "ratio": {other: round(value / figure, 3) for other, value in beside.items()},
            "checked": checked, "note": note}


def counted(wrong: float) -> str:
    """What was checked."""
    return f"one step differs from the reference by {wrong:.1e} of the largest number"


def clocked(works: Mapping[str, Callable[[], Any]], times: int = 9) -> dict[str, float]:
    """Median times [ms] of works done in turn, so that all have the same share of what else goes on.

    One run of each does not count.
    """
    spent: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(times + 1):
        for name, work in works.items():
            started = perf_counter()
            work()
            if turn:
                spent[name].append(1e3 * (perf_counter() - started))
    return {name: median(found) for name, found in spent.items()}
