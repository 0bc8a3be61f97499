"""open_recorded tells formats by content and lists the known ones otherwise."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from camlink.carry.formats.any_file import open_recorded
from camlink.errors import FormatError
from camlink.testing.samples import sample


def test_the_content_decides(tmp_path: Path) -> None:
    copy = tmp_path / "result.bin"
    copy.write_bytes(sample("cosmic-result-856eV.cxi").read_bytes())
    with open_recorded(copy) as found:
        assert found.object is not None
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        file["chunks/0/data"], file["chunks/0/positions"] = np.ones((2, 4, 4)), np.ones((2, 2))
    with open_recorded(tmp_path / "a.cxi") as found:
        assert found.frames is not None
        assert len(found.frames) == 2


@pytest.mark.parametrize("name", ["tooth.h5", "galaxi_data.tif.gz", "xanespy_cosmic_stxm-scan.hdr"])
def test_other_formats_list_the_known_ones(name: str) -> None:
    with pytest.raises(FormatError, match="known are CXI"):
        open_recorded(sample(name))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.cxi", tmp_path):
        with pytest.raises(FormatError, match="no such file"):
            open_recorded(path)
