from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from camlink.display.terminal.options import Size
from camlink.display.terminal.plan import TALK_SCAN_S, plan, records
from camlink.errors import ParameterError, StorageError, UnknownName

MACHINE = ["--ms-per-iteration", "900", "--memory-gib", "16"]


def run(*arguments):
    app = typer.Typer()
    app.command()(plan)
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100"})
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_talk_is_planned(tmp_path):
    result = run("talk", *MACHINE, "--queue-s", 120, "--json", tmp_path / "plan.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "plan.json").read_text())["forecast"]
    assert found["points"] == 1600
    assert found["scan_s"] == TALK_SCAN_S
    assert found["visit"]["visit_s"] == 4.5 * 3600
    assert f"{found['visit']['streaming']} samples streaming" in " ".join(result.output.split())
    assert "(given)" in result.output


def test_an_iteration_is_measured_when_it_is_not_given():
    result = run("--points-y", 5, "--points-x", 5, "--set", "solve.kernel=reference", "--step-m", "2e-6")
    assert "measured on this machine" in result.output
    assert "!" in result.output  # such steps leave gaps


def test_a_run_is_held_against_its_forecast(tmp_path):
    report = {"verdict": "complete", "frames": {"captured": 400}, "times": {},
              "operators": {"solve": {"ms_per_iteration": 1800.0}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    result = run(*MACHINE, "--against", tmp_path / "report.json", "--json", tmp_path / "plan.json")
    assert "+100%" in result.output
    kept = json.loads((tmp_path / "plan.json").read_text())["against"]
    assert [row["what"] for row in kept["deviations"]] == ["frames", "iteration of all frames"]


def test_options_and_sets_end_in_their_records():
    given = {"twin": {"photons": 5.0, "rate_hz": 2.0}, "solve": {"iterations": None}}
    scan, around, solve = records(Size.TALK, given,
                                  {"twin.energy_eV": 1200, "plan.change_s": 5, "solve.iterations": 7})
    assert (scan.photons, scan.energy_eV, around.change_s, solve.iterations) == (5.0, 1200, 5, 7)
    assert around.scan_s == 0  # a rate that is given decides, in place of the talk's time
    assert records(Size.TALK, {}, {})[1].scan_s == TALK_SCAN_S


@pytest.mark.parametrize(("arguments", "error"), [
    (["--set", "camera.x=1"], ParameterError), (["--set", "twin.fotons=1"], UnknownName),
    (["--frame", "4"], ParameterError), ([*MACHINE, "--json", "/proc/none/x.json"], StorageError),
])
def test_wrong_input_is_told(arguments, error):
    with pytest.raises(error):
        run(*arguments)
