from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from camlink.block import Header, Plan, RawFrames, Scan
from camlink.capture.fastccd.geometry import Geometry
from camlink.capture.fastccd.parameters import FastCCDParameters
from camlink.capture.fastccd.sim import Faults, Simulator
from camlink.capture.fastccd.source import fastccd
from camlink.errors import AddressInUse, ParameterError, SourceSilent
from camlink.testing.ends import until
from camlink.workflow.operator import Kind
from camlink.workflow.parameter import build, fields
from camlink.workflow.port import Listed

TINY = Geometry(rows=20, chips=1)
RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 0x2000, (60, *TINY.shape), dtype=np.uint16)


class Said:
    """A context that remembers what it was told."""

    def __init__(self):
        self.facts, self.stop, self.paused, self.looks = {}, False, False, 0
        self.name, self.folder, self.provenance, self.screen = "camera", Path(), {}, None
        self.attempt, self.given, self.room = 0, frozenset(), np.empty

    def stopping(self):
        return self.stop

    def held(self):
        self.looks += 1
        return self.paused

    def tell(self, **facts):
        self.facts |= facts


class Open(Listed):
    """An inflow whose sender has not closed yet, until it is told."""

    closed = False

    @property
    def ended(self):
        return self.closed and super().ended

    def take(self, timeout_s=0.0):
        found = self._blocks[self._next] if self._next < len(self._blocks) else None
        self._next += found is not None
        return found


def plan_of(count, address, *, period_s=0.002, first=0, index=None, shape=TINY.shape):
    index = np.arange(count) if index is None else index
    scan = Scan(id="s", expected=count, shape=shape, pixel_m=(3e-5, 3e-5), distance_m=0.08, energy_eV=800.0,
                span_m=(0.0, 0.0, 1e-6, 1e-6))
    arrays = {"index": index, "point": index * 10, "kind": (index % 2).astype(np.uint8),
              "dwell_s": np.full(count, 0.001), "position_m": RNG.random((count, 2)),
              "time_s": np.arange(count) * period_s}
    return Plan(Header(scan=scan, made_s=0.0, facts={"address": address, "first_number": first}), arrays)


def run(count, faults="", *, stop=None, send=None, seed=0, given=None, at=None, **parameters):
    """Run the operator against a simulated camera of `count` planned frames, and `at(said)` after some of them."""
    asked = Faults.parse(faults)
    with Simulator(TINY, payload_bytes=512, faults=asked, seed=seed, packet_gap_s=2e-6) as sim:
        plan = plan_of(count, sim.address, first=sim.first_number)
        inflow, said = Open([plan]), Said()
        if given is not None:
            said.attempt, said.given = 1, frozenset(given)

        def camera():
            sim.wait_for_receiver(5.0)
            for number in range(count) if send is None else send:
                sim.send(number, IMAGES[number % 60])
                time.sleep(0.001)
                (at or {}).get(number, lambda said: None)(said)
            inflow.closed = True

        thread = threading.Thread(target=camera)
        thread.start()
        try:
            blocks = []
            for block in fastccd.make(FastCCDParameters(**parameters), said)(inflow):
                blocks.append(block)
                if stop is not None and sum(b.count for b in blocks) >= stop:
                    said.stop = True
        finally:
            thread.join()
        return plan, blocks, said.facts, sim.counts


def check(plan, blocks):
    order = np.concatenate([b.index for b in blocks])
    assert len(set(order)) == len(order)
    for block in blocks:
        RawFrames.checked(block.header, block.arrays)
        for name in ("point", "kind", "dwell_s", "position_m"):
            np.testing.assert_array_equal(block.arrays[name], plan.arrays[name][block.index])
        for frame, index in zip(block.frames, block.index, strict=True):
            known = frame == IMAGES[index % 60]
            assert (frame[~known] == 0x2000).all()
        assert block.header.made_s == block.time_s.min()
    return order


def test_description():
    assert fastccd.kind is Kind.SOURCE
    assert [p.name for p in fastccd.inputs] == ["plan"]
    assert fastccd.outputs[0].block is RawFrames
    assert {row["name"] for row in fields(FastCCDParameters)} >= {"port", "deadline_s", "block_frames"}
    assert build(FastCCDParameters, {"port": "auto"}, "x").port == "auto"
    assert build(FastCCDParameters, {"port": 49205}, "x").port == 49205
    with pytest.raises(ParameterError):
        build(FastCCDParameters, {"port": 99999}, "x")


def test_every_frame_of_a_good_scan_arrives_joined_to_its_plan():
    plan, blocks, facts, _ = run(40, block_frames=7)
    assert list(check(plan, blocks)) == list(range(40))
    assert max(b.count for b in blocks) <= 7
    assert (facts["frames_expected"], facts["frames_captured"], facts["frames_lost"]) == (40, 40, {})
    assert facts["packets"]["missing"] == facts["packets"]["foreign"] == 0
    assert facts["port"] > 0
    assert facts["receive_buffer_bytes"] > 0


def test_started_again_it_gives_what_comes_and_counts_no_frame_that_went_before():
    plan, blocks, facts, _ = run(40, send=range(25, 40), given=range(18))
    assert list(check(plan, blocks)) == [*range(25, 40)]
    assert facts["frames_captured"] == 18 + 15
    assert facts["frames_lost"] == {}


