"""camlink bench NAME: measure a part of camlink on this machine, beside floors and peers in the same run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import psutil
import typer
from rich.console import Console

from camlink.errors import InputError, StorageError, UnknownName

if TYPE_CHECKING:
    from camlink.compute.ptychography.kernels.choice import KernelName

PHOTONS: Final = 2e6

Measure = Callable[[Path | None], dict[str, Any]]
"""Takes the data set that was given, or None."""


class Start(NamedTuple):
    """A scan of points x points frames of frame x frame pixels, the kernel, and the error to be reached."""

    points: int
    frame: int
    kernel: KernelName
    target: float


STARTS: Final = {"cpu-128-start": Start(20, 128, "compiled", 0.04), "gpu-256-start": Start(40, 256, "cuda", 0.06)}


def _capture(_: Path | None) -> dict[str, Any]:
    from camlink.capture.fastccd.bench import measure

    return measure()


def _ptychography(case: str) -> Measure:
    def run(_: Path | None) -> dict[str, Any]:
        from camlink.compute.ptychography.bench import measure

        return measure(case)

    return run


def _start(case: str) -> Measure:
    def run(data: Path | None) -> dict[str, Any]:
        from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
        from camlink.compute.ptychography.bench.gpu import check_gpu
        from camlink.compute.ptychography.bench.start import time_to_error
        from camlink.compute.ptychography.evaluate.set_file import open_dataset

        size = STARTS[case]
        if size.kernel == "cuda":
            check_gpu(case)
        dataset = open_dataset(data) if data is not None else simulated_dataset(
            small_parameters(points=size.points, frame=size.frame, photons=PHOTONS, seed=0))
        return time_to_error(case, dataset, kernel=size.kernel, target=size.target)

    return run


def _links(case: str) -> Measure:
    def run(_: Path | None) -> dict[str, Any]:
        from camlink.carry.bench.cases import measure

        return measure(case)

    return run


def _sites(case: str) -> Measure:
    def run(_: Path | None) -> dict[str, Any]:
        from camlink.carry.bench.far import measure

        return measure(case)

    return run


BENCHES: Final[dict[str, dict[str, Measure]]] = {
    "capture": {"fastccd-udp": _capture},
    "links": {case: _links(case) for case in ("shm-sum", "shm-whole", "zmq-sum", "zmq-whole", "age-100", "age-400",
                                              "small-4k")},
    "sites": {case: _sites(case) for case in ("curve-tcp", "relay")},
    "ptychography": {case: _start(case) if case in STARTS else _ptychography(case) for case in (
        "cpu-128", "cpu-128-admm", "cpu-128-modes", "cpu-128-positions", "cpu-128-start", "gpu-128", "gpu-256",
        "gpu-256-start", "gpu-256-x2", "gpu-256-x4")},
}


def bench(name: Annotated[str, typer.Argument(help=f"One of: {', '.join(BENCHES)}.")],
          case: Annotated[str, typer.Option(help="Only this case.")] = "",
          data: Annotated[Path | None, typer.Option(
              help="An HDF5 set with truth for the cases that end in -start; else the twin simulates one.")] = None,
          json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None) -> None:
    """Measure, check and compare; figures are of this machine under its present load."""
    if name not in BENCHES:
        raise UnknownName("bench", name, BENCHES)
    cases = BENCHES[name]
    if case and case not in cases:
        raise UnknownName(f"case of {name}", case, cases)
    console, measured = Console(), []
    for label, measure in cases.items():
        if not case or case == label:
            try:
                with console.status(f"{name} {label}"):
                    measured.append(measure(data))
            except InputError as error:
                if case:
                    raise
                console.print(f"{label}: not measured: {error}", style="yellow", highlight=False, markup=False,
                              soft_wrap=True)
                continue
            console.print(_line(measured[-1]), highlight=False, soft_wrap=True)
    if json is not None:
        record = {"machine": machine(), "cases": measured}
        try:
            json.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
        except OSError as error:
            raise StorageError(f"cannot write {json}: {error.strerror}; choose another place") from None
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
