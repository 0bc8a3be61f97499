"""Frames that wait outside the kernel's memory give the same result; on a GPU, too."""

import importlib

import numpy as np
import pytest

from camlink.compute.arrays import gpu_trouble, to_host
from camlink.compute.ptychography.algorithm import raar
from camlink.compute.ptychography.bench.problem import Case, Problem, engine_of
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.kernels.reference import ReferenceKernel
from camlink.compute.ptychography.many.chunks import ChunkedSlots, slots_for
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.slots import Slots

SIDE, COUNT = 16, 19
SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
TROUBLE = gpu_trouble()
gpu = pytest.mark.skipif(bool(TROUBLE), reason=f"no GPU whose memory could be too small: {TROUBLE}")


def engine_with(slots, kernel, complex_):
    rng = np.random.default_rng(2)
    corners = np.stack(np.divmod(np.arange(COUNT), 5), axis=1) * 4 + rng.integers(0, 3, (COUNT, 2)) + 2
    shape = tuple(int(side) for side in corners.max(axis=0) + SIDE + 3)
    probe = (rng.standard_normal((1, SIDE, SIDE)) + 1j * rng.standard_normal((1, SIDE, SIDE))).astype(complex_)
    amplitude = np.abs(rng.standard_normal((COUNT, SIDE, SIDE))).astype(probe.real.dtype)
    engine = Engine(Geometry((SIDE, SIDE), shape, (1.0, 1.0), (0.0, 0.0), 0), slots, kernel, probe=probe,
                    image=np.exp(1j * rng.uniform(-0.5, 0.5, shape)).astype(complex_), fractions=2,
                    constraints=Constraints(None, float((np.abs(probe) ** 2).sum())))
    for some in np.array_split(rng.permutation(COUNT), 4):
        engine.put(some, amplitude[some], corners[some].astype(float), np.ones(len(some), probe.real.dtype))
    return engine


def results(engine):
    """Every way in which an engine goes through its frames."""
    engine.iterate(raar(0.9), refine_probe=True)
    engine.probe = engine.kernel.space.roll(engine.probe, 2, axis=-1)
    engine.centre()
    engine.move(np.array([1, 17, 3]), np.array([[3.5, 4.0], [6.0, 7.5], [5.0, 5.0]]))
    engine.iterate(raar(0.75))
    waves = np.concatenate([to_host(part.waves).copy() for part in engine.slots.spans(writing=False)])
    return [to_host(part) for part in (engine.image, engine.probe, engine.evidence(), engine.coverage, waves)] + [
        np.array([engine.fourier_error(), engine.fourier_error(5)])]


def gap(one, other):
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("held", "chunk"), [(0, 1), (0, 7), (5, 4), (18, 3), (40, 8), (0, 100)])
def test_chunks_are_the_whole(held, chunk):
    slots = ChunkedSlots(COUNT, 1, (SIDE, SIDE), DOUBLE, held=held, chunk=chunk)
    assert not slots.resident
    whole = engine_with(Slots(COUNT, 1, (SIDE, SIDE), DOUBLE), ReferenceKernel(), np.complex128)
    assert gap(results(engine_with(slots, ReferenceKernel(), np.complex128)), results(whole)) < 1e-12


def test_chunks_with_the_compiled_kernel():
    make = [lambda: choose("compiled", (SIDE, SIDE), 1, SINGLE)] * 2
    there = engine_with(ChunkedSlots(COUNT, 1, (SIDE, SIDE), SINGLE, held=3, chunk=5), make[0](), np.complex64)
    here = engine_with(Slots(COUNT, 1, (SIDE, SIDE), SINGLE), make[1](), np.complex64)
    assert gap(results(there), results(here)) < 1e-5


def test_growing_keeps_the_frames():
    slots = ChunkedSlots(4, 1, (SIDE, SIDE), DOUBLE, held=3, chunk=2)
    grow = slots.claim

    def claim(index):
        if slots.count == slots.capacity:
            slots.grow(slots.capacity + 6)
        return grow(index)

    slots.claim = claim
    whole = engine_with(Slots(COUNT, 1, (SIDE, SIDE), DOUBLE), ReferenceKernel(), np.complex128)
    assert gap(results(engine_with(slots, ReferenceKernel(), np.complex128)), results(whole)) < 1e-12


def test_no_frames_are_one_empty_span():
    assert [len(part.weights) for part in ChunkedSlots(4, 1, (8, 8), DOUBLE, held=0, chunk=2).spans()] == [0]


@pytest.mark.parametrize("room", [0.3, 0.9, 1.1])
def test_what_does_not_fit_waits_outside(room):
    need = 100 * SIDE * SIDE * 12
    slots = slots_for(100, 1, (SIDE, SIDE), SINGLE, room_bytes=room * need)
    assert slots.resident == (room > 1)
    if room < 1:
        lanes = sum(part.nbytes for lane in slots._lanes for part in lane)
        assert slots._amplitude.nbytes + slots._waves.nbytes + lanes <= room * need
        assert "host memory" in slots.room
    else:
        assert slots.room == "memory"


@gpu
@pytest.mark.parametrize("held", [0, 40])
def test_on_a_gpu_chunks_are_the_whole(held):
    cupy = importlib.import_module("cupy")
    problem = Problem.of(Case(150, 128, "cuda"))
    engines = []
    for slots in (Slots(150, 1, (128, 128), SINGLE, cupy),
                  ChunkedSlots(150, 1, (128, 128), SINGLE, cupy, held=held, chunk=16)):
        engines.append(engine_of(problem, choose("cuda", (128, 128), 1, SINGLE), slots))
        for _ in range(3):
            engines[-1].iterate(raar(0.75), refine_probe=True)
    here, there = ([to_host(part) for part in (engine.image, engine.probe, engine.coverage)] for engine in engines)
    assert gap(there, here) < 1e-4
    assert engines[1].fourier_error() == pytest.approx(engines[0].fourier_error(), rel=1e-3)
