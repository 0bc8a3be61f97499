"""n ranks = 1 rank: engines on tiles go the way of one engine that holds everything."""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.denoise import TotalVariation
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.many.halo import Halo
from camlink.compute.ptychography.many.shared import Desk, SharedCourier
from camlink.compute.ptychography.many.tiles import Tiles
from camlink.compute.ptychography.model import exit_waves, far_field, magnitude
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.refine.background import Background
from camlink.compute.ptychography.refine.edges import Edges
from camlink.compute.ptychography.refine.gains import Gains
from camlink.compute.ptychography.refine.limits import Limits
from camlink.compute.ptychography.refine.modes import Modes
from camlink.compute.ptychography.refine.positions import Positions
from camlink.compute.ptychography.slots import Slots

SIDE = 16


class Problem:
    """A small scan with known object, and a start that is away from it."""

    def __init__(self, count=23, complex_=np.complex128, seed=3):
        rng = np.random.default_rng(seed)
        columns = int(np.ceil(np.sqrt(count)))
        self.corners = np.stack(np.divmod(np.arange(count), columns), axis=1) * 4 + rng.integers(0, 3, (count, 2))
        self.shape = tuple(int(side) for side in self.corners.max(axis=0) + SIDE + 2)
        y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
        self.probe = (np.exp(-(y**2 + x**2) / 20 + 0.1j * y) * 30)[None].astype(complex_)
        truth = np.exp(1j * rng.uniform(-0.6, 0.6, self.shape)) * rng.uniform(0.7, 1, self.shape)
        self.amplitude = magnitude(far_field(exit_waves(self.probe, truth, self.corners))).astype(self.probe.real.dtype)
        self.start = np.full(self.shape, 0.9, complex_)
        self.more = dict
        self.guess = self.probe * (1 + 0.05 * rng.standard_normal(self.probe.shape)).astype(self.probe.real.dtype)

    def engine(self, kernel, image, capacity, exchange=None, origin=(0.0, 0.0)):
        power = float((np.abs(self.probe) ** 2).sum())
        return Engine(Geometry((SIDE, SIDE), image.shape, (1.0, 1.0), origin, 0),
                      Slots(capacity, len(self.guess), (SIDE, SIDE), self.probe.real.dtype), kernel,
                      probe=self.guess, image=image, constraints=Constraints(None, power), exchange=exchange,
                      **self.more())

    def put(self, engine, rows, origin=(0, 0)):
        engine.put(rows, self.amplitude[rows], (self.corners[rows] - origin).astype(float), np.ones(len(rows)))


def on_one(problem, work, kernel):
    engine = problem.engine(kernel(), problem.start, len(problem.corners))
    problem.put(engine, np.arange(len(problem.corners)))
    return [work(engine), engine.image, engine.probe, engine.coverage, engine.evidence(), engine.fourier_error()]


def on_many(problem, work, kernel, ranks, slack=0):
    tiles = Tiles.of(problem.corners, ranks, problem.shape, (SIDE, SIDE), slack)
    owner = tiles.rank_of(problem.corners)

    def one(desk):
        exchange = Halo(tiles, SharedCourier(desk, 30.0))
        image = exchange.part(problem.start)
        origin = tuple(float(part.start) for part in tiles.box(desk.rank))
        engine = problem.engine(kernel(), image, len(owner), exchange, origin)
        problem.put(engine, np.flatnonzero(owner == desk.rank), origin)
        return [work(engine), exchange.whole(engine.image), engine.probe, exchange.whole(engine.coverage),
                exchange.whole(engine.evidence()), engine.fourier_error()]

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(one, Desk.several(ranks)))


def gap(one, other):
    return np.abs(np.asarray(one) - other).max() / np.abs(other).max()


def once(engine):
    engine.iterate(raar(0.9), refine_probe=True)


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("slack", [0, 3])
def test_one_iteration_in_double(ranks, slack):
    problem = Problem()
    alone = on_one(problem, once, ReferenceKernel)
    for rank in on_many(problem, once, ReferenceKernel, ranks, slack):
        for one, other in zip(rank[1:], alone[1:], strict=True):
            assert gap(one, other) < 1e-12


