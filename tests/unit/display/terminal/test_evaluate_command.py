from __future__ import annotations

import json

import h5py
import pytest
import typer
from typer.testing import CliRunner

from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
from camlink.display.terminal.evaluate import evaluate
from camlink.errors import FormatError, StorageError, UnknownName

pytestmark = pytest.mark.slow
SMALL = ["--points", "6", "--iterations", "6", "--kernels", "reference", "--target", "0.5"]


def run(*arguments):
    app = typer.Typer()
    app.command()(evaluate)
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "80"})
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_simulated_scan_is_compared_on_table_page_and_file(tmp_path):
    result = run(*SMALL, "--algorithms", "ap,raar", "--set", "raar.beta=0.6,0.9", "--set", "twin.phantom=star",
                 "--json", tmp_path / "found.json", "--page", tmp_path / "page")
    assert result.exit_code == 0, result.output
    assert "36 frames of 64 x 64" in result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert [c["name"] for c in found["contestants"]] == ["ap", "raar beta=0.6", "raar beta=0.9"]
    for contestant in found["contestants"]:
        assert contestant["name"] in result.output
        assert contestant["iterations"] == 6
        assert contestant["nrms"] < 0.5
        assert contestant["seconds_to_target"] is not None
        assert contestant["curve"][-1]["iteration"] == 6
    assert found["dataset"]["truth"] is True
    assert "<img" in (tmp_path / "page" / "index.html").read_text(encoding="utf8")


def test_a_set_is_compared(tmp_path):
    made = simulated_dataset(small_parameters(points=6, frame=64, photons=1e5, seed=0))
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["data"], file["pos"] = made.counts, made.corners(0)
    result = run(tmp_path / "set.h5", "--algorithms", "ap", "--kernels", "reference", "--iterations", 3)
    assert result.exit_code == 0, result.output
    assert "no truth" in result.output
    assert "half bit" in result.output


def test_a_scan_too_small_for_an_error_says_so():
    result = run("--points", 3, "--algorithms", "ap", "--kernels", "reference", "--iterations", 2)
    assert result.exit_code == 0
    assert "too small a scan" in result.output


def test_time_alone_is_a_budget():
    result = run("--points", 4, "--algorithms", "ap", "--kernels", "reference", "--seconds", 0.1)
    assert "each contestant gets 0.1 s" in result.output


@pytest.mark.parametrize(("arguments", "error"), [
    (["--algorithms", "epia"], UnknownName), (["nothing.h5"], FormatError), (["--set", "twin.fotons=1"], UnknownName),
    ([*SMALL, "--algorithms", "ap", "--json", "/proc/none/x.json"], StorageError),
])
def test_wrong_input_is_told(arguments, error):
    with pytest.raises(error):
        run(*arguments)
