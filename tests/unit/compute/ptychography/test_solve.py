"""The operator's manners: it publishes early, stops when asked, never spins, and is cheap to describe."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from camlink.block import CountFrames, Header, Optics, Scan
from camlink.compute.ptychography.algorithm import Rule, ap
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import Reconstruction
from camlink.compute.ptychography.solve import solve
from camlink.errors import FormatError
from camlink.testing.context import RecordingContext
from camlink.workflow.operator import Kind
from camlink.workflow.port import Listed

COUNT = 30
MODULE = "camlink.compute.ptychography.solve"
SCAN = Scan(id="s", expected=COUNT, shape=(16, 16), pixel_m=(30e-6, 30e-6), distance_m=0.02, energy_eV=800.0,
            span_m=(0.0, 0.0, 4e-7, 4e-7), optics=Optics(diameter_m=1e-4, outer_zone_m=1e-7))
FAST = {"kernel": "reference", "polish_s": 0.0, "iterations": 12}


class Told(RecordingContext):
    """A Context that remembers, and asks to stop after `calls` questions."""

    def __init__(self, calls=10**9):
        super().__init__(Path())
        self._left = calls

    def stopping(self):
        self._left -= 1
        return self._left < 0


class Open(Listed):
    """An Inflow whose sender never closes; counts the waits."""

    waits = 0

    @property
    def ended(self):
        return False

    def take(self, timeout_s=0.0):
        if super().ended:
            self.waits += timeout_s > 0
            return None
        return super().take()


def block(rows, scan=SCAN, **arrays):
    rng = np.random.default_rng(0)
    n = len(rows)
    position = np.linspace(0, 4e-7, COUNT)[:, None].repeat(2, axis=1)[rows]
    columns = {"index": np.array(rows), "point": np.array(rows), "kind": np.ones(n, np.uint8), "dwell_s": np.ones(n),
               "position_m": position, "time_s": np.zeros(n)}
    frames = rng.poisson(5, (n, 16, 16)).astype(np.float32)
    return CountFrames.checked(Header(scan=scan, made_s=0), {"frames": frames, **columns, **arrays})


def run(inflow, context=None, **changes):
    return solve.make(SolveParameters(**{**FAST, **changes}), context or Told())(inflow)


def test_ports_and_kind_are_described():
    assert solve.kind is Kind.SOLVER
    assert solve.inputs[0].streams
    assert solve.outputs[0].block.__name__ == "Result"


def test_description_needs_no_compiler():
    code = ("import sys, camlink.compute.ptychography.solve as s; "
            "print([m for m in ('numba', 'scipy.fft', 'scipy.ndimage', 'h5py') if m in sys.modules])")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_first_version_comes_with_the_first_frames():
    first = next(run(Open([block(range(20))]), publish_s=1e-6))
    assert first.facts["active"] == 20
    assert not first.facts["final"]
    assert first.arrays["object"].dtype == np.complex64
    assert first.arrays["probe"].shape == (1, 16, 16)
    assert first.arrays["coverage"].shape == first.arrays["object"].shape


class Setting(Told):
    """A Context in which somebody sets parameters once `when` iterations were told."""

    def __init__(self, when, **values):
        super().__init__()
        self.when, self.values = when, values

    def changed(self, parameters):
        if self.values and self.facts.get("iteration", 0) >= self.when:
            parameters, self.values = msgspec.structs.replace(parameters, **self.values), {}
        return parameters


@pytest.mark.parametrize("more", [{"algorithm": "admm", "total_variation": 1.0},
                                  {"positions_every": 2, "edges": 1e-4, "object_kind": "phase"}], ids=str)
def test_what_is_set_in_the_middle_holds_from_the_next_iteration_on(more):
    seen = []
    context = Setting(3, iterations=15, patience_s=600.0, **more)
    for version in run(Open([block(range(COUNT))]), context, iterations=6, polish_iterations=0, publish_s=1e-6):
        seen.append(version.facts["iteration"])
        if version.facts["final"]:
            break
    assert seen[-1] == 15
    if more.get("object_kind"):
        np.testing.assert_allclose(np.abs(version.arrays["object"]), 1, atol=1e-4)


def test_what_was_set_ends_a_run_earlier_too():
    *_, last = run(Listed([block(range(COUNT))]), Setting(3, iterations=8), iterations=4000, publish_s=1e-6,
                   patience_s=600.0)
    assert last.facts["iteration"] < 20


def test_what_stays_is_told_with_the_reason():
    alone, shared = SolveParameters(), SolveParameters(workers=2)
    assert set(solve.staying(alone)) < set(solve.staying(shared))
    assert solve.staying(shared)["algorithm"].startswith("each of the processes")
    assert set(solve.staying(shared)) <= set(alone.__struct_fields__)
    assert solve.changes


def test_too_few_frames_wait_for_the_end():
    versions = list(run(Listed([block(range(4))])))
    assert versions[-1].facts["active"] == 4
    assert versions[-1].facts["final"]


def test_no_frames_give_no_version():
    assert list(run(Listed([]))) == []


def test_only_unusable_frames_give_no_version():
    bad = block(range(3))
    bad.arrays["position_m"][...] = np.nan
    assert list(run(Listed([bad]))) == []


@pytest.mark.parametrize("algorithm", ["auto", "raar", "epie", "lsqml", "admm"])
@pytest.mark.parametrize(("count", "level"), [(1, 5.0), (25, 0.0)], ids=["one frame", "all dark"])
def test_hardly_any_light_gives_a_finite_picture(algorithm, count, level):
    few = block(range(count))
    few.arrays["frames"][...] = level
    final = list(run(Listed([few]), algorithm=algorithm))[-1]
    assert final.facts["active"] == count
    assert all(np.isfinite(array).all() for array in final.arrays.values())


def test_too_many_frames_for_this_machine_are_refused_before_the_first_is_kept():
    many = msgspec.structs.replace(SCAN, expected=10**9)
    with pytest.raises(FormatError, match=r"1000000000 frames of 16 x 16 pixels need .* GiB, .* GiB are free here"):
        list(run(Listed([block(range(3), scan=many)])))


def test_memory_is_told_before_the_first_picture_and_holds_all_modes():
    context = Told()
    next(run(Listed([block(range(20))]), context, modes=3))
    frames = COUNT * 16 * 16 * (4 + 3 * 8)
    assert frames < context.facts["memory_bytes"] < 2 * frames + 128 * 50**2


def test_it_stops_when_asked_and_still_hands_over_what_there_is(monkeypatch):
    monkeypatch.setattr(sys.modules[MODULE], "DRAIN_S", 0.0)
    inflow = Open([block(range(25))])
    versions = list(run(inflow, Told(calls=40), iterations=1000))
    assert versions[-1].facts["final"]
    assert versions[-1].facts["iteration"] < 60


class Trickle(Listed):
    """An Inflow that has one block, then none, then the next."""

    given = False

    def take(self, timeout_s=0.0):
        self.given = not self.given
        return super().take() if self.given else None


def test_what_was_under_way_when_it_was_asked_to_stop_is_in_the_picture():
    *_, last = run(Trickle([block(range(k, k + 5)) for k in range(0, 25, 5)]), Told(calls=2))
    assert last.facts["active"] == 25


def test_it_waits_when_every_frame_has_seen_its_iterations(monkeypatch):
    monkeypatch.setattr(sys.modules[MODULE], "DRAIN_S", 0.0)
    inflow = Open([block(range(25))])
    list(run(inflow, Told(calls=60)))
    assert inflow.waits > 10


class Slow:
    """A clock that only moves when an iteration, a picture or an error is worked out; `work` is what it counts."""

    def __init__(self, monkeypatch, *, step_s, picture_s, error_s):
        self.now_s, self.steps, self.begun = 0.0, [], []
        monkeypatch.setattr(sys.modules[MODULE], "perf_counter", lambda: self.now_s)
        for name, cost_s in (("advance", step_s), ("arrays", picture_s), ("facts", error_s)):
            monkeypatch.setattr(Reconstruction, name, self._costly(getattr(Reconstruction, name), name, cost_s))

    def _costly(self, method, name, cost_s):
        def run(work, *args, **options):
            self.now_s += cost_s
            if name == "advance":
                self.steps.append(args[0])
            return method(work, *args, **options)
        return run

    def polishes(self):
        return sum(step == Rule(ap()) for step in self.steps)


@pytest.fixture
def slow(monkeypatch):
    return lambda **costs: Slow(monkeypatch, **{"step_s": 1.0, "picture_s": 1.0, "error_s": 1.0, **costs})


def test_patience_bounds_the_wished_iterations(slow):
    clock = slow(step_s=1.0, picture_s=0.0, error_s=0.0)
    final = list(run(Listed([block(range(COUNT))]), iterations=1000, patience_s=10.0, publish_s=3600))[-1]
    assert final.facts["final"]
    assert final.facts["iteration"] == 11
    assert clock.polishes() == 1


def test_without_a_bound_every_wished_iteration_is_done(slow):
    clock = slow()
    final = list(run(Listed([block(range(COUNT))]), iterations=40, patience_s=1e4, publish_s=3600))[-1]
    assert final.facts["iteration"] == 40
    assert clock.polishes() == 5


class Live(Open):
    """All frames but one at first, the last one after `calls` takes."""

    def __init__(self, calls, clock):
        super().__init__([block(range(COUNT - 1))])
        self._calls, self._clock, self.last_s = calls, clock, None

    def take(self, timeout_s=0.0):
        self._calls -= 1
        if self._calls == 0:
            self.last_s = self._clock.now_s
            return block([COUNT - 1])
        return super().take(timeout_s)


def after_the_last_frame(clock, **changes):
    inflow = Live(60, clock)
    for version in run(inflow, iterations=12, publish_s=5.0, **changes):
        if version.facts["final"]:
            return clock.now_s - inflow.last_s
    raise AssertionError("no final version")


@pytest.mark.parametrize("polish_s", [5.0, 9.0, 14.0, 40.0])
def test_a_live_scan_ends_in_its_time(slow, polish_s):
    clock = slow(step_s=1.0, picture_s=1.0, error_s=1.0)
    assert after_the_last_frame(clock, polish_s=polish_s) <= polish_s + 1.0 + 2.0
    assert 1 <= clock.polishes() <= 5


def test_one_projection_is_done_whatever_it_costs(slow):
    clock = slow(step_s=100.0)
    after_the_last_frame(clock, polish_s=0.0)
    assert clock.polishes() == 1


def test_the_last_expected_frame_ends_the_scan_before_the_sender_closes():
    versions = []
    for version in run(Open([block(range(COUNT))]), Told(calls=500)):
        versions.append(version)
        if version.facts["final"]:
            break
    assert versions[-1].facts["active"] == COUNT


def test_a_given_probe_is_used_and_checked():
    probe = np.ones((2, 16, 16), np.complex64)
    final = list(run(Listed([block(range(20), probe=probe)]), probe_every=0))[-1]
    assert final.arrays["probe"].shape == (2, 16, 16)
    np.testing.assert_allclose(np.abs(final.arrays["probe"]).std(), 0, atol=1e-3)
    with pytest.raises(FormatError, match="start probe"):
        list(run(Listed([block(range(20), probe=probe[:, :8])])))


def test_same_exit_waves_whatever_the_free_phase():
    from camlink.compute.ptychography.picture import free_phase, turned

    rng = np.random.default_rng(0)
    image, probe = ((rng.random((4, 4)) + 1j * rng.random((4, 4))).astype(np.complex64) for _ in range(2))
    factor = free_phase(image, image * np.exp(0.4j), np.ones((4, 4)))
    assert np.angle(factor) == pytest.approx(0.4, abs=1e-5)
    other, beam = turned(image, probe, factor)
    np.testing.assert_allclose(other * beam, image * probe, rtol=1e-5)
    assert free_phase(np.zeros((4, 4)), None, np.ones((4, 4))) == 1