def test_started_again_before_the_camera_falls_silent_it_says_so():
    _, blocks, facts, _ = run(40, send=range(25, 35), given=range(18))
    assert sum(b.count for b in blocks) == 10
    assert facts["frames_lost"] == {"detector silent": 5}


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_counted_as_the_camera_made_them(seed):
    plan, blocks, facts, sent = run(
        60, "drop-packets=0.02,drop-frames=0.1,duplicate=0.02,reorder=0.02,truncate=0.01,garbage=0.02,"
        "missing-tail=0.1,start-number=65520", seed=seed)
    check(plan, blocks)
    packets = facts["packets"]
    assert facts["frames_captured"] == 60 - sent.frames_lost
    assert sum(facts["frames_lost"].values()) == sent.frames_lost
    assert facts["frames_damaged"] == sent.frames_damaged == sum(b.header.facts["frames_damaged"] for b in blocks)
    assert (packets["received"], packets["missing"]) == (sent.packets, sent.packets_dropped + sent.truncated)
    assert packets["short"] == sent.truncated
    for got, made in (("duplicate", sent.duplicated), ("malformed", sent.malformed), ("foreign", sent.foreign)):
        assert made - 1 <= packets[got] <= made  # one that follows the very last packet comes after the end


@pytest.fixture
def away_s(monkeypatch):
    """How long this process was away; the clock of the operator is later by it."""
    away = [0.0]
    for module in ("intake", "receiver"):
        monkeypatch.setattr(f"camlink.capture.fastccd.{module}.now_s", lambda: time.time() + away[0])
    return away


def test_it_ends_before_the_deadline_when_the_last_frames_are_lost():
    begun = time.monotonic()
    _, blocks, facts, _ = run(30, "stop-after=25", deadline_s=60.0)
    assert time.monotonic() - begun < 60.0
    assert sum(b.count for b in blocks) == 25
    assert facts["frames_lost"] == {"detector silent": 5}


def test_silence_in_the_middle_ends_the_stream_and_keeps_what_came(away_s):
    def fall_silent(said):
        until(lambda: said.facts["frames_captured"] == 10, "all that was sent")
        away_s[0] = 100.0

    _, blocks, facts, _ = run(30, send=range(10), at={9: fall_silent})
    assert sum(b.count for b in blocks) == 10
    assert sum(facts["frames_lost"].values()) == 20


def test_a_paused_scan_is_no_silence(away_s):
    def pause(said):
        said.paused = True
        for away_s[0] in (0.0, 100.0):
            looks, end_s = said.looks, time.monotonic() + 20
            while said.looks < looks + 2 and time.monotonic() < end_s:
                time.sleep(0.001)
        said.paused = False

    plan, blocks, facts, _ = run(20, at={10: pause})
    assert list(check(plan, blocks)) == list(range(20))
    assert facts["frames_lost"] == {}


def test_a_camera_that_never_sends_is_named():
    with pytest.raises(SourceSilent, match=r"no frame came in .* registered at udp://127.0.0.1"):
        run(3, send=(), deadline_s=0.2)


def test_frames_that_nobody_planned_are_counted_not_given():
    with Simulator(TINY, payload_bytes=512) as sim:
        plan = plan_of(3, sim.address, index=np.array([2, 4, 6]))
        said = Said()

        def camera():
            sim.wait_for_receiver(5.0)
            for number in range(2, 7):
                sim.send(number, IMAGES[number])

        thread = threading.Thread(target=camera)
        thread.start()
        given = list(fastccd.make(FastCCDParameters(), said)(Listed([plan])))
        thread.join()
    assert [int(i) for block in given for i in block.index] == [2, 4, 6]
    assert (said.facts["frames_unplanned"], said.facts["frames_captured"]) == (2, 3)


def test_stopping_is_obeyed():
    _, blocks, facts, _ = run(60, stop=5, block_frames=5)
    assert 5 <= sum(b.count for b in blocks) < 60
    assert "stopped" in facts["frames_lost"]


def test_a_missing_plan_is_named_and_stopping_ends_the_wait():
    with pytest.raises(SourceSilent, match="plan"):
        list(fastccd.make(FastCCDParameters(), Said())(Listed([])))
    said = Said()
    said.stop = True
    assert list(fastccd.make(FastCCDParameters(), said)(Listed([]))) == []


@pytest.mark.parametrize(("shape", "detector", "text"), [
    ((41, 96), "auto", "even"), ((40, 100), "auto", "96 columns"), ((40, 96), "cosmic", "window")])
def test_a_geometry_that_does_not_fit_is_refused(shape, detector, text):
    plan = plan_of(2, "udp://127.0.0.1:9", shape=shape)
    with pytest.raises(ParameterError, match=text):
        list(fastccd.make(FastCCDParameters(detector=detector), Said())(Listed([plan])))


def test_a_taken_port_is_refused():
    with Simulator(TINY) as sim:
        port = int(sim.address.rpartition(":")[2])
        with pytest.raises(AddressInUse, match=str(port)):
            list(fastccd.make(FastCCDParameters(port=port), Said())(Listed([plan_of(2, sim.address)])))
