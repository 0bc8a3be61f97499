"""Deviation: a forecast held against the report of a run that was made as planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from camlink.beamline.forecast.forecast import Forecast
from camlink.errors import FormatError

MOST_BYTES: Final = 1 << 26
SOLVER: Final = "solve"


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """One figure as it was predicted and as it was measured."""

    what: str
    unit: str
    predicted: float
    measured: float

    @property
    def part(self) -> float | None:
        """(measured - predicted)/predicted; None where nothing was predicted."""
        return (self.measured - self.predicted) / self.predicted if self.predicted else None


class MeasuredRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a forecast is held against, from the report that `camlink run` and `camlink demo` write."""

    verdict: str
    frames: dict[str, Any]
    times: dict[str, float | None]
    result: dict[str, Any] = {}
    operators: dict[str, dict[str, Any]] = {}


def read_run(path: Path) -> MeasuredRun:
    """The report at `path`; raises FormatError when it is missing or no report."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FormatError(f"{path}: larger than {MOST_BYTES} bytes, so it is no report; give the file that "
                              "--report wrote")
        return msgspec.json.decode(path.read_bytes(), type=MeasuredRun)
    except (OSError, msgspec.DecodeError) as error:
        raise FormatError(f"{path}: cannot be read as a report ({error}); give the file that --report wrote") from None


def deviations(found: Forecast, run: MeasuredRun) -> tuple[Deviation, ...]:
    """Every figure of the forecast that the run measured too; times count from its first frame."""
    solver = run.operators.get(SOLVER, {})
    first_s, last_s = run.times.get("first_frame_s"), run.times.get("last_frame_s")

    def after(name: str, start_s: float | None) -> float | None:
        end_s = run.times.get(name)
        return None if end_s is None or start_s is None else end_s - start_s

    half_bit = run.result.get("frc_half_bit")
    nm = 1e9 * found.sampling.object_pixel_m
    rows: tuple[tuple[str, str, float, Any], ...] = (
        ("frames", "", found.frames, run.frames.get("captured")),
        ("memory of the solver", "MiB", found.load.solver_bytes / 2**20, _scaled(solver.get("memory_bytes"), 2**-20)),
        ("iteration of all frames", "ms", found.ms_per_iteration, solver.get("ms_per_iteration")),
        ("iterations in all", "", found.streaming.iterations, run.result.get("iterations")),
        ("first frame to first picture", "s", found.streaming.first_picture_s, after("first_picture_s", first_s)),
        ("first to last frame", "s", found.scan_s, after("last_frame_s", first_s)),
        ("last frame to final picture", "s", found.streaming.after_last_frame_s, after("final_picture_s", last_s)),
        ("half period", "nm", 1e9 * found.sampling.half_period_m, nm / half_bit if half_bit else None))
    return tuple(Deviation(what=what, unit=unit, predicted=float(predicted), measured=float(measured))
                 for what, unit, predicted, measured in rows if isinstance(measured, int | float))


def _scaled(value: Any, factor: float) -> float | None:
    return factor * value if isinstance(value, int | float) else None
