"""An attempt that finds a checkpoint goes on where the one before stood; it does not find the picture anew."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from camlink.block import Result
from camlink.compute.arrays import gpu_trouble, to_host
from camlink.compute.ptychography.algorithm import Rule, raar
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import Reconstruction
from camlink.compute.ptychography.solve import solve
from camlink.errors import FormatError
from camlink.workflow.port import Listed

TROUBLE = gpu_trouble()
GPU = pytest.mark.skipif(bool(TROUBLE), reason=f"no GPU to run the CUDA kernel on: {TROUBLE}")
REFINED = {"modes": 2, "positions_every": 5, "gains_every": 5, "background_every": 5}


@pytest.fixture(scope="module")
def small(simulate_scan):
    return simulate_scan(size=64, side=7, step=5, photons=2e5)


def stood(small, steps=20, **changes):
    """A reconstruction of the set after some iterations."""
    work = Reconstruction(small.scan, SolveParameters(**{"kernel": "reference", **changes}))
    work.absorb(small.block(range(len(small.counts))))
    work.begin()
    for _ in range(steps):
        work.advance(Rule(raar(0.8)))
    return work


@pytest.mark.parametrize("changes", [
    {}, pytest.param(REFINED, marks=pytest.mark.slow), pytest.param({**REFINED, "kernel": "cuda"}, marks=GPU)],
    ids=["plain", "refined", "on a GPU"])
def test_it_stands_where_the_one_before_stood(small, changes):
    steps = 20 if changes else 6
    before = stood(small, steps, **changes)
    after = Reconstruction(small.scan, before.parameters)
    assert after.go_on(before.keep(settled=False)) == steps
    after.absorb(small.block(range(0, 49, 2)))
    assert not after.ready  # the other frames of that time are on their way
    after.absorb(small.block(range(1, 49, 2)))
    assert after.ready
    after.begin()
    assert after.facts(final=True)["fourier_error"] == pytest.approx(before.facts(final=True)["fourier_error"], 1e-4)
    assert after.facts(final=True)["iteration"] == steps
    order = np.argsort(after.engine.slots.indices)
    for name in ("corners", "told", "indices"):
        np.testing.assert_array_equal(getattr(after.engine.slots, name)[order], getattr(before.engine.slots, name))
    np.testing.assert_array_equal(to_host(after.engine.frames.gains)[order], to_host(before.engine.frames.gains))
    np.testing.assert_array_equal(after.engine.ages[order], before.engine.ages)
    for one in (before, after):
        for _ in range(steps // 4):
            one.advance(Rule(raar(0.8)))
    assert after.facts(final=True)["fourier_error"] < 1.05 * before.facts(final=True)["fourier_error"]


@pytest.mark.full
def test_processes_that_share_a_scan_go_on_with_its_picture(small):
    before = stood(small, workers=2)
    kept, error = before.keep(settled=False), before.facts(final=True)["fourier_error"]
    before.close()
    after = Reconstruction(small.scan, before.parameters)
    after.go_on(kept)
    after.absorb(small.block(range(49)))
    after.begin()
    facts = after.facts(final=True)
    after.close()
    assert (facts["workers"], facts["iteration"]) == (2, 20)
    assert facts["fourier_error"] == pytest.approx(error, 1e-5)


def test_frames_that_moved_meanwhile_are_taken_as_new(small):
    before = stood(small, 2, positions_every=5)
    after = Reconstruction(small.scan, before.parameters)
    after.go_on(before.keep(settled=False))
    block = small.block(range(49))
    block.arrays["position_m"][7] += np.array(small.scan.object_pixel_m)
    after.absorb(block)
    after.begin()
    assert np.flatnonzero(after.engine.ages != before.engine.ages).tolist() == [7]


def test_the_operator_goes_on_and_its_first_version_is_as_good_as_the_last(small, spoken):
    settings = {"kernel": "reference", "polish_s": 0.0, "iterations": 12, "publish_s": 1e-6}
    killed, context = spoken(), spoken()
    for version in solve.make(SolveParameters(**settings), killed)(Listed([small.block(range(49))])):
        last = version
        if version.facts["iteration"] >= 8:
            break
    context.checkpoint = killed.checkpoint
    versions = list(solve.make(SolveParameters(**settings), context)(
        Listed([small.block(range(start, start + 7)) for start in range(0, 49, 7)])))
    first = versions[0]
    assert context.facts["went_on_from"] == last.facts["iteration"] == 8
    assert first.facts["iteration"] == 9
    assert first.facts["fourier_error"] < 1.02 * last.facts["fourier_error"]
    assert versions[-1].facts["iteration"] <= 14


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda b: Result(msgspec.structs.replace(b.header, scan=msgspec.structs.replace(b.scan, id="other")), b.arrays),
     "of scan 'other'"),
    (lambda b: Result(msgspec.structs.replace(b.header, facts={**b.facts, "parameters": "{}"}), b.arrays),
     "other parameters"),
    (lambda b: Result(b.header, {**b.arrays, "object": b.arrays["object"][1:]}), "'object' has shape"),
    (lambda b: Result(b.header, {**b.arrays, "probe": b.arrays["probe"] * np.nan}), "not finite"),
    (lambda b: Result(b.header, {**b.arrays, "told": b.arrays["told"][1:]}), "'told' has shape"),
    (lambda b: Result(b.header, {"object": b.arrays["object"]}), "lacks something"),
    (lambda b: Result(b.header, {**b.arrays, "more": np.zeros(2)}), "'more' has shape"),
], ids=["scan", "parameters", "shape", "values", "rows", "incomplete", "unknown"])
def test_what_does_not_fit_is_refused_and_it_begins_anew(small, spoken, spoil, says):
    short = {"polish_s": 0.0, "iterations": 2}
    spoilt = spoil(stood(small, steps=2, **short).keep(settled=False))
    with pytest.raises(FormatError, match=says):
        Reconstruction(small.scan, SolveParameters(kernel="reference", **short)).go_on(spoilt)
    if says == "not finite":
        context = spoken()
        context.checkpoint = spoilt
        work = solve.make(SolveParameters(kernel="reference", **short), context)
        assert list(work(Listed([small.block(range(49))])))[-1].facts["final"]
        assert says in context.facts["checkpoint"]
