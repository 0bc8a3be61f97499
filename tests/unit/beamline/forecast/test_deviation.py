from __future__ import annotations

import msgspec
import pytest

from camlink.beamline.forecast.deviation import Deviation, deviations, read_run
from camlink.beamline.forecast.forecast import Circumstances, forecast
from camlink.beamline.twin.parameters import TwinParameters
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.errors import FormatError

REPORT = {
    "verdict": "complete", "frames": {"captured": 412}, "unknown": [1],
    "times": {"first_frame_s": 4.0, "first_picture_s": 5.5, "last_frame_s": 20.0, "final_picture_s": 20.5},
    "result": {"iterations": 160, "frc_half_bit": 0.5},
    "operators": {"solve": {"memory_bytes": 2**26, "ms_per_iteration": 50.0}}}


@pytest.fixture(scope="module")
def found():
    return forecast(TwinParameters(), Circumstances(ms_per_iteration=40.0, memory_bytes=2**34), SolveParameters())


def written(path, tree):
    path.write_bytes(msgspec.json.encode(tree))
    return path


def test_every_figure_stands_beside_the_measured_one(found, tmp_path):
    rows = {row.what: row for row in deviations(found, read_run(written(tmp_path / "report.json", REPORT)))}
    assert len(rows) == 8
    assert rows["frames"].part == 0
    assert rows["memory of the solver"].measured == 64
    assert rows["iteration of all frames"].part == pytest.approx(0.25)
    assert rows["first frame to first picture"].measured == pytest.approx(1.5)
    assert rows["last frame to final picture"].measured == pytest.approx(0.5)
    assert rows["half period"].measured == pytest.approx(2 * rows["half period"].predicted)


def test_what_was_not_measured_is_left_out(found, tmp_path):
    tree = {"verdict": "failed", "frames": {}, "times": dict.fromkeys(REPORT["times"])}
    assert deviations(found, read_run(written(tmp_path / "report.json", tree))) == ()
    assert Deviation(what="", unit="", predicted=0, measured=1).part is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"verdict": 3}', b"\xff\xfe"])
def test_a_file_that_is_no_report_is_refused(tmp_path, content):
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(FormatError, match="--report"):
        read_run(tmp_path / "report.json")
    with pytest.raises(FormatError, match="--report"):
        read_run(tmp_path / "none.json")
