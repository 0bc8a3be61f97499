"""The terminal's side of a run: the four steps, operators, links and frames as one Rich panel that redraws itself."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console, Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from camlink.runtime.report import Report
from camlink.runtime.status import LinkStatus, OperatorStatus, RunStatus

VERDICT_STYLE: Final = {"complete": "bold green", "degraded": "bold yellow", "failed": "bold red"}
_STEP_MARK: Final = {"waiting": "[dim]·[/]", "active": "[cyan]▶[/]", "done": "[green]✓[/]", "failed": "[red]✗[/]"}
_STATE_STYLE: Final = {"running": "cyan", "ended": "green", "failed": "bold red", "ready": "blue"}


def draw_status(status: RunStatus) -> Panel:
    """The whole run at one moment."""
    parts: list[Any] = [_steps(status)]
    if frames := _frames(status):
        parts.append(frames)
    if any(link.sent or link.dropped for link in status.links):
        parts.append(_links(status.links))
    facts = [line for operator in status.operators if (line := _facts(operator))]
    parts += facts
    parts += [Text(f"! {reason}", style="yellow") for reason in status.reasons]
    return Panel(Group(*parts), title=f"camlink · {status.workflow}", subtitle=_subtitle(status), border_style="blue")


def _subtitle(status: RunStatus) -> str:
    scan = f"{status.scan} · " if status.scan else ""
    verdict = status.verdict or "running"
    return f"{scan}{status.elapsed_s:.0f} s · [{VERDICT_STYLE.get(verdict, 'cyan')}]{verdict}[/]"


def _steps(status: RunStatus) -> Table:
    grid = Table.grid(padding=(0, 1))
    for number, step in enumerate(status.steps, 1):
        grid.add_row(_STEP_MARK[step.state], f"{number} {step.title}", Text(step.text, style="dim"))
    return grid


def _frames(status: RunStatus) -> Table | None:
    expected = status.frames.get("expected", 0)
    if not expected:
        return None
    captured, delivered = status.frames.get("captured", 0), status.frames.get("delivered", 0)
    lost = sum(status.frames.get("lost", {}).values())
    grid = Table.grid(padding=(0, 1))
    grid.add_row("frames", ProgressBar(total=expected, completed=captured, width=36),
                 f"{captured} of {expected} captured, {delivered} delivered, {lost} lost")
    return grid


def _links(links: tuple[LinkStatus, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))  # fits 80 columns
    for title in ("link", "policy", "sent", "ack.", "drop.", "lost", "rate", "age p99"):
        table.add_column(title, justify="left" if title in ("link", "policy") else "right")
    for link in links:
        lost = sum(link.lost.values())
        table.add_row(link.name, link.policy, str(link.sent), str(link.acknowledged), str(sum(link.dropped.values())),
                      Text(str(lost), style="bold red" if lost else ""),
                      f"{link.frames_per_s:.0f}/s {link.bytes_per_s / 1e6:.1f} MB/s",
                      f"{link.age_ms.get('p99', 0):.1f} ms")
    return table


_SHOWN: Final = ("address", "packets", "frames_written", "fourier_error", "iteration", "active", "ms_per_iteration")


def _facts(operator: OperatorStatus) -> Text | None:
    found = [f"{key} {_short(operator.facts[key])}" for key in _SHOWN if key in operator.facts]
    if not found and operator.state != "failed":
        return None
    line = Text(f"{operator.name:9} ", style=_STATE_STYLE.get(operator.state, ""))
    line.append(", ".join(found), style="dim")
    if operator.text:
        line.append(f" {operator.text}", style="red")
    return line


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{v} ({k})" if isinstance(v, int) else f"{k}={v}" for k, v in value.items() if v)
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def print_report(console: Console, report: Report) -> None:
    """The end of a run in a few lines: verdict with reasons, frames, times, result, files."""
    style = VERDICT_STYLE.get(report.verdict, "")
    console.print(f"[{style}]{report.verdict}[/]  scan {report.scan or '-'}", highlight=False)
    for reason in report.reasons:
        console.print(f"  because {reason}", style="yellow", highlight=False, markup=False)
    frames = {k: v for k, v in report.frames.items() if v or k in ("expected", "captured", "delivered")}
    result = {k: v for k, v in report.result.items() if k != "files"}
    lines = {"frames": ", ".join(f"{k} {_short(v)}" for k, v in frames.items()),
             "times": ", ".join(f"{k.removesuffix('_s')} {v:.2f} s" for k, v in report.times.items() if v is not None),
             "result": ", ".join(f"{k} {_short(v)}" for k, v in result.items())}
    for title, text in lines.items():
        if text:
            console.print(f"{title:7} {text}", highlight=False, markup=False)
    for title, place in [*(("file", file) for file in report.result.get("files", [])), ("log", report.folder)]:
        console.print(f"{title:7} {place}", highlight=False, markup=False, soft_wrap=True)  # whole, to be copied
