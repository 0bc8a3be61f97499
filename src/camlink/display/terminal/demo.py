"""camlink demo NAME: a beamline, its scan and the live picture on this machine, with one command."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from camlink.display.terminal import options
from camlink.display.terminal.options import Browser, Folder, Host, Leave, Port, ReportFile, Sites, Size, Tls, Values
from camlink.display.terminal.paper import paper
from camlink.display.terminal.session import Choices, present
from camlink.errors import CamlinkError, UnknownName
from camlink.runtime.report import Report
from camlink.workflow.graph import Workflow
from camlink.workflow.text import parse_workflow, put_over_sites

DEMOS: Final = ("ptychography",)


def demo(name: Annotated[str, typer.Argument(help=f"One of: {', '.join(DEMOS)}.")] = "ptychography",
         size: Annotated[Size, typer.Option(help="talk: 40 x 40 frames of 260 x 260 pixels.")] = Size.DEMO,
         fault: Annotated[str, typer.Option(help="What the wire does wrong, as in drop-packets=0.01.")] = "",
         values: Values = None, sites: Sites = None, report: ReportFile = None, browser: Browser = True,
         leave: Leave = False, folder: Folder = None, port: Port = 0, host: Host = "127.0.0.1",
         tls: Tls = "auto") -> None:
    """Simulate a beamline and watch its scan become a picture."""
    from camlink.beamline.twin.operator import describe
    from camlink.beamline.twin.parameters import TwinParameters
    from camlink.capture.fastccd.faults import Faults
    from camlink.workflow.parameter import build

    workflow = demo_workflow(name, size, fault).with_values(options.read_sets(values))
    if sites is not None:
        workflow = put_over_sites(workflow, sites)
    console = paper()
    twin = build(TwinParameters, dict(workflow.nodes["beamline"].parameters), "beamline")
    assert isinstance(twin, TwinParameters)
    Faults.parse(twin.faults)
    console.print(describe(twin), highlight=False, soft_wrap=True)
    choices = Choices(report, browser, leave, folder, port, host, tls)
    raise typer.Exit(present(workflow, choices, console, with_truth))


def demo_text(name: str) -> str:
    """The YAML text of a demo; raises UnknownName."""
    if name not in DEMOS:
        raise UnknownName("demo", name, DEMOS)
    return files("camlink.display.terminal").joinpath("demos", f"{name}.yaml").read_text(encoding="utf8")


def demo_workflow(name: str, size: Size = Size.DEMO, fault: str = "") -> Workflow:
    """The workflow of a demo; raises UnknownName."""
    text = demo_text(name)
    values: dict[str, Any] = {"beamline.faults": fault} if fault else {}
    if size is Size.TALK:
        values |= _talk()
    return parse_workflow(text, f"demo {name}").with_values(values)


def _talk() -> dict[str, Any]:
    from camlink.beamline.twin.parameters import TwinParameters, talk_parameters

    chosen, default = (msgspec.to_builtins(p) for p in (talk_parameters(), TwinParameters()))
    changed = {f"beamline.{key}": value for key, value in chosen.items() if value != default[key]}
    return {**changed, "reduce.crop": 260, "reduce.shape": 260, "solve.warm_size": 260}


def with_truth(report: Report) -> Report:
    """The report with the error of the kept result against the truth of the twin, where both are there."""
    from camlink.beamline.twin.compare import compare_files
    from camlink.beamline.twin.operator import TRUTH

    kept = [Path(f) for f in report.result.get("files", []) if str(f).endswith(".cxi")]
    truth = Path(report.folder) / TRUTH
    if not kept or not truth.exists():
        return report
    try:
        found = compare_files(kept[-1], truth)
    except CamlinkError as error:
        return report.with_result(error_vs_truth=None, not_compared=str(error))
    return report.with_result(error_vs_truth=round(found.nrms, 4), phase_rms_rad=round(found.phase_rms_rad, 4),
                              frc_half_bit=round(found.half_bit, 3))
