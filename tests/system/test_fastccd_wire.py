"""A camera in its own process, real UDP packets, and the receiver here: nothing lost, or each loss counted."""

from __future__ import annotations

import msgspec
import pytest

from camlink.capture.fastccd.bench import Task, counted_exactly, measure, run_camlink
from camlink.capture.fastccd.faults import Faults
from camlink.capture.fastccd.geometry import PRESETS

GENTLE_GAP_S = 60e-6

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("detector", "payload"), [("window", 4096), ("cosmic", 8184)])
def test_a_paced_stream_loses_nothing_and_every_pixel_is_right(detector, payload):
    run = run_camlink(Task(geometry=PRESETS[detector], frames=30, payload_bytes=payload, packet_gap_s=GENTLE_GAP_S),
                      check=True)
    assert run.counters.frames_ok == run.sent.frames == 30
    assert run.lost_packets == run.dropped_by_this_machine == 0
    assert run.images_checked


@pytest.mark.parametrize("faults", [
    "drop-packets=0.01,burst=3,drop-frames=0.1",
    "duplicate=0.02,reorder=0.02,truncate=0.01,missing-tail=0.2",
    "drop-packets=0.005,burst=40,garbage=0.01",
])
def test_forced_loss_is_counted_to_the_packet_and_to_the_frame(faults):
    run = run_camlink(Task(geometry=PRESETS["window"], frames=60, packet_gap_s=GENTLE_GAP_S,
                           faults=Faults.parse(faults)), check=True)
    assert counted_exactly(run), msgspec.to_builtins(run)
    assert (run.counters.foreign, run.counters.malformed) == (run.sent.foreign, run.sent.malformed)


def test_the_benchmark_gives_a_whole_record():
    case = measure(detector="window", seconds=0.2)
    assert case["case"] == "fastccd-udp"
    assert case["figure"] > 0
    assert set(case["runs"]) == {"unpaced", "paced", "forced loss", "plain", "backlog"}
    assert all(run["payload_MB_per_s"] > 0 for run in case["runs"].values())
