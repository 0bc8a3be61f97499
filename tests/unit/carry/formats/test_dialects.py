"""Each quirk of the known writers, in the smallest file that shows it."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from camlink.block import ELECTRONVOLT_J
from camlink.carry.formats import dialects
from camlink.errors import FormatError

INSTRUMENT = "entry_1/instrument_1"
DETECTOR = f"{INSTRUMENT}/detector_1"


def rooms(path: Path, values: dict[str, object], units: dict[str, str] | None = None) -> dialects.Rooms:
    with h5py.File(path, "w") as file:
        file.create_group("entry_1")
        for name, value in values.items():
            file[name] = value
        for name, unit in (units or {}).items():
            file[name].attrs["units"] = unit
    return dialects.Rooms(h5py.File(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.cxi"


@pytest.mark.parametrize(("values", "units", "expected_eV"), [
    ({f"{INSTRUMENT}/source_1/energy": 800 * ELECTRONVOLT_J}, {}, 800),
    ({f"{INSTRUMENT}/source_1/energy": 0.8}, {f"{INSTRUMENT}/source_1/energy": "keV"}, 800),
    ({f"{INSTRUMENT}/source_1/energy": 3.0, f"{INSTRUMENT}/beam_1/energy": 0.7},
     {f"{INSTRUMENT}/source_1/energy": "GeV", f"{INSTRUMENT}/beam_1/energy": "keV"}, 700),
    ({f"{INSTRUMENT}/source_1/energy": 3e9 * ELECTRONVOLT_J, f"{INSTRUMENT}/source_1/wavelength": 1e-9}, {}, 1239.842),
    ({f"{INSTRUMENT}/beam_1/energy": 650.0}, {}, 650),
    ({f"{INSTRUMENT}/source_1/wavelength": [1.0]}, {f"{INSTRUMENT}/source_1/wavelength": "nm"}, 1239.842),
])
def test_energy_is_that_of_the_photon(path: Path, values: dict[str, object], units: dict[str, str],
                                      expected_eV: float) -> None:
    assert dialects.find_geometry(rooms(path, values, units)).energy_eV == pytest.approx(expected_eV, rel=1e-6)


def test_the_energy_of_the_machine_is_not_used(path: Path) -> None:
    found = rooms(path, {f"{INSTRUMENT}/source_1/energy": 3e9 * ELECTRONVOLT_J})
    assert np.isnan(dialects.find_geometry(found).energy_eV)
    assert any("machine" in note for note in found.notes)


@pytest.mark.parametrize("turned", [False, True])
def test_basis_vectors_either_way_round_give_the_pixel(path: Path, turned: bool) -> None:
    basis = np.array([(0, -3e-5, 0), (-4e-5, 0, 0)])
    found = rooms(path, {f"{DETECTOR}/basis_vectors": basis.T if turned else basis})
    assert dialects.find_geometry(found).pixel_m == pytest.approx((3e-5, 4e-5))


def test_pixel_sizes_win_and_units_count(path: Path) -> None:
    found = rooms(path, {f"{DETECTOR}/x_pixel_size": 30.0, f"{DETECTOR}/y_pixel_size": 2e-5,
                         f"{DETECTOR}/basis_vectors": np.ones((2, 3))}, {f"{DETECTOR}/x_pixel_size": "um"})
    assert dialects.find_geometry(found).pixel_m == pytest.approx((2e-5, 3e-5))


def test_one_side_of_the_pixel_is_taken_as_square(path: Path) -> None:
    assert dialects.find_geometry(rooms(path, {f"{DETECTOR}/x_pixel_size": 3e-5})).pixel_m == (3e-5, 3e-5)


def test_distance_from_the_corner_along_the_normal(path: Path) -> None:
    assert dialects.find_geometry(rooms(path, {f"{DETECTOR}/corner_position": (1e-3, 2e-3, 0.08)})).distance_m == 0.08
    tilt = np.cos(0.3), np.sin(0.3)
    basis = np.array([(0, -1e-5, 0), (-1e-5 * tilt[0], 0, -1e-5 * tilt[1])])
    corner = np.array([-tilt[1], 0, tilt[0]]) * 0.5
    found = rooms(path.with_suffix(".b"), {f"{DETECTOR}/corner_position": corner, f"{DETECTOR}/basis_vectors": basis})
    assert dialects.find_geometry(found).distance_m == pytest.approx(0.5)


def test_a_distance_for_each_frame(path: Path) -> None:
    assert dialects.find_geometry(rooms(path, {f"{DETECTOR}/distance": (0.1, 0.1, 0.3)})).distance_m == 0.1


@pytest.mark.parametrize("place", [
    f"{INSTRUMENT}/source_1/illumination", f"{INSTRUMENT}/source_1/probe", f"{DETECTOR}/probe", f"{DETECTOR}/Probe",
    f"{DETECTOR}/data_illumination", f"{INSTRUMENT}/source_1/data_illumination",
])
def test_the_probe_is_found_wherever_it_is(path: Path, place: str) -> None:
    found = rooms(path, {place: np.ones((4, 4), np.complex128)})
    probe = dialects.find_probe(found)
    assert probe is not None
    assert probe.shape == (1, 4, 4)
    assert probe.dtype == np.complex64
    assert found.notes == [f"probe: from {place}"]


def test_a_text_in_the_place_of_a_probe_is_passed_over(path: Path) -> None:
    found = rooms(path, {f"{INSTRUMENT}/source_1/probe": "None", f"{DETECTOR}/probe": np.ones((2, 4, 4))})
    probe = dialects.find_probe(found)
    assert probe is not None
    assert probe.shape == (2, 4, 4)


@pytest.mark.parametrize(("value", "expected"), [
    (np.array([[True, False]]), [[1, 0]]), (np.array([[0, 0x1001]], np.uint32), [[0, 0x1001]]),
    (np.array([[0.0, 0.5]], np.float32), [[0, 1]]),
])
def test_masks_of_every_type(path: Path, value: np.ndarray, expected: list[list[int]]) -> None:
    mask = dialects.find_mask(rooms(path, {f"{DETECTOR}/mask": value}), (1, 2))
    assert mask is not None
    assert mask.dtype == np.uint32
    np.testing.assert_array_equal(mask, expected)


def test_a_detector_mask_comes_with_a_warning(path: Path) -> None:
    found = rooms(path, {f"{DETECTOR}/detector_mask": np.eye(2)})
    assert dialects.find_mask(found, (2, 2)) is not None
    assert any("polarity" in note for note in found.notes)
    assert dialects.find_mask(found, (3, 3)) is None


@pytest.mark.parametrize("place", ["entry_1/data_1/translation", f"{DETECTOR}/translation",
                                   "entry_1/sample_1/geometry_1/translation"])
def test_translations_are_turned_once(path: Path, place: str) -> None:
    found = rooms(path, {place: np.array([(1.0, 2.0, 9.0), (3.0, 4.0, 9.0)])}, {place: "um"})
    positions = dialects.find_positions(found)
    assert positions is not None
    np.testing.assert_allclose(positions, [(-2e-6, -1e-6), (-4e-6, -3e-6)])


def test_motors_stand_in_for_translations(path: Path) -> None:
    found = rooms(path, {f"entry_1/sample_1/transformations/{axis}": value for axis, value in
                         (("x", [1e-6, 2e-6]), ("y", [3e-6, 4e-6]))})
    np.testing.assert_allclose(dialects.find_positions(found), [(-3e-6, -1e-6), (-4e-6, -2e-6)])


def test_translations_of_a_strange_shape(path: Path) -> None:
    with pytest.raises(FormatError, match=r"expected \(frames, 3\)"):
        dialects.find_positions(rooms(path, {"entry_1/data_1/translation": np.zeros((3, 5))}))


def test_a_file_without_entry_lists_what_it_has(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["exchange"] = 1
    with pytest.raises(FormatError, match="exchange"):
        dialects.Rooms(h5py.File(path))
