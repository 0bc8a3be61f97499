from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from types import SimpleNamespace

import numpy as np
import pytest

from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
from camlink.beamline.twin.experiment import Experiment
from camlink.compute.ptychography.evaluate import contestant, judge
from camlink.compute.ptychography.evaluate.budget import Budget, Stopwatch
from camlink.compute.ptychography.evaluate.contest import Sample, hold, time_to
from camlink.compute.ptychography.evaluate.contestant import Own, Snapshot, begun, start_of
from camlink.compute.ptychography.evaluate.entries import ALGORITHMS, entries
from camlink.compute.ptychography.evaluate.peers import pty_chi
from camlink.compute.ptychography.evaluate.peers.pty_chi import PtyChi, pty_chi_contestants
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.errors import OperatorFailed, ParameterError, UnknownName

pytestmark = pytest.mark.slow
SMALL = small_parameters(points=6, frame=64, photons=1e6, seed=4)


@pytest.fixture(scope="module")
def dataset():
    return simulated_dataset(SMALL)


@pytest.fixture(scope="module")
def truth(dataset):
    """A contestant that knows the answer, turned, scaled and put on a grid of its own."""
    beam = Experiment(SMALL).probe[None]
    margin = 3
    low = dataset.truth_corner
    grid = dataset.truth[low[0] - margin:, low[1] - margin:]
    return Snapshot(1, 0.1, 0.0, 0.1, grid * 2j, beam / 2j, margin)


class Fixed:
    """A contestant that gives the snapshots it was made with."""

    missing = ""

    def __init__(self, name, snapshots, error=None):
        self.name, self.snapshots, self.error = name, snapshots, error
        self.about = {"engine": "test"}

    def prepare(self, dataset):
        pass

    def run(self, dataset, budget):
        yield from self.snapshots
        if self.error:
            raise self.error


def test_the_truth_has_no_error_wherever_its_grid_lies(dataset, truth):
    score = judge.truth_score(dataset, truth)
    assert score.nrms < 1e-5
    assert score.half_bit == 1.0
    noise = judge.fourier_error(dataset, truth)
    seen = float(dataset.counts.sum()) / len(dataset)
    assert noise == pytest.approx(np.sqrt(0.25 * 64**2 / seen), rel=0.1)  # the root of a count has the variance 1/4
    assert judge.fourier_error(dataset, truth, 8) == pytest.approx(noise, rel=0.2)
    moved = replace(truth, margin=truth.margin + 1)
    assert judge.fourier_error(dataset, moved) > 2 * noise
    told = replace(moved, corners=dataset.corners(truth.margin))
    assert judge.fourier_error(dataset, told) == pytest.approx(noise, rel=1e-6)
    fraction = replace(truth, corners=dataset.corners(truth.margin) + np.array([0.5, 0.25]))
    assert judge.fourier_error(dataset, fraction) > 1.2 * noise
    dim = replace(truth, gains=np.full(len(dataset), 0.9))
    assert judge.fourier_error(dataset, dim) > 1.2 * noise
    light = replace(truth, background=np.full(dataset.frame, 30.0, np.float32))
    assert judge.fourier_error(dataset, light) > 2 * noise


def test_a_result_that_is_not_finite_has_no_figures(dataset, truth):
    broken = replace(truth, object=truth.object * np.nan)
    assert judge.truth_score(dataset, broken) is None
    assert judge.fourier_error(dataset, broken) is None
    (standing,) = hold(dataset, [Fixed("nan", [broken])], Budget(1), 0.1)
    assert standing.outcome.status == "ran"
    assert standing.outcome.nrms is None
    assert "not finite" in standing.outcome.text


def test_a_result_that_does_not_cover_the_frames_has_no_figures(dataset, truth):
    small = replace(truth, object=truth.object[:50, :50])
    assert judge.picture_of(dataset, small) is None
    assert judge.fourier_error(dataset, small) is None


def test_the_referee_notes_when_the_target_was_reached(dataset, truth):
    flat = replace(truth, object=np.ones_like(truth.object), probe=truth.probe * 2j)
    runs = [replace(flat, iteration=1, seconds=1.0), replace(truth, iteration=2, seconds=2.0)]
    (standing,) = hold(dataset, [Fixed("two", runs)], Budget(2), 0.05)
    outcome = standing.outcome
    assert (outcome.iterations_to_target, outcome.seconds_to_target) == (2, 2.0)
    assert [sample.iteration for sample in outcome.curve] == [1, 2]
    assert outcome.curve[0].nrms > outcome.curve[1].nrms
    assert outcome.correlated_with == "truth"
    assert outcome.half_period_nm == pytest.approx(1e9 * dataset.scan.object_pixel_m[0], rel=1e-4)


