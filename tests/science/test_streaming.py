"""Streaming against batch: any order of arrival, gaps, repeats and late frames reach the picture of the sorted set."""

import msgspec
import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import raar
from camlink.compute.ptychography.metric import score
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import Reconstruction
from camlink.compute.ptychography.schedule import Outlook, Schedule
from camlink.compute.ptychography.solve import solve
from camlink.workflow.port import Listed

SETTINGS = {"kernel": "reference", "polish_s": 0.0, "iterations": 45}


@pytest.fixture(scope="module")
def small(simulate_scan):
    return simulate_scan(size=64, side=7, step=5, photons=2e5)


class Dripping(Listed):
    """An Inflow that gives one block at most every `calls` takes."""

    def __init__(self, blocks, calls):
        super().__init__(blocks)
        self._calls, self._asked = calls, 0

    def take(self, timeout_s=0.0):
        self._asked += 1
        return super().take() if self._asked % self._calls == 1 else None


def run(small, blocks, spoken, *, inflow=Listed, **changes):
    parameters = SolveParameters(**{**SETTINGS, **changes})
    context = spoken()
    versions = list(solve.make(parameters, context)(inflow(blocks)))
    return versions, context, parameters.margin


def error(small, version, margin):
    return score(*small.box(version.arrays["object"], margin)).nrms


@pytest.fixture(scope="module")
def batch_error(small):
    """Error of the same schedule on all frames at once."""
    parameters = SolveParameters(**SETTINGS)
    work, schedule = Reconstruction(small.scan, parameters), Schedule(parameters)
    work.absorb(small.block(range(len(small.counts))))
    work.begin()
    for done in range(parameters.iterations):
        work.advance(schedule.next(work.condition, Outlook(False, done / parameters.iterations,
                                                           parameters.iterations - done)))
    return score(*small.box(work.arrays()["object"], 8)).nrms


def test_a_known_object_is_recovered(small, spoken):
    versions, context, margin = run(small, [small.block(range(len(small.counts)))], spoken)
    final = versions[-1]
    assert error(small, final, margin) < 0.05
    assert final.facts["final"]
    assert final.facts["active"] == len(small.counts)
    assert final.facts["fourier_error"] < 0.2
    assert context.facts["memory_bytes"] > small.counts.size * 8


SLOW = pytest.mark.slow


@pytest.mark.parametrize(("pattern", "size"), [
    ("shuffled", 6), *(pytest.param(pattern, size, marks=SLOW) for pattern, size in (
        ("sorted", 6), ("shuffled", 1), ("shuffled", 49), ("twice", 1), ("twice", 6)))])
def test_arrival_does_not_matter(small, spoken, batch_error, pattern, size):
    """The final picture has the error of the batch within 2 % of it."""
    count = len(small.counts)
    order = np.arange(count) if pattern == "sorted" else np.random.default_rng(5).permutation(count)
    if pattern == "twice":
        order = np.concatenate([order[:30], order])
    blocks = [small.block(order[start:start + size]) for start in range(0, len(order), size)]
    versions, _, margin = run(small, blocks, spoken, inflow=lambda b: Dripping(b, 2), polish_s=30)
    assert error(small, versions[-1], margin) < 1.02 * batch_error


def test_frames_of_weight_zero_are_as_good_as_absent(small, spoken):
    """Frames without a single value take part with weight 0: the picture is that of the others."""
    dead = (3, 11, 30)
    counts = np.array(small.counts)
    counts[list(dead)] = np.nan
    rows = [row for row in range(len(counts)) if row not in dead]
    errors = [error(small, run(small, [block], spoken, iterations=30)[0][-1], 8)
              for block in (small.block(range(len(counts)), counts=counts), small.block(rows))]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


def test_gaps_repeats_and_foreign_positions_are_counted(small, spoken):
    rows = [row for row in range(len(small.counts)) if row not in (5, 17)]
    stray = small.block([5])
    stray.arrays["position_m"][0] = (np.nan, 0.0)
    far = small.block([17])
    far.arrays["position_m"][0] += 1.0
    blocks = [small.block(rows[:30]), small.block(rows[20:]), stray, far]
    versions, context, margin = run(small, blocks, spoken)
    assert versions[-1].facts["active"] == len(rows)
    problems = context.facts["problems"]
    assert problems["off_grid"] == 2
    assert problems["replaced"] == 10
    assert error(small, versions[-1], margin) < 0.06


def test_a_frame_that_comes_again_replaces_the_old_one(small, spoken):
    wrong = np.array(small.counts)
    wrong[10:20] = np.random.default_rng(0).poisson(30, wrong[10:20].shape)
    every = range(len(small.counts))
    blocks = [small.block(every, counts=wrong), small.block(range(10, 20))]
    versions, _, margin = run(small, blocks, spoken)
    assert error(small, versions[-1], margin) < 0.05


def test_dead_frames_and_dead_pixels_do_no_harm(small, spoken):
    counts = np.array(small.counts)
    counts[7] = np.nan
    counts[:, 20:22, 30:33] = np.nan
    counts[3, 5, 5] = -4
    versions, context, margin = run(small, [small.block(range(len(counts)), counts=counts)], spoken)
    assert error(small, versions[-1], margin) < 0.06
    assert context.facts["problems"] == {"negative_pixels": 1, "empty_frames": 1}
    assert all(np.isfinite(array).all() for array in versions[-1].arrays.values())


