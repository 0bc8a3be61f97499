"""The start probe and its constraints."""

import numpy as np
import pytest

from camlink.block import Scan
from camlink.compute.ptychography.probe import Constraints, drift, first_probe, scaled, support, window
from camlink.errors import OperatorFailed

SIZE = 64
SCAN = Scan(id="s", expected=1, shape=(SIZE, SIZE), pixel_m=(30e-6, 30e-6), distance_m=0.1, energy_eV=800.0,
            span_m=(0, 0, 0, 0))


@pytest.fixture
def disc():
    frequency = np.fft.fftfreq(SIZE)
    return 100.0 * (np.hypot(frequency[:, None], frequency[None, :]) < 0.15)


def test_start_probe_has_the_pupil_the_power_and_the_middle(disc):
    probe = first_probe(disc, SCAN, 0.0, 5000.0)
    assert (np.abs(probe) ** 2).sum() == pytest.approx(5000, rel=1e-4)
    assert np.unravel_index(np.abs(probe[0]).argmax(), (SIZE, SIZE)) == (SIZE // 2, SIZE // 2)
    field = np.abs(np.fft.fft2(probe[0]))
    assert field[disc == 0].max() < 1e-4 * field.max()


def test_defocus_has_the_sign_of_a_beam_past_its_focus(disc):
    # Past the focus the beam diverges: the phase on the sample grows outwards, with curvature pi/(wavelength d).
    defocus_m = 6e-4
    probe = first_probe(disc, SCAN, defocus_m, 1.0)[0]
    row = np.unwrap(np.angle(probe[SIZE // 2]))
    inner = slice(SIZE // 2 - 10, SIZE // 2 + 11)
    x = (np.arange(SIZE) - SIZE // 2)[inner] * SCAN.object_pixel_m[1]
    curvature = np.polyfit(x, row[inner], 2)[0]
    assert curvature == pytest.approx(np.pi / (SCAN.wavelength_m * defocus_m), rel=0.3)


def test_no_light_gives_a_finite_probe():
    assert np.isfinite(first_probe(np.zeros((8, 8)), SCAN, 0.0, 1.0)).all()


def test_constraints_clear_the_far_field_and_then_set_the_power(disc):
    rng = np.random.default_rng(1)
    wild = (rng.standard_normal((1, SIZE, SIZE)) + 0j).astype(np.complex64)
    pupil = support(disc, 0.1, grow=0)
    obeyed = Constraints(pupil, 42.0).apply(wild)
    assert (np.abs(obeyed) ** 2).sum() == pytest.approx(42, rel=1e-4)
    assert np.abs(np.fft.fft2(obeyed[0]))[~pupil].max() < 1e-4


def test_support_grows(disc):
    assert support(disc, 0.1, grow=2).sum() > support(disc, 0.1, grow=0).sum() == (disc > 0).sum()


def test_scaling_leaves_a_zero_probe():
    assert not scaled(np.zeros((1, 4, 4), np.complex64), 3.0).any()


def test_drift_counts_whole_pixels():
    probe = np.zeros((1, 16, 16), np.complex64)
    probe[0, 11, 5] = 2
    assert drift(probe) == (3, -3)
    assert drift(np.zeros_like(probe)) == (0, 0)
    with pytest.raises(OperatorFailed, match="diverged"):
        drift(np.full_like(probe, np.nan))


def test_the_window_keeps_the_probe_in_a_disc(disc):
    rng = np.random.default_rng(1)
    wild = (rng.standard_normal((2, SIZE, SIZE)) + 0j).astype(np.complex64)
    inside = window((SIZE, SIZE), 0.5)
    assert inside[SIZE // 2, SIZE // 2 + SIZE // 4]
    assert not inside[SIZE // 2, SIZE // 2 + SIZE // 4 + 1]
    obeyed = Constraints(support(disc, 0.1), 42.0, inside).apply(wild)
    assert not obeyed[:, ~inside].any()
    assert (np.abs(obeyed) ** 2).sum() == pytest.approx(42, rel=1e-4)


@pytest.mark.parametrize(("pupil", "inside"), [(False, False), (True, False), (False, True), (True, True)])
def test_constraints_travel_as_masks(disc, pupil, inside):
    own = Constraints(disc > 0 if pupil else None, 3.0, window((SIZE, SIZE), 0.3) if inside else None)
    probe = np.random.default_rng(1).standard_normal((1, SIZE, SIZE)) + 0j
    np.testing.assert_allclose(Constraints.of(own.masks((SIZE, SIZE)), 3.0).apply(probe), own.apply(probe), atol=1e-12)