def test_a_target_that_is_left_again_was_not_reached():
    errors = (0.5, 0.04, 0.2, 0.03, 0.02)
    samples = [Sample(iteration=k, seconds=k, fourier_error=None, nrms=e) for k, e in enumerate(errors)]
    assert time_to(samples, 0.05, with_truth=True).iteration == 3
    assert time_to(samples[:3], 0.05, with_truth=True) is None
    assert time_to(samples, 0.05, with_truth=False) is None


def test_one_failure_does_not_end_the_contest(dataset, truth):
    standings = list(hold(dataset, [Fixed("bad", [], OperatorFailed("it broke")), Fixed("none", []),
                                    Fixed("good", [truth])], Budget(1), 0.1))
    assert [s.outcome.status for s in standings] == ["failed", "failed", "ran"]
    assert standings[0].outcome.text == "it broke"


def test_equal_names_are_refused(dataset, truth):
    with pytest.raises(ParameterError, match="different names"):
        list(hold(dataset, [Fixed("a", [truth])] * 2, Budget(1), 0.1))


def test_our_algorithms_find_the_sample(dataset):
    heard = []
    chosen = entries(["raar", "ap"], ["reference"], {})
    standings = list(hold(dataset, chosen, Budget(25, samples=5), 0.2, lambda name, done: heard.append((name, done))))
    for standing in standings:
        assert standing.outcome.nrms < 0.1
        assert standing.outcome.seconds_to_target <= standing.outcome.seconds
        assert standing.outcome.iterations == 25
        assert len(standing.outcome.curve) == 5
        assert standing.picture.shape == dataset.extent
    assert heard[-1] == ("ap", 1.0)


@pytest.mark.parametrize("kernel", ["reference", "compiled"])
def test_positions_and_background_of_our_engine_are_judged(dataset, kernel):
    parameters = SolveParameters(algorithm="raar", kernel=kernel, background_every=2, positions_every=2, fractions=4)
    (last,) = Own("some", parameters).run(dataset, Budget(16, samples=1))
    assert last.corners.shape == (len(dataset), 2)
    assert np.array_equal(last.corners * 4, np.rint(last.corners * 4))
    assert last.background.shape == dataset.frame
    assert last.gains.shape == (len(dataset),)
    assert np.abs(last.corners - dataset.corners(last.margin)).max() < 2
    work = begun(dataset, parameters)
    told = np.random.default_rng(0).random(dataset.frame).astype(np.float32)
    work.engine.background = work.engine.kernel.arrange(told[None])[0]
    assert np.array_equal(contestant.background_of(work), told)
    (plain,) = Own("some", SolveParameters(algorithm="raar", kernel=kernel)).run(dataset, Budget(16, samples=1))
    assert judge.fourier_error(dataset, last) < 1.5 * judge.fourier_error(dataset, plain)
    assert plain.background is None


def test_without_truth_two_halves_say_the_resolution(dataset):
    blind = replace(dataset, truth=None)
    (standing,) = hold(blind, [Own("ap", SolveParameters(algorithm="ap", kernel="reference"))], Budget(15), 0.1)
    assert standing.outcome.correlated_with == "halves"
    assert standing.outcome.nrms is None
    assert 0 < standing.outcome.half_bit <= 1
    assert len(standing.outcome.correlation) == 8


def test_the_stopwatch_keeps_to_both_limits():
    watch = Stopwatch(Budget(4, samples=2))
    due = []
    while not watch.spent:
        with watch.iterating():
            pass
        due.append(watch.due())
    assert due == [False, True, False, True]
    timed = Stopwatch(Budget(1000, seconds=0.02))
    while not timed.spent:
        with timed.iterating():
            sum(range(20_000))
    assert 0 < timed.iteration < 1000
    with pytest.raises(ParameterError):
        Budget(0)


def test_the_stopwatch_waits_for_a_gpu_when_a_snapshot_is_due():
    behind = []

    def settle():
        end = perf_counter() + 0.002 * len(behind)
        behind.clear()
        while perf_counter() < end:
            pass

    watch = Stopwatch(Budget(8, samples=2), settle)
    while not watch.spent:
        with watch.iterating():
            behind.append("handed over at once, worked on for 2 ms")
        assert watch.due() == (not behind)
    assert watch.step_s >= 0.002
    assert watch.seconds >= 8 * 0.002


