"""camlink bench NAME: measure a part of camlink on this machine, beside floors and peers in the same run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import psutil
import typer
from rich.console import Console

from camlink.errors import InputError, StorageError, UnknownName


def _capture() -> dict[str, Any]:
    from camlink.capture.fastccd.bench import measure

    return measure()


def _ptychography(case: str) -> Callable[[], dict[str, Any]]:
    def run() -> dict[str, Any]:
        from camlink.compute.ptychography.bench import measure

        return measure(case)

    return run


def _links(case: str) -> Callable[[], dict[str, Any]]:
    def run() -> dict[str, Any]:
        from camlink.carry.bench.cases import measure

        return measure(case)

    return run


def _sites(case: str) -> Callable[[], dict[str, Any]]:
    def run() -> dict[str, Any]:
        from camlink.carry.bench.far import measure

        return measure(case)

    return run


BENCHES: Final[dict[str, dict[str, Callable[[], dict[str, Any]]]]] = {
    "capture": {"fastccd-udp": _capture},
    "links": {case: _links(case) for case in ("shm-sum", "shm-whole", "zmq-sum", "zmq-whole", "age-100", "age-400",
                                              "small-4k")},
    "sites": {case: _sites(case) for case in ("curve-tcp", "relay")},
    "ptychography": {case: _ptychography(case) for case in (
        "cpu-128", "cpu-128-admm", "cpu-128-modes", "gpu-128", "gpu-256")},
}


def bench(name: Annotated[str, typer.Argument(help=f"One of: {', '.join(BENCHES)}.")],
          case: Annotated[str, typer.Option(help="Only this case.")] = "",
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
                    measured.append(measure())
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
