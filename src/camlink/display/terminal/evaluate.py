"""camlink evaluate [DATA]: compare algorithms, parameters, kernels and peers on one data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from camlink.display.terminal.bench import machine
from camlink.display.terminal.options import Values, read_sets, write_json
from camlink.errors import StorageError

if TYPE_CHECKING:
    from camlink.compute.ptychography.evaluate.budget import Budget
    from camlink.compute.ptychography.evaluate.contest import Outcome, Standing
    from camlink.compute.ptychography.evaluate.contestant import Contestant
    from camlink.compute.ptychography.evaluate.dataset import DataSet

PAGE: Final = "index.html"
TWIN: Final = "twin"
MANY_ITERATIONS: Final = 100_000
TABLE_WIDTH: Final = 120
TITLES: Final = ("iter", "s", "ms/iter", "s to {target:g}", "error", "phase rad", "Fourier", "half bit", "nm", "MiB",
                "GPU MiB")
"""What the columns of the page's table are called where there is less room."""


def evaluate(
        data: Annotated[Path | None, typer.Argument(
            help="A recorded scan or an HDF5 set with truth; without one the twin simulates a scan.")] = None,
        algorithms: Annotated[str, typer.Option(help="Which to compare, with commas between.")] = "auto,raar,dm,admm",
        kernels: Annotated[str, typer.Option(help="Kernels to try, with commas between.")] = "auto",
        values: Values = None,
        iterations: Annotated[int, typer.Option(min=0, help="Iterations of each; 0: 60, or as many as fit in "
                                                            "--seconds.")] = 0,
        seconds: Annotated[float, typer.Option(min=0, help="Time of each [s]; 0 for no limit.")] = 0.0,
        target: Annotated[float, typer.Option(min=0, help="The error whose time is asked for; 0: 0.05.")] = 0.0,
        peers: Annotated[bool, typer.Option("--peers", help="Let other packages take part where installed.")] = False,
        json: Annotated[Path | None, typer.Option(help="Write all figures and curves to this file.")] = None,
        page: Annotated[Path | None, typer.Option(help="Write a page with pictures into this folder.")] = None,
        points: Annotated[int, typer.Option(min=2, max=200, help="Simulated points a side.")] = 12,
        frame: Annotated[int, typer.Option(min=16, max=1024, help="Simulated frame [pixel].")] = 64,
        photons: Annotated[float, typer.Option(min=1, help="Simulated photons a frame.")] = 1e6,
        seed: Annotated[int, typer.Option(min=0, help="Every random choice of the simulation.")] = 0) -> None:
    """Compare algorithms on one data set: error, resolution, time and memory."""
    from camlink.compute.ptychography.evaluate.budget import Budget
    from camlink.compute.ptychography.evaluate.entries import entries
    from camlink.compute.ptychography.evaluate.peers.pty_chi import pty_chi_contestants

    chosen = read_sets(values)
    of_twin = {key.removeprefix(f"{TWIN}."): chosen.pop(key) for key in list(chosen) if key.startswith(f"{TWIN}.")}
    contestants: list[Contestant] = [*entries(_listed(algorithms), _listed(kernels), chosen)]
    if peers:
        contestants += pty_chi_contestants()
    console, budget = Console(), Budget(iterations or (MANY_ITERATIONS if seconds else 60), seconds)
    with console.status("loading the data set"):
        dataset = _dataset(data, of_twin, points=points, frame=frame, photons=photons, seed=seed)
    facts = describe(dataset, budget)
    console.print("\n".join(facts), highlight=False, markup=False)
    target = target or 0.05
    standings = _hold(console, dataset, contestants, budget, target)
    outcomes = [standing.outcome for standing in standings]
    Console(width=max(console.width, TABLE_WIDTH)).print(table(outcomes, target))
    for line in said(outcomes):
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if json is not None:
        write_json(json, record(dataset, budget, target, standings))
    if page is not None:
        _write_page(page / PAGE, dataset, facts, standings, target)
        console.print(f"page: {page / PAGE}", highlight=False, soft_wrap=True)
    raise typer.Exit(0 if any(outcome.status == "ran" for outcome in outcomes) else 1)


