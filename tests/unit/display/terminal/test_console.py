from __future__ import annotations

from io import StringIO

from rich.console import Console

from camlink.display.terminal.console import draw_status, print_report
from camlink.runtime.report import Report
from camlink.runtime.status import STEPS, LinkStatus, OperatorStatus, RunStatus, StepStatus


def text_of(thing: object) -> str:
    console = Console(width=140, record=True, file=StringIO())
    console.print(thing)
    return console.export_text()


def status(**more: object) -> RunStatus:
    base = {
        "version": 3, "workflow": "toys", "scan": "s1", "elapsed_s": 12.0,
        "steps": tuple(StepStatus(title=t, state="done", text="2 of 2") for t in STEPS),
        "operators": (OperatorStatus(name="solve", use="s", kind="solver", site="here", state="running",
                                     facts={"fourier_error": 0.123456, "iteration": 7}),),
        "links": (LinkStatus(name="a->b", source="a", target="b", sent=10, acknowledged=7, lost={"died": 3}),),
        "frames": {"expected": 10, "captured": 10, "delivered": 7, "lost": {"died": 3}}, "reasons": ("3 frames lost",)}
    return RunStatus(**{**base, **more})  # type: ignore[arg-type]


def test_a_status_shows_steps_frames_links_facts_and_reasons() -> None:
    text = text_of(draw_status(status(verdict="degraded")))
    assert all(title in text for title in STEPS)
    assert "10 of 10 captured, 7 delivered, 3 lost" in text
    assert "a->b" in text
    assert "fourier_error 0.1235, iteration 7" in text
    assert "! 3 frames lost" in text
    assert "degraded" in text


def test_a_status_before_anything_happened_can_be_drawn() -> None:
    assert "toys" in text_of(draw_status(status(operators=(), links=(), frames={}, reasons=(), scan="")))


def test_a_report_says_how_it_ended_and_where_things_are() -> None:
    report = Report(
        workflow="toys", scan="s1", verdict="failed", reasons=("solve: boom [not markup]",),
        frames={"expected": 10, "captured": 0, "delivered": 0, "lost": {}, "in_flight": 0}, links=(),
        times={"ready_s": 1.234, "first_frame_s": None}, result={"files": ["/x/s1.cxi"], "fourier_error": 0.1},
        decisions=(), versions={}, operators={}, folder="/x")
    console = Console(width=140, record=True, file=StringIO())
    print_report(console, report)
    text = console.export_text()
    assert "failed  scan s1" in text
    assert "because solve: boom [not markup]" in text
    assert "expected 10, captured 0, delivered 0" in text
    assert "ready 1.23 s" in text
    assert "/x/s1.cxi" in text


def test_a_link_has_one_line_in_a_terminal_of_80_columns() -> None:
    link = LinkStatus(name="beamline->camera", source="beamline", target="camera", policy="spill", sent=4120,
                      acknowledged=4120, frames_per_s=125.0, bytes_per_s=16.1e6, age_ms={"p99": 1234.5})
    console = Console(width=80, record=True, file=StringIO())
    console.print(draw_status(status(links=(link,))))
    (line,) = [line for line in console.export_text().splitlines() if "beamline->camera" in line]
    assert "125/s 16.1 MB/s" in line
    assert "1234.5 ms" in line


def test_the_folder_of_a_run_is_whole_in_a_narrow_terminal() -> None:
    place = "/data/" + "long/" * 30
    report = Report(
        workflow="toys", scan="s1", verdict="complete", reasons=(), frames={}, links=(), times={},
        result={"files": [place + "s1.cxi"]}, decisions=(), versions={}, operators={}, folder=place)
    console = Console(width=40, record=True, file=StringIO())
    print_report(console, report)
    assert f"file    {place}s1.cxi\nlog     {place}\n" in console.export_text()