@pytest.mark.parametrize("kernel", ["reference", "compiled"])
def test_one_iteration_in_single(kernel):
    problem = Problem(complex_=np.complex64)
    lock = Lock()  # compiled code of several threads may not run in parallel in one process

    def make():
        chosen = choose(kernel, (SIDE, SIDE), 1, np.dtype(np.float32))
        step = chosen.step

        def locked(*args, **options):
            with lock:
                return step(*args, **options)

        chosen.step = locked
        return chosen

    alone = on_one(problem, once, make)
    for rank in on_many(problem, once, make, 3):
        for one, other in zip(rank[1:], alone[1:], strict=True):
            assert gap(one, other) < 1e-5


@pytest.mark.parametrize(("count", "ranks"), [(1, 3), (2, 2), (3, 7)])
def test_empty_ranks_take_part(count, ranks):
    problem = Problem(count)
    alone = on_one(problem, once, ReferenceKernel)
    for one, other in zip(on_many(problem, once, ReferenceKernel, ranks)[0][1:], alone[1:], strict=True):
        assert gap(one, other) < 1e-12


def fifty(engine):
    for iteration in range(45):
        engine.iterate(raar(0.75), refine_probe=iteration > 2)
    for _ in range(5):
        engine.iterate(ap())


def test_fifty_iterations_end_alike_and_the_same_split_gives_the_same_bits():
    problem = Problem(36, np.complex64)
    alone = on_one(problem, fifty, ReferenceKernel)
    many, again = (on_many(problem, fifty, ReferenceKernel, 3) for _ in range(2))
    covered = alone[3] > 0.1 * alone[3].max()
    assert alone[5] < 0.1
    for rank in many:
        assert abs(rank[5] / alone[5] - 1) < 0.01
        assert gap(rank[1][covered], alone[1][covered]) < 0.01
    for one, same in zip(many, again, strict=True):
        for first, second in zip(one[1:], same[1:], strict=True):
            assert np.array_equal(first, second)
    assert np.array_equal(many[0][2], many[2][2])


def shoved(engine):
    engine.probe = np.roll(engine.probe, (3, -2), axis=(-2, -1))
    engine.centre()
    once(engine)


def test_centring_moves_the_object_across_tiles():
    problem = Problem()
    alone = on_one(problem, shoved, ReferenceKernel)
    for rank in on_many(problem, shoved, ReferenceKernel, 4):
        assert gap(rank[1], alone[1]) < 1e-12


def test_frames_on_one_rank_are_felt_by_all():
    """Late frames of one rank change the coverage of the others."""
    problem = Problem()

    def late(engine):
        once(engine)
        engine.put(np.zeros(0, np.int64), problem.amplitude[:0], np.zeros((0, 2)), np.zeros(0))
        engine.iterate(raar(0.9))

    alone = on_one(problem, late, ReferenceKernel)
    for rank in on_many(problem, late, ReferenceKernel, 2):
        assert gap(rank[1], alone[1]) < 1e-12


def refined(engine):
    for iteration in range(9):
        engine.iterate(raar(0.75), refine_probe=iteration > 2)


@pytest.mark.parametrize("more", [
    lambda: {"refinements": [Background(2, 2)]},
    lambda: {"refinements": [Gains(2, 2)]},
    lambda: {"refinements": [Positions(2, 3)], "fractions": 4},
    lambda: {"object_steps": [TotalVariation(50.0), Edges(1e-3), Limits("complex", 0.2, 1.1)]},
], ids=["background", "gains", "positions", "object steps"])
def test_what_is_refined_does_not_depend_on_the_split(more):
    problem = Problem(30)
    problem.amplitude *= np.random.default_rng(8).uniform(0.8, 1.2, (30, 1, 1))
    problem.more = more
    alone = on_one(problem, refined, ReferenceKernel)
    for rank in on_many(problem, refined, ReferenceKernel, 3, slack=6):
        for one, other in zip(rank[1:], alone[1:], strict=True):
            assert gap(one, other) < 1e-9


def test_modes_are_the_same_on_all_ranks():
    problem = Problem(30)
    problem.guess = np.concatenate([problem.guess, 0.3 * np.roll(problem.guess, 3, axis=-1)])
    problem.more = lambda: {"refinements": [Modes(every=3, start=2)]}
    alone = on_one(problem, refined, ReferenceKernel)
    many = on_many(problem, refined, ReferenceKernel, 3)
    assert np.array_equal(many[0][2], many[2][2])
    assert many[0][5] == pytest.approx(alone[5], rel=0.1)  # each looks at other frames for the fit
