"""The published Siemens star: real frames, no truth, so the residual and the contrast of the spokes are looked at."""

import bz2
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from camlink.compute.ptychography.algorithm import ap, raar
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.evaluate.budget import Budget
from camlink.compute.ptychography.evaluate.contestant import Own
from camlink.compute.ptychography.evaluate.judge import fourier_error
from camlink.compute.ptychography.evaluate.set_file import open_dataset
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.probe import Constraints
from camlink.compute.ptychography.slots import Slots
from camlink.testing.samples import sample

ROOT = Path(__file__).parents[2]
SIDE = 128


def grey_png(image):
    """Bytes of an 8-bit grey PNG of `image` (H, W), stretched between its 1st and 99th percentile."""
    low, high = np.percentile(image, (1, 99))
    grey = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in grey)

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def star():
    path = sample("siemens-star-small.npz.bz2")
    with np.load(io.BytesIO(bz2.decompress(path.read_bytes())), allow_pickle=False) as content:
        return content["data"][0], content["scan"][0], content["probe"].reshape(1, SIDE, SIDE)


@pytest.mark.slow
def test_the_star_is_reconstructed(star):
    data, scan, probe = star
    corners = scan - scan.min(axis=0) + 4
    shape = tuple(int(side) for side in np.rint(corners.max(axis=0)) + SIDE + 5)
    constraints = Constraints(None, float(data.sum(axis=(1, 2)).max()))
    real = np.dtype(np.float32)
    engine = Engine(Geometry((SIDE, SIDE), shape, (1.0, 1.0), (0.0, 0.0), 0), Slots(len(data), 1, (SIDE, SIDE), real),
                    choose("auto", (SIDE, SIDE), 1, real), probe=constraints.apply(probe),
                    image=np.ones(shape, np.complex64), constraints=constraints)
    engine.put(np.arange(len(data)), np.sqrt(data), corners, np.ones(len(data), np.float32))
    for iteration in range(60):
        engine.iterate(raar(0.75) if iteration < 55 else ap(), refine_probe=iteration >= 5)
    assert engine.fourier_error() < 0.15

    image = engine.evidence()
    inner = image[SIDE // 2:-SIDE // 2, SIDE // 2:-SIDE // 2]
    phase = np.angle(inner * np.exp(-1j * np.angle(inner.mean())))
    assert phase.std() > 0.1  # the spokes stand out of a flat field
    folder = ROOT / "test-artefacts"
    folder.mkdir(exist_ok=True)
    (folder / "siemens-star.png").write_bytes(grey_png(phase))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_modes_explain_the_star_better_and_positions_stay_near():
    dataset = open_dataset(sample("siemens-star-small.npz.bz2"))
    last = {}
    for modes, every in ((1, 0), (3, 0), (3, 5)):
        parameters = SolveParameters(algorithm="raar", fractions=4, modes=modes, positions_every=every)
        (last[modes, every],) = Own("star", parameters).run(dataset, Budget(20, samples=1))
    errors = {which: fourier_error(dataset, snapshot) for which, snapshot in last.items()}
    assert errors[3, 0] < 0.95 * errors[1, 0]
    assert errors[3, 5] < 1.05 * errors[3, 0]
    power = (np.abs(last[3, 0].probe) ** 2).sum(axis=(1, 2))
    assert power[0] >= power[1] >= power[2] > 0
    moved = last[3, 5].corners - dataset.corners(last[3, 5].margin)
    assert np.abs(moved).max() > 0
    assert np.abs(moved).max() < 6.5  # three quarters of the margin, and the rounding