def told(small, rows, position_m):
    """A block that tells positions alone: its frames have no pixels."""
    block = small.block(rows)
    return type(block)(block.header, {**block.arrays, "frames": np.zeros((len(block.index), 0, 0), np.float32),
                                      "position_m": position_m})


@pytest.mark.parametrize("when", ["after the last frame", *(
    pytest.param(when, marks=SLOW) for when in ("before", "between", "after the last version"))])
def test_corrected_positions_are_taken_without_restart(small, spoken, batch_error, when):
    """A third of the frames is 3 pixels off; the true positions come in a block of their own, at any time."""
    count = len(small.counts)
    rows = np.arange(0, count, 3)
    off = [small.block(range(start, min(start + 7, count))) for start in range(0, count, 7)]
    for block in off:
        wrong = np.isin(block.index, rows) & (block.index < 40)
        block.arrays["position_m"][wrong] += 3 * np.array(small.scan.object_pixel_m)
    truth = told(small, rows, small.position_m[rows])
    place = {"before": 0, "between": 4}.get(when, len(off))
    blocks = [*off[:place], truth, *off[place:]]
    slow = 3 if when == "between" else 400 if when == "after the last version" else 2
    versions, context, margin = run(small, blocks, spoken, inflow=lambda b: Dripping(b, slow), iterations=40,
                                    polish_s=30)
    assert context.facts["problems"]["moved"] == len(rows)
    assert sum(version.facts["final"] for version in versions) == (2 if when == "after the last version" else 1)
    assert error(small, versions[-1], margin) < 1.02 * batch_error + 0.002


@pytest.mark.slow
def test_corrected_frames_are_taken_after_the_last_version(small, spoken, batch_error):
    """All frames had a dark that was 2 photons too low; the corrected ones come when the picture is there."""
    every = range(len(small.counts))
    blocks = [small.block(every, counts=small.counts + 2), small.block(every)]
    versions, context, margin = run(small, blocks, spoken, inflow=lambda b: Dripping(b, 400), iterations=40,
                                    polish_s=30)
    first, last = (version for version in versions if version.facts["final"])
    assert context.facts["problems"]["replaced"] == len(small.counts)
    assert error(small, last, margin) < error(small, first, margin)


@pytest.mark.slow
def test_the_defocus_is_found_without_optics(small, spoken):
    blind = msgspec.structs.replace(small.scan, optics=None)
    block = small.block(range(len(small.counts)))
    block = type(block)(msgspec.structs.replace(block.header, scan=blind), block.arrays)
    versions, _, margin = run(small, [block], spoken, iterations=80)
    assert error(small, versions[-1], margin) < 0.05


@pytest.mark.slow
def test_long_runs_at_high_relaxation_stay_calm(small):
    work = Reconstruction(small.scan, SolveParameters(kernel="reference"))
    work.absorb(small.block(range(len(small.counts))))
    work.begin()
    for _ in range(100):
        work.advance(raar(0.9))
    assert score(*small.box(work.arrays()["object"], 8)).nrms < 0.06


def test_versions_keep_their_phase(small, spoken):
    count = len(small.counts)
    blocks = [small.block(range(start, min(start + 5, count))) for start in range(0, count, 5)]
    versions, _, _ = run(small, blocks, spoken, inflow=lambda b: Dripping(b, 4), publish_s=1e-6)
    assert len(versions) > 10
    last, before = (version.arrays["object"] * (version.arrays["coverage"] > 0.2) for version in versions[-1:-3:-1])
    assert abs(np.angle(np.vdot(before, last))) < 0.02


def test_versions_are_copies(small):
    work = Reconstruction(small.scan, SolveParameters(kernel="reference"))
    work.absorb(small.block(range(30)))
    work.begin()
    arrays = work.arrays()
    kept = {name: np.array(array) for name, array in arrays.items()}
    for _ in range(12):
        work.advance(raar(0.9))
    work.arrays()
    assert all(np.array_equal(kept[name], arrays[name]) for name in kept)


@pytest.mark.slow
def test_several_workers_reach_the_same_picture(small, spoken, batch_error):
    count = len(small.counts)
    order = np.random.default_rng(6).permutation(count)
    blocks = [small.block(order[start:start + 6]) for start in range(0, count, 6)]
    versions, context, margin = run(small, blocks, spoken, inflow=lambda b: Dripping(b, 2), workers=3, patience_s=60.0)
    assert error(small, versions[-1], margin) < 1.05 * batch_error + 0.002
    assert versions[-1].facts["active"] == count
    assert context.facts["workers"] == 3
    assert context.facts["frames_in"] == "memory"


@pytest.mark.slow
def test_several_workers_refine_what_one_does(small, spoken):
    blocks = [small.block(range(len(small.counts)))]
    more = {"algorithm": "raar", "modes": 2, "positions_every": 5, "fractions": 2, "background_every": 5, "edges": 1e-4,
            "iterations": 40, "patience_s": 60.0}
    alone, together = (run(small, blocks, spoken, workers=workers, **more)[0][-1] for workers in (1, 2))
    assert together.arrays["probe"].shape == (2, 64, 64)
    assert together.facts["fourier_error"] == pytest.approx(alone.facts["fourier_error"], rel=0.05)
    assert error(small, together, 8) < 1.1 * error(small, alone, 8) + 0.002
