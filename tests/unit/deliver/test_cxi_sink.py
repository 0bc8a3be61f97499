"""The cxi sink: takes both inflows fairly, ends with them, keeps within its folder and never writes over a file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlink.block import Block, CountFrames, Header, Result, Scan
from camlink.carry.formats.cxi_read import read_cxi
from camlink.deliver.cxi import CxiParameters, cxi
from camlink.errors import FormatError, ParameterError
from camlink.workflow.port import Listed
from camlink.workflow.provenance import provenance


class Told:
    """A context that remembers what it was told."""

    name = "record"
    screen: Any = None

    def __init__(self, folder: Path, attempt: int = 0) -> None:
        self.folder, self.attempt = folder, attempt
        self.facts: dict[str, Any] = {}
        self.history: list[int] = []

    @property
    def provenance(self) -> Mapping[str, str]:
        return provenance("workflow: star")

    def stopping(self) -> bool:
        return False

    def tell(self, **facts: Any) -> None:
        self.facts |= facts
        self.history.append(facts["result_version"])


class Slow(Listed[Any]):
    """An inflow where nothing has arrived yet at each second look."""

    looked = 0

    def take(self, timeout_s: float = 0.0) -> Any:
        self.looked += 1
        return super().take() if self.looked % 2 else None


def scan(name: str = "star") -> Scan:
    return Scan(id=name, expected=8, shape=(6, 6), pixel_m=(1e-5, 1e-5), distance_m=0.1, energy_eV=500.0,
                span_m=(0.0, 0.0, 0.0, 0.0))


def frames(first: int, of: Scan) -> CountFrames:
    index = np.arange(first, first + 2)
    return CountFrames(Header(scan=of, made_s=0), {
        "frames": np.full((2, 6, 6), first, np.float32), "index": index, "point": index,
        "kind": np.ones(2, np.uint8), "dwell_s": np.ones(2), "position_m": np.zeros((2, 2)), "time_s": np.zeros(2)})


def result(version: int, of: Scan, name: str = "object") -> Result:
    return Result(Header(scan=of, made_s=0, sequence=version), {name: np.full((7, 8), version, np.complex64)})


def run(folder: Path, frames_: Listed[Any], results: Listed[Any], **values: Any) -> Told:
    context = Told(folder)
    cxi.make(CxiParameters(**values), context)(frames_, results)
    return context


def test_the_next_attempt_goes_on_in_the_file_of_the_one_before(tmp_path: Path) -> None:
    other = Told(tmp_path)
    other.name = "another sink"
    for context in (Told(tmp_path), other):
        cxi.make(CxiParameters(), context)(Listed([frames(0, scan()), frames(2, scan())]), Listed([result(3, scan())]))
    told, again = Told(tmp_path, attempt=1), frames(0, scan())
    again.arrays["frames"][...] = 77  # what is in the file is not written twice
    cxi.make(CxiParameters(), told)(Listed([again, *(frames(k, scan()) for k in (2, 4))]), Listed([result(4, scan())]))
    assert told.facts == {"files": [str(tmp_path / "star.cxi")], "frames_written": 6, "result_version": 4}
    with read_cxi(tmp_path / "star.cxi") as kept, read_cxi(tmp_path / "star-2.cxi") as untouched:
        assert kept.frames is not None
        assert untouched.frames is not None
        assert kept.frames.read(0, 6)[:, 0, 0].tolist() == [0, 0, 2, 2, 4, 4]
        assert (kept.facts["version"], len(untouched.frames)) == (4, 4)


def test_the_next_attempt_writes_anew_and_takes_the_name_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "star.cxi").write_bytes(b"what a killed attempt left")
    (tmp_path / "star-2.cxi").write_bytes(b"and the one after it")
    (tmp_path / "star-raw.cxi").write_bytes(b"what another sink of the run writes")
    told = Told(tmp_path, attempt=2)
    cxi.make(CxiParameters(), told)(Listed([frames(0, scan())]), Listed([result(1, scan())]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["star-raw.cxi", "star.cxi"]
    assert told.facts["files"] == [str(tmp_path / "star.cxi")]
    assert "began anew" in told.facts["checkpoint"]
    with read_cxi(tmp_path / "star.cxi") as kept:
        assert kept.frames is not None
        assert len(kept.frames) == 2


def test_who_goes_on_in_the_second_file_did_not_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "star.cxi"
    path.write_bytes(b"what a killed attempt left")
    cxi.make(CxiParameters(), Told(tmp_path))(Listed([frames(0, scan())]), Listed([]))
    assert (tmp_path / "star-2.cxi").exists()
    told = Told(tmp_path, attempt=2)
    cxi.make(CxiParameters(), told)(Listed([frames(2, scan())]), Listed([]))
    assert told.facts == {"files": [str(path)], "frames_written": 4, "result_version": -1}
    assert list(tmp_path.iterdir()) == [path]


def test_frames_and_results_end_in_one_file(tmp_path: Path) -> None:
    told = run(tmp_path, Slow([frames(k, scan()) for k in (0, 2, 4)]), Slow([result(k, scan()) for k in range(9)]))
    assert told.facts == {"files": [str(tmp_path / "star.cxi")], "frames_written": 6, "result_version": 8}
    with read_cxi(tmp_path / "star.cxi") as found:
        np.testing.assert_array_equal(found.index, np.arange(6))
        assert found.facts["version"] == 8
        assert found.object is not None
        assert np.all(found.object == 8)


def test_results_come_at_a_bounded_rate(tmp_path: Path) -> None:
    told = run(tmp_path, Listed([frames(0, scan())]), Listed([result(k, scan()) for k in range(50)]),
               result_every_s=3600.0)
    assert set(told.history) <= {-1, 0, 49}
    assert told.facts["result_version"] == 49


def test_results_alone(tmp_path: Path) -> None:
    told = run(tmp_path, Listed([]), Slow([result(1, scan()), result(2, scan())]), result_every_s=0.0)
    assert told.facts["result_version"] == 2
    found = read_cxi(tmp_path / "star.cxi")
    assert found.frames is None


def test_frames_alone_and_results_of_others(tmp_path: Path) -> None:
    told = run(tmp_path, Slow([frames(0, scan())]), Slow([result(1, scan(), "map")]))
    assert told.facts["frames_written"] == 2
    assert told.facts["result_version"] == -1


def test_nothing_at_all_makes_no_file(tmp_path: Path) -> None:
    assert run(tmp_path, Listed([]), Listed([])).facts["files"] == []
    assert list(tmp_path.iterdir()) == []


def test_a_frame_sent_again_is_kept_once(tmp_path: Path) -> None:
    told = run(tmp_path, Listed([frames(0, scan()), frames(2, scan()), frames(0, scan())]), Listed([]))
    assert told.facts["frames_written"] == 4


def test_an_old_file_stays_and_the_next_name_is_taken(tmp_path: Path) -> None:
    (tmp_path / "star.cxi").write_bytes(b"old")
    assert run(tmp_path, Listed([frames(0, scan())]), Listed([])).facts["files"] == [str(tmp_path / "star-2.cxi")]
    assert (tmp_path / "star.cxi").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c:d", "..", ""])
def test_a_hostile_scan_id_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    told = run(folder, Listed([frames(0, scan(name))]), Listed([]))
    assert [Path(file).parent for file in told.facts["files"]] == [folder]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("file", ["../{scan}.cxi", "/tmp/x.cxi", "", "a/../../b.cxi", "x" * 300, "\u00e4" * 130])
def test_a_name_out_of_the_folder_is_refused(tmp_path: Path, file: str) -> None:
    with pytest.raises(ParameterError, match="inside the folder"):
        run(tmp_path, Listed([frames(0, scan())]), Listed([]), file=file)


def test_a_second_scan_is_refused_and_the_first_kept(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="other"):
        run(tmp_path, Listed([frames(0, scan()), frames(0, scan("other"))]), Listed([]))
    with read_cxi(tmp_path / "star.cxi") as found:
        assert len(found.index) == 2
        assert found.notes == ()


def test_provenance_is_in_the_file(tmp_path: Path) -> None:
    import h5py

    run(tmp_path, Listed([frames(0, scan())]), Listed([]))
    with h5py.File(tmp_path / "star.cxi") as file:
        process = file["entry_1/image_1/process_1"]
        assert process["workflow"][()] == b"workflow: star"
        assert len(process["workflow_sha256"][()]) == 64


def test_the_busy_inflow_does_not_starve_the_other(tmp_path: Path) -> None:
    order: list[str] = []

    class Noted(Listed[Any]):
        def take(self, timeout_s: float = 0.0) -> Block | None:
            block: Block | None = super().take()
            if block is not None:
                order.append(type(block).__name__[0])
            return block

        def __iter__(self) -> Iterator[Any]:
            raise AssertionError("the sink must not wait on one inflow alone")

    run(tmp_path, Noted([frames(k, scan()) for k in (0, 2, 4)]), Noted([result(k, scan()) for k in range(3)]))
    assert "".join(order) == "CRCRCR"
