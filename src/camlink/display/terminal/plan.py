"""camlink plan: what a scan is going to give and to cost, before the beam is on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.table import Table

from camlink.display.terminal.options import Size, Values, read_sets, write_json
from camlink.display.terminal.paper import paper
from camlink.errors import ParameterError

if TYPE_CHECKING:
    from camlink.beamline.forecast.deviation import Deviation
    from camlink.beamline.forecast.forecast import Circumstances, Forecast
    from camlink.beamline.twin.parameters import TwinParameters
    from camlink.compute.ptychography.parameters import SolveParameters

TALK_SCAN_S: Final = 300.0
GROUPS: Final = ("twin", "plan", "solve")
MIB: Final = 2**20


def plan(preset: Annotated[Size, typer.Argument(
             help="The scan to start from; talk: 40 x 40 frames of 260 x 260 pixels in 300 s.")] = Size.DEMO,
         points_y: Annotated[int | None, typer.Option(help="Points along y.")] = None,
         points_x: Annotated[int | None, typer.Option(help="Points along x.")] = None,
         step_m: Annotated[float | None, typer.Option(help="Distance of neighbouring points [m].")] = None,
         frame: Annotated[int | None, typer.Option(help="Size of a reduced frame [pixel].")] = None,
         photons: Annotated[float | None, typer.Option(help="Photons a frame.")] = None,
         rate_hz: Annotated[float | None, typer.Option(help="Frames a second.")] = None,
         beam_m: Annotated[float | None, typer.Option(help="Diameter of the beam [m]; else from the optics.")] = None,
         contrast_rad: Annotated[float | None, typer.Option(help="Phase of the smallest detail [rad].")] = None,
         scan_s: Annotated[float | None, typer.Option(help="The whole scan [s]; else frames / rate.")] = None,
         iterations: Annotated[int | None, typer.Option(help="Iterations of the solver.")] = None,
         ms_per_iteration: Annotated[float | None, typer.Option(
             help="Time of an iteration of all frames [ms]; else measured on this machine.")] = None,
         memory_gib: Annotated[float | None, typer.Option(help="Memory for the solver [GiB]; else that of this "
                                                               "machine.")] = None,
         transfer_mb_s: Annotated[float | None, typer.Option(help="Copying frames after the scan [MB/s].")] = None,
         queue_s: Annotated[float | None, typer.Option(help="Waiting for a machine after the scan [s].")] = None,
         change_s: Annotated[float | None, typer.Option(help="Changing the sample [s].")] = None,
         visit_h: Annotated[float | None, typer.Option(help="Beam time of one user [h].")] = None,
         values: Values = None,
         against: Annotated[Path | None, typer.Option(
             help="The report of a run made as planned: say how far it was from the forecast.")] = None,
         json: Annotated[Path | None, typer.Option(help="Write the forecast to this file.")] = None) -> None:
    """Predict overlap, dose, resolution, memory, data rate and times; --set twin.NAME, solve.NAME or plan.NAME too."""
    from camlink.beamline.forecast.deviation import deviations, read_run
    from camlink.beamline.forecast.forecast import forecast

    measured = None if against is None else read_run(against)
    given: dict[str, dict[str, Any]] = {
        "twin": {"points_y": points_y, "points_x": points_x, "step_m": step_m, "reduced_shape": frame,
                 "photons": photons, "rate_hz": rate_hz},
        "plan": {"beam_m": beam_m, "contrast_rad": contrast_rad, "scan_s": scan_s, "change_s": change_s,
                 "queue_s": queue_s, "ms_per_iteration": ms_per_iteration,
                 "memory_bytes": None if memory_gib is None else round(memory_gib * 2**30),
                 "transfer_B_s": None if transfer_mb_s is None else transfer_mb_s * 1e6,
                 "visit_s": None if visit_h is None else visit_h * 3600},
        "solve": {"iterations": iterations}}
    scan, around, solve = records(preset, given, read_sets(values))
    console = paper()
    with console.status("measuring an iteration" if not around.ms_per_iteration else "working it out"):
        found = forecast(scan, around, solve)
    console.print(table(found, around), highlight=False)
    for warning in found.warnings:
        console.print(f"! {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    compared = () if measured is None else deviations(found, measured)
    if compared:
        console.print(comparison(compared), highlight=False)
    if json is not None:
        write_json(json, {"twin": scan, "plan": around, "solve": solve, "forecast": found,
                         **({"against": {"run": measured, "deviations": compared}} if compared else {})})


def records(preset: Size, given: dict[str, dict[str, Any]],
            sets: dict[str, Any]) -> tuple[TwinParameters, Circumstances, SolveParameters]:
    """The three records from the preset, what was given as options (None: not given), and `--set`.

    A time or rate that is given takes the place of the preset's scan time. Raises UnknownName or ParameterError.
    """
    from camlink.beamline.forecast.forecast import Circumstances
    from camlink.beamline.twin.parameters import TwinParameters, talk_parameters
    from camlink.compute.ptychography.parameters import SolveParameters
    from camlink.workflow.parameter import build

    talk = preset is Size.TALK
    chosen: dict[str, dict[str, Any]] = {
        "twin": msgspec.structs.asdict(talk_parameters() if talk else TwinParameters()), "plan": {}, "solve": {}}
    for group, options in given.items():
        chosen[group] |= {name: value for name, value in options.items() if value is not None}
    for key, value in sets.items():
        group, _, name = key.partition(".")
        if group not in chosen:
            raise ParameterError(f"--set {key}: a plan has the parameters of {', '.join(GROUPS)}, as in "
                                 "twin.energy_eV=1200")
        chosen[group][name] = value
    paced = given.get("twin", {}).get("rate_hz") is not None or "twin.rate_hz" in sets
    if talk and not paced:
        chosen["plan"].setdefault("scan_s", TALK_SCAN_S)
    scan, around, solve = (build(record, chosen[group], group) for group, record in
                           (("twin", TwinParameters), ("plan", Circumstances), ("solve", SolveParameters)))
    assert isinstance(scan, TwinParameters)
    assert isinstance(around, Circumstances)
    assert isinstance(solve, SolveParameters)
    return scan, around, solve


def table(found: Forecast, around: Circumstances) -> Table:
    """The forecast for people."""
    grid = Table.grid(padding=(0, 2))
    for title, text in (*_of_the_sample(found, around), *_of_the_machine(found), *_of_time(found)):
        grid.add_row(f"[bold]{title}[/]" if title else "", text)
    return grid


def comparison(rows: Sequence[Deviation]) -> Table:
    """Predicted and measured figures side by side."""
    found = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("", "predicted", "measured", "deviation"):
        found.add_column(title, justify="right" if title else "left", no_wrap=True)
    for row in rows:
        part = row.part
        found.add_row(row.what, *(f"{value:.4g} {row.unit}".rstrip() for value in (row.predicted, row.measured)),
                      "" if part is None else f"{part:+.0%}")
    return found


def _of_the_sample(found: Forecast, around: Circumstances) -> list[tuple[str, str]]:
    s = found.sampling
    height, width = (1e6 * side for side in s.field_m)
    return [
        ("scan", f"{found.points} points, {found.frames} frames, {found.frame[0]} x {found.frame[1]} pixels, "
                 f"{height:.2f} x {width:.2f} um, {found.scan_s:.0f} s"),
        ("overlap", f"{s.overlap_linear:.0%} linear, {s.overlap_area:.0%} of the area, beam {1e6 * s.beam_m:.2f} um"),
        ("dose", f"{s.photons_per_object_pixel:.3g} photons an object pixel of {1e9 * s.object_pixel_m:.2f} nm"),
        ("resolution", f"{1e9 * s.half_period_m:.1f} nm half period: geometry {1e9 * s.half_period_geometry_m:.1f} nm, "
                       f"dose {1e9 * s.half_period_dose_m:.1f} nm for details of {around.contrast_rad:g} rad")]


def _of_the_machine(found: Forecast) -> list[tuple[str, str]]:
    load = found.load
    how = "measured on this machine" if found.measured else "given"
    return [
        ("data", f"{load.raw_B_s / 1e6:.1f} MB/s, {load.raw_bytes / MIB:.0f} MiB raw, "
                 f"{load.reduced_bytes / MIB:.0f} MiB reduced"),
        ("memory", f"{load.solver_bytes / MIB:.0f} MiB in the solver, {load.frame_state_bytes / MIB:.0f} MiB of that "
                   f"for frames; {load.memory_bytes / MIB:.0f} MiB there{'' if load.fits else ': DOES NOT FIT'}"),
        ("iteration", f"{found.ms_per_iteration:.3g} ms for all frames ({how}), {found.iterations} wished, object "
                      f"{found.object_shape[0]} x {found.object_shape[1]}")]


def _of_time(found: Forecast) -> list[tuple[str, str]]:
    live, after, day = found.streaming, found.afterwards, found.visit
    return [
        ("streaming", f"first picture after {live.first_picture_s:.1f} s, final one after "
                      f"{live.final_picture_s:.1f} s, {live.after_last_frame_s:.1f} s after the last frame; "
                      f"{live.iterations_during_scan} iterations done on the way"),
        ("afterwards", f"the only picture after {after.picture_s:.1f} s: copy {after.transfer_s:.1f} s, queue "
                       f"{after.queue_s:.1f} s, solve {after.solve_s:.1f} s"),
        ("visit", f"{day.visit_s / 3600:.2g} h, {day.change_s:.0f} s a change: {day.streaming} samples streaming, "
                  f"{day.afterwards} when each waits for its picture"),
        ("", f"{day.blind} without looking; their last picture comes {day.blind_backlog_s / 60:.0f} min after the "
             "visit")]
