from __future__ import annotations

import sys
from pathlib import Path

import pytest

from camlink.display.terminal.options import read_flow, read_sets
from camlink.errors import InputError
from camlink.workflow.check import check


def test_values_are_read_as_in_a_workflow_file() -> None:
    assert read_sets(["solve.beta=0.8", "twin.faults=drop-packets=0.01", "a.list=[1, 2e3]"]) == {
        "solve.beta": 0.8, "twin.faults": "drop-packets=0.01", "a.list": [1, 2000.0]}
    assert read_sets(None) == {}


@pytest.mark.parametrize("text", ["solve.beta", "beta=1", "=1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"OPERATOR\.PARAMETER=VALUE"):
        read_sets([text])


def test_an_operator_in_a_file_beside_the_workflow_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "lies_beside.py").write_text(
        "from camlink import CountFrames, operator\n\n\n"
        "@operator('same')\ndef same(frames: CountFrames) -> CountFrames:\n    return frames\n")
    file = tmp_path / "flow.yaml"
    file.write_text("workflow: w\noperators:\n  same: {use: 'lies_beside:same'}\n  no: {use: 'not_there:same'}\n")
    problems = check(read_flow(file, ["same.batch=2"])).problems
    assert not any("lies_beside" in problem for problem in problems)
    assert "no: operator 'not_there:same': no module 'not_there' beside the workflow file" in "\n".join(problems)


def test_other_sites_are_checked_as_they_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "flow.yaml").write_text("workflow: w\noperators:\n  frames: {use: replay}\n")
    (tmp_path / "sites.yaml").write_text("sites:\n  beam: {placer: ssh, host: beam7}\nat: {frames: baem}\n")
    flow = read_flow(tmp_path / "flow.yaml", sites=tmp_path / "sites.yaml")
    assert any("did you mean 'beam'?" in problem for problem in check(flow).problems)
