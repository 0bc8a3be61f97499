from __future__ import annotations

import pytest

from camlink.carry.bench import cases
from camlink.carry.bench.job import run
from camlink.carry.bench.task import Task
from camlink.errors import PeerLost


@pytest.mark.slow
@pytest.mark.parametrize("by", ["shm", "zmq", "zmq tcp", "pyzmq ipc", "pyzmq tcp"])
def test_every_chain_does_the_whole_job(by: str) -> None:
    outcome = run(Task(by=by, folder="", frames=40, whole=True))  # type: ignore[arg-type]
    assert outcome.right == 40
    assert outcome.faults == []
    assert outcome.ages_ms["p50"] <= outcome.ages_ms["max"]


@pytest.mark.slow
def test_small_frames_go_many_in_a_block_and_each_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "REPEATS", 1)
    for name, count in (("SMALL_FRAMES", 2000), ("ALONE_FRAMES", 200), ("SMALL_PER_S", 1000)):
        monkeypatch.setattr(cases, name, count)
    record = cases.measure("small-4k")
    assert record["checked"]
    assert record["unit"] == "frames/s"


@pytest.mark.slow
def test_a_process_that_fails_ends_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PeerLost, match="ended with code"):
        run(Task(by="shm", folder="", frames=-1))
    assert "Traceback" in capfd.readouterr().err