def test_lists_of_values_become_contestants():
    found = entries(["raar", "dm"], ["auto", "reference"], {"raar.beta": "0.6,0.9", "all.probe_start": 3})
    assert [own.name for own in found] == [
        "raar auto beta=0.6", "raar auto beta=0.9", "raar reference beta=0.6", "raar reference beta=0.9",
        "dm auto", "dm reference"]
    assert {own.parameters.probe_start for own in found} == {3}
    assert found[1].parameters.beta == 0.9
    assert found[0].about["beta"] == 0.6
    assert set(ALGORITHMS) >= {"raar", "dm", "ap"}


@pytest.mark.parametrize(("algorithms", "kernels", "values", "error"), [
    (["rar"], ["auto"], {}, UnknownName), (["raar"], ["cude"], {}, UnknownName), ([], ["auto"], {}, ParameterError),
    (["raar"], ["auto"], {"dm.beta": 1}, UnknownName), (["raar"], ["auto"], {"raar.beat": 1}, UnknownName),
    (["raar"], ["auto"], {"raar.beta": 7}, ParameterError), (["raar"], ["auto"], {"raar.beta": []}, ParameterError),
    (["raar"], ["auto"], {"raar.kernel": "auto"}, ParameterError),
    (["raar"], ["auto"], {"raar.beta": [0.6] * 99}, ParameterError),
])
def test_wrong_entries_are_refused(algorithms, kernels, values, error):
    with pytest.raises(error):
        entries(algorithms, kernels, values)


def test_a_peer_that_is_not_installed_says_so(dataset, monkeypatch):
    monkeypatch.setattr(pty_chi, "find_spec", lambda name: None)
    standings = list(hold(dataset, pty_chi_contestants(), Budget(1), 0.1))
    assert {standing.outcome.status for standing in standings} == {"not installed"}
    assert "pip install ptychi" in standings[0].outcome.text


class Told:
    """Stands for the package: remembers what it was given, and gives the start back."""

    def __init__(self, options, **arrays):
        self.options, self.arrays, self.epochs = options, arrays, 0

    def run(self, epochs):
        self.epochs += epochs

    def get_data_to_cpu(self, name, as_numpy):
        return self.arrays[f"{name}_data"]


def peer_modules(task):
    parts = ("reconstructor_options", "object_options", "probe_options", "probe_position_options")
    api = SimpleNamespace(
        RAAROptions=lambda: SimpleNamespace(**{part: SimpleNamespace(chunk_length=1) for part in parts}),
        Devices=SimpleNamespace(GPU="gpu", CPU="cpu"), ObjectPosOriginCoordsMethods=SimpleNamespace(SPECIFIED="given"))
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False), set_default_device=lambda name: None)
    return {"ptychi.api": api, "ptychi.api.task": SimpleNamespace(PtychographyTask=task), "torch": torch}.__getitem__


def test_a_peer_gets_the_same_start_in_its_own_conventions(dataset, monkeypatch):
    made = []
    monkeypatch.setattr(pty_chi, "import_module", peer_modules(lambda *a, **k: made.append(Told(*a, **k)) or made[-1]))
    (snapshot,) = PtyChi("raar").run(dataset, Budget(3, samples=1))
    image, probe, margin = start_of(dataset)
    np.testing.assert_array_equal(snapshot.object, image)
    np.testing.assert_allclose(snapshot.probe, probe, rtol=1e-6)
    (told,) = made
    assert told.epochs == 3
    # pty-chi: no norm of the FFT, and patches about position + origin that start at -(size - 1)/2
    np.testing.assert_allclose(told.arrays["probe_data"][0] * 64, probe, rtol=1e-6)
    start = np.stack([told.arrays["probe_position_y_px"], told.arrays["probe_position_x_px"]], 1)
    start = start + told.options.object_options.position_origin_coords - 63 / 2
    np.testing.assert_allclose(start, dataset.corners(margin), atol=1e-4)
    assert told.arrays["valid_pixel_mask"] is None


def test_what_a_peer_raises_is_told(dataset, monkeypatch):
    def broken(*args, **arrays):
        raise ValueError("no such option")

    monkeypatch.setattr(pty_chi, "import_module", peer_modules(broken))
    with pytest.raises(OperatorFailed, match="no such option"):
        list(PtyChi("raar").run(dataset, Budget(1)))
