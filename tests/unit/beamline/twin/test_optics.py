import msgspec
import numpy as np
import pytest

from camlink.beamline.twin.optics import FarField, probe, pupil, rms_diameter
from camlink.block import Optics
from camlink.errors import ParameterError

FAR = FarField(energy_eV=800.0, distance_m=0.08, pixel_m=30e-6, crop=256, binning=2)
PLATE = Optics(diameter_m=240e-6, outer_zone_m=45e-9, stop_m=95e-6, defocus_m=25e-6)


def test_object_pixel_is_lambda_z_over_width():
    assert FAR.wavelength_m == pytest.approx(1.5498e-9, rel=1e-4)
    assert FAR.object_pixel_m == pytest.approx(1.5498e-9 * 0.08 / (256 * 30e-6), rel=1e-4)
    assert FAR.window == 128
    unbinned = msgspec.structs.replace(FAR, binning=1)
    assert unbinned.object_pixel_m == FAR.object_pixel_m


def test_pupil_is_an_annulus_of_the_right_radii():
    size = 512
    amplitude = np.abs(pupil(FAR, PLATE, size))
    line = amplitude[size // 2, size // 2:]
    step_m = FAR.crop * FAR.pixel_m / size
    outer = FAR.distance_m * FAR.wavelength_m / (2 * PLATE.outer_zone_m) / step_m
    inner = outer * PLATE.stop_m / PLATE.diameter_m
    bright = np.flatnonzero(line > 0.5)
    assert bright[0] == pytest.approx(inner, abs=1)
    assert bright[-1] == pytest.approx(outer, abs=1)


def test_without_a_stop_the_middle_is_bright():
    open_plate = msgspec.structs.replace(PLATE, stop_m=0.0)
    assert abs(pupil(FAR, open_plate, 128)[64, 64]) == pytest.approx(1, abs=1e-6)


def test_probe_has_its_photons_and_is_compact():
    beam = probe(FAR, PLATE, 1e6)
    assert beam.shape == (128, 128)
    assert beam.dtype == np.complex64
    assert np.sum(np.abs(beam) ** 2) == pytest.approx(1e6, rel=1e-5)
    assert 0.25 < rms_diameter(beam) / FAR.window < 0.4


def test_focus_is_much_smaller_than_the_defocused_beam():
    focused = probe(FAR, msgspec.structs.replace(PLATE, defocus_m=0.0), 1.0)
    assert rms_diameter(focused) < 0.4 * rms_diameter(probe(FAR, PLATE, 1.0))


def test_geometric_size_of_the_defocused_beam():
    # a cone of half angle lambda / (2 dr), 25 um behind its focus
    reach_px = PLATE.defocus_m * FAR.wavelength_m / (2 * PLATE.outer_zone_m) / FAR.object_pixel_m
    inner_px = reach_px * PLATE.stop_m / PLATE.diameter_m
    annulus = 2 * np.sqrt((reach_px**2 + inner_px**2) / 2)
    assert rms_diameter(probe(FAR, PLATE, 1.0)) == pytest.approx(annulus, rel=0.1)


def test_opposite_defocus_is_the_conjugate_beam():
    other = probe(FAR, msgspec.structs.replace(PLATE, defocus_m=-PLATE.defocus_m), 1.0)
    np.testing.assert_allclose(other, np.conj(probe(FAR, PLATE, 1.0)), atol=1e-6)


def test_rms_diameter_of_a_known_shape():
    y, x = np.mgrid[:201, :201] - 100
    assert rms_diameter((np.hypot(y, x) < 50).astype(complex)) == pytest.approx(np.sqrt(2) * 50, rel=0.01)


def test_a_beam_that_leaves_its_window_is_refused():
    with pytest.raises(ParameterError, match="lower defocus_m"):
        probe(FAR, msgspec.structs.replace(PLATE, defocus_m=80e-6), 1.0)


def test_a_cone_that_leaves_the_frame_is_refused():
    with pytest.raises(ParameterError, match="shorten distance_m"):
        probe(FAR, msgspec.structs.replace(PLATE, outer_zone_m=15e-9), 1.0)
