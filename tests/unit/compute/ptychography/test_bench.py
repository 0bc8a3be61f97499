"""The bench measures what it says, on small problems."""

from dataclasses import replace

import pytest

from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
from camlink.compute.ptychography.bench import start
from camlink.compute.ptychography.bench.cases import CASES, measure
from camlink.compute.ptychography.bench.cost import ADMM, PLAIN, cost
from camlink.compute.ptychography.bench.cpu import plain_iteration
from camlink.compute.ptychography.bench.problem import BLEND, Case, Problem, engine_of, gap
from camlink.compute.ptychography.bench.record import clocked, record
from camlink.compute.ptychography.evaluate.budget import Budget
from camlink.compute.ptychography.kernels.compiled import CompiledKernel
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.errors import FormatError, UnknownName

SMALL = Case(4, 32, "compiled")


@pytest.mark.parametrize("modes", [1, 2])
def test_kernels_agree_on_a_problem(modes):
    problem = Problem.of(SMALL, modes=modes)
    assert gap(problem, CompiledKernel(32, 2)) < 1e-5
    assert gap(problem, CompiledKernel(32, 2), ADMM) < 1e-5


def test_the_plain_loop_is_an_iteration_of_the_engine():
    problem = Problem.of(SMALL)
    engine = engine_of(problem, ReferenceKernel())
    waves = engine.frames.waves[:, 0].copy()
    image, probe = plain_iteration(problem, waves)
    engine.iterate(BLEND)
    assert image.shape == engine.image.shape
    assert abs(engine.frames.waves[:, 0] - waves).max() < 1e-5 * abs(waves).max()
    assert probe.shape == problem.probe.shape[1:]


@pytest.mark.parametrize("more", [{"rule": ADMM}, {"modes": 2}, {"positions": True}])
def test_what_more_costs_is_told_beside_plain_raar(more):
    found = cost("some", SMALL, **more)
    assert found["checked"]
    assert found["figure"] > 0
    assert set(found["beside"]) == {PLAIN}
    assert "x plain RAAR" in found["note"]


def test_works_are_timed_in_turn():
    order = []
    spent = clocked({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert set(spent) == {"a", "b"}
    found = record("some", 2.0, {"other": 5.0}, "", checked=True)
    assert found["ratio"] == {"other": 2.5}


def test_an_unknown_case_lists_the_known_ones():
    with pytest.raises(UnknownName, match="cpu-128-admm"):
        measure("cpu-129")
    assert "gpu-256" in CASES


@pytest.mark.slow
def test_the_time_to_an_error_is_that_of_the_default(monkeypatch):
    monkeypatch.setattr(start, "BUDGET", Budget(6, samples=3))
    monkeypatch.setattr(start, "pty_chi_contestants", list)
    dataset = simulated_dataset(small_parameters(points=6, frame=64, photons=1e6, seed=4))
    found = start.time_to_error("some-start", dataset, kernel="reference", target=0.6)
    assert found["checked"]
    assert found["unit"] == "s"
    assert found["figure"] > 0
    assert set(found["beside"]) <= set(start.OTHERS)
    never = start.time_to_error("some-start", dataset, kernel="reference", target=1e-9)
    assert not never["checked"]
    assert "not reached by default" in never["note"]
    with pytest.raises(FormatError, match="no truth"):
        start.time_to_error("some-start", replace(dataset, truth=None), kernel="reference", target=0.6)