def describe(dataset: DataSet, budget: Budget) -> list[str]:
    """What is compared on, and within which budget."""
    from camlink.compute.ptychography.evaluate.judge import SMALLEST_BOX_PX

    pixel = f", object pixel {1e9 * max(dataset.scan.object_pixel_m):.2f} nm" if dataset.in_metres else ""
    known = "with truth" if dataset.truth is not None else "no truth: the resolution comes from two half data sets"
    if min(dataset.extent) < SMALLEST_BOX_PX:
        known = (f"too small a scan for an error or a resolution: {dataset.extent[0]} x {dataset.extent[1]} pixels "
                 f"between the frame centres, {SMALLEST_BOX_PX} are needed")
    limits = [*([f"{budget.iterations} iterations"] if budget.iterations != MANY_ITERATIONS else []),
              *([f"{budget.seconds:g} s"] if budget.seconds else [])]
    return [f"{dataset.name}: {len(dataset)} frames of {dataset.frame[0]} x {dataset.frame[1]}{pixel}, {known}",
            f"each contestant gets {' or '.join(limits)}"]


def table(outcomes: list[Outcome], target: float) -> Table:
    """The figures of all contestants; the best of each column stands out."""
    from camlink.display.report_page import best_of, figures_of, kept_columns, shown

    found = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    kept = kept_columns(outcomes)
    for title in ("contestant", *(TITLES[k] for k in kept)):
        found.add_column(title.format(target=target), justify="left" if title == "contestant" else "right",
                         no_wrap=True)
    best = best_of(outcomes)
    for outcome in outcomes:
        if outcome.status != "ran":
            found.add_row(outcome.name, Text(outcome.status, style="yellow"))
            continue
        cells = [Text(shown(value, 3), style="bold green" if value is not None and value == top else "")
                 for value, top in ((figures_of(outcome)[k], best[k]) for k in kept)]
        found.add_row(outcome.name, *cells)
    return found


def said(outcomes: list[Outcome]) -> list[str]:
    """Why contestants did not run or gave nothing of use, each reason once."""
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.text:
            reasons.setdefault(outcome.text, []).append(outcome.name)
    return [f"{', '.join(names)}: {text}" for text, names in reasons.items()]


def record(dataset: DataSet, budget: Budget, target: float, standings: list[Standing]) -> dict[str, Any]:
    """Everything as plain values, for JSON."""
    pixel = dataset.scan.object_pixel_m
    return {
        "dataset": {"name": dataset.name, "frames": len(dataset), "frame": dataset.frame,
                    "object_pixel_m": pixel if dataset.in_metres else None, "truth": dataset.truth is not None},
        "budget": {"iterations": budget.iterations, "seconds": budget.seconds}, "target": target,
        "machine": machine(),
        "contestants": [msgspec.to_builtins(standing.outcome) for standing in standings]}


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _dataset(data: Path | None, of_twin: dict[str, Any], *, points: int, frame: int, photons: float,
             seed: int) -> DataSet:
    if data is not None:
        from camlink.compute.ptychography.evaluate.set_file import open_dataset

        return open_dataset(data)
    from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
    from camlink.beamline.twin.parameters import TwinParameters
    from camlink.workflow.parameter import build

    small = small_parameters(points=points, frame=frame, photons=photons, seed=seed)
    parameters = build(TwinParameters, {**msgspec.structs.asdict(small), **of_twin}, TWIN)
    assert isinstance(parameters, TwinParameters)
    return simulated_dataset(parameters)


def _hold(console: Console, dataset: DataSet, contestants: list[Contestant], budget: Budget,
          target: float) -> list[Standing]:
    from camlink.compute.ptychography.evaluate.contest import hold

    standings = []
    with Progress(console=console, transient=True) as progress:
        tasks = {contestant.name: progress.add_task(contestant.name, total=1.0) for contestant in contestants}
        heard = hold(dataset, contestants, budget, target,
                     lambda name, done: progress.update(tasks[name], completed=done))
        for standing in heard:
            progress.update(tasks[standing.outcome.name], completed=1.0)
            standings.append(standing)
    return standings


def _write_page(path: Path, dataset: DataSet, facts: list[str], standings: list[Standing], target: float) -> None:
    from camlink.compute.ptychography.evaluate.judge import truth_of
    from camlink.display.report_page import report_page

    text = report_page(f"camlink evaluate: {dataset.name}", facts, standings, target, truth_of(dataset))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; choose another folder") from None
