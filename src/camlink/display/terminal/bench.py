"""camlink bench NAME: measure a part of camlink on this machine, beside floors and peers in the same run."""

from __future__ import annotations

import importlib
import os
import platform
from pathlib import Path
from typing import Annotated, Any, Final

import psutil
import typer
from rich.console import Console

from camlink.display.terminal.options import write_json
from camlink.errors import InputError, UnknownName

START: Final = "cpu-128-start"
POINTS: Final = 20
FRAME_PX: Final = 128
PHOTONS: Final = 2e6
TARGET: Final = 0.04
BENCHES: Final[dict[str, tuple[str, ...]]] = {
    "capture": ("fastccd-udp",),
    "links": ("shm-sum", "shm-whole", "zmq-sum", "zmq-whole", "age-100", "age-400", "small-4k"),
    "sites": ("curve-tcp", "lanes", "relay", "ssh", "control", "dask"),
    "ptychography": (
        "cpu-128", "cpu-128-admm", "cpu-128-modes", "cpu-128-positions", START, "gpu-128", "gpu-256", "gpu-256-admm",
        "gpu-256-modes", "gpu-256-positions", "gpu-256-ordered", "gpu-256-start", "gpu-256-x2", "gpu-256-x4"),
}


_HOMES: Final = {"capture": "camlink.capture.fastccd.bench", "links": "camlink.carry.bench.cases",
                 "sites": "camlink.runtime.bench", "ptychography": "camlink.compute.ptychography.bench"}


def _measured(name: str, case: str, data: Path | None) -> dict[str, Any]:
    """The record of one case; what it needs is loaded only now."""
    if case == START:
        return _start(data)
    record: dict[str, Any] = importlib.import_module(_HOMES[name]).measure(case)
    return record


def _start(data: Path | None) -> dict[str, Any]:
    """The time from counts to an error, of the set in `data` or of one that the twin simulates."""
    from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
    from camlink.compute.ptychography.bench.start import time_to_error
    from camlink.compute.ptychography.evaluate.set_file import open_dataset

    dataset = open_dataset(data) if data is not None else simulated_dataset(
        small_parameters(points=POINTS, frame=FRAME_PX, photons=PHOTONS, seed=0))
    return time_to_error(START, dataset, kernel="compiled", target=TARGET)


def bench(name: Annotated[str, typer.Argument(help=f"One of: {', '.join(BENCHES)}.")],
          case: Annotated[str, typer.Option(help="Only this case.")] = "",
          data: Annotated[Path | None, typer.Option(
              help=f"An HDF5 set with truth for {START}; else the twin simulates one.")] = None,
          json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None) -> None:
    """Measure, check and compare; figures are of this machine under its present load."""
    if name not in BENCHES:
        raise UnknownName("bench", name, BENCHES)
    cases = BENCHES[name]
    if case and case not in cases:
        raise UnknownName(f"case of {name}", case, cases)
    console, measured = Console(), []
    for label in [case] if case else cases:
        try:
            with console.status(f"{name} {label}"):
                measured.append(_measured(name, label, data))
        except InputError as error:
            if case:
                raise
            console.print(f"{label}: not measured: {error}", style="yellow", highlight=False, markup=False,
                          soft_wrap=True)
            continue
        console.print(_line(measured[-1]), highlight=False, soft_wrap=True)
    if json is not None:
        write_json(json, {"machine": machine(), "cases": measured})
    raise typer.Exit(0 if all(m["checked"] for m in measured) else 1)


def machine() -> dict[str, Any]:
    """What the figures were measured on: processor, cores, load, system, Python."""
    return {"processor": _processor(), "cores": psutil.cpu_count(), "memory_bytes": psutil.virtual_memory().total,
            "load_1min": round(os.getloadavg()[0], 2), "system": platform.platform(),
            "python": platform.python_version()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _line(case: dict[str, Any]) -> str:
    beside = ", ".join(f"{name} {value:g}" for name, value in case["beside"].items())
    checked = "[green]checked[/]" if case["checked"] else "[red]CHECK FAILED[/]"
    return f"[bold]{case['case']}[/] {case['figure']:g} {case['unit']} ({checked})  beside: {beside}\n  {case['note']}"
