import h5py
import numpy as np
import pytest

from camlink.beamline.twin.truth import Truth, add_sent, read_truth, write_truth
from camlink.errors import FormatError, StorageError


@pytest.fixture
def truth():
    return Truth(scan_id="s", object=np.full((5, 6), 1 + 2j, np.complex64), probe=np.ones((2, 2), np.complex64),
                 positions_m=np.arange(6.0).reshape(3, 2), object_pixel_m=1e-8, origin_m=(-1e-6, 2e-6),
                 bad_pixels=np.zeros((0, 2), np.int64))


def test_what_was_written_is_read(truth, tmp_path):
    path = tmp_path / "truth.h5"
    write_truth(path, truth)
    add_sent(path, {"frames": 12, "packets_dropped": 3})
    found = read_truth(path)
    for name in ("object", "probe", "positions_m", "bad_pixels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name))
        assert getattr(found, name).dtype == getattr(truth, name).dtype
    assert (found.scan_id, found.object_pixel_m, found.origin_m) == ("s", 1e-8, (-1e-6, 2e-6))
    assert found.sent == {"frames": 12, "packets_dropped": 3}


def test_missing_file_and_foreign_file(tmp_path):
    with pytest.raises(FormatError, match="cannot read the truth"):
        read_truth(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no hdf5")
    with pytest.raises(FormatError, match="cannot read the truth"):
        read_truth(tmp_path / "text.h5")


@pytest.mark.parametrize("part", ["object", "probe", "sent"])
def test_missing_part_is_named(truth, tmp_path, part):
    path = tmp_path / "truth.h5"
    write_truth(path, truth)
    with h5py.File(path, "r+") as file:
        del file[part]
    with pytest.raises(FormatError, match=part):
        read_truth(path)


def test_wrong_kind_of_array_is_refused(truth, tmp_path):
    path = tmp_path / "truth.h5"
    write_truth(path, truth)
    with h5py.File(path, "r+") as file:
        del file["object"]
        file["object"] = np.zeros(4)
    with pytest.raises(FormatError, match="'object' is not an array of 2 axes"):
        read_truth(path)


def test_absurd_size_is_refused_before_it_is_read(truth, tmp_path):
    path = tmp_path / "truth.h5"
    write_truth(path, truth)
    with h5py.File(path, "r+") as file:
        del file["object"]
        file.create_dataset("object", (10**6, 10**6), np.complex64, chunks=(64, 64))
    with pytest.raises(FormatError, match="at most"):
        read_truth(path)


def test_no_folder_is_a_storage_error(truth, tmp_path):
    with pytest.raises(StorageError, match="check the folder"):
        write_truth(tmp_path / "no" / "truth.h5", truth)
    with pytest.raises(StorageError):
        add_sent(tmp_path / "none.h5", {})
