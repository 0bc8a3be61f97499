import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlink.block import COLUMNS, CountFrames, FrameKind, Header, RawFrames, Scan
from camlink.compute.correct.layout import Layout
from camlink.compute.ptychography.reduce import Reduce, ReduceParameters
from camlink.errors import FormatError, ParameterError
from camlink.runtime.work.siblings import SharedFolder
from camlink.workflow.parameter import build, fields

LAYOUT = Layout(64, 72)
CENTRE = (34, 27)
POINTS = 6
ADU = 10.0
BASE = ReduceParameters(crop=32, shape=16, adu_per_photon=ADU, centre_frames=2, method="bin")


class Told:
    """A context that keeps the facts."""

    name = "reduce"
    folders: Iterator[Path]

    def __init__(self, replica: int = 0, folder: Path | None = None) -> None:
        self.facts: dict[str, Any] = {}
        self.replica, self.attempt, self.folder = replica, 0, folder or next(self.folders)
        self.siblings = SharedFolder(self.folder, self.name, replica)

    def tell(self, **facts: Any) -> None:
        self.facts.update(facts)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Told, "folders", (tmp_path / str(n) for n in itertools.count()), raising=False)
    monkeypatch.setattr("camlink.compute.ptychography.reduce.SIBLINGS_S", 0.05)


def parameters(**changes: Any) -> ReduceParameters:
    return build(ReduceParameters, {**{name: getattr(BASE, name) for name in BASE.__struct_fields__}, **changes}, "t")


def pattern(point: int) -> np.ndarray:
    """Photons (64, 60) of a point in 0.1 s."""
    y, x = np.mgrid[:64, :60]
    radius = np.hypot(y - CENTRE[0], x - CENTRE[1])
    return np.where(radius < 9.5, 40.0 + 5 * point, 0.0)


def raw_image(photons: np.ndarray, dark: float = 30.0) -> np.ndarray:
    image = np.full((64, 72), 0x1000 + 10, dtype=np.uint16)
    for half, rows in enumerate((slice(0, 32), slice(32, 64))):
        image[rows, LAYOUT.data_columns[half]] += (photons[rows] * ADU + dark).astype(np.uint16)
    return image


def scan_of(double: bool = False, darks: int = 3, points: int = POINTS) -> RawFrames:
    """A whole scan as one block: dark frames, then one exposure (0.1 s) or two (0.1 s, 0.02 s) a point."""
    rows = [(raw_image(np.zeros((64, 60))), -1, FrameKind.DARK, 0.1)] * darks
    for point in range(points):
        rows.append((raw_image(pattern(point)), point, FrameKind.EXPOSURE, 0.1))
        if double:
            rows.append((raw_image(pattern(point) / 5), point, FrameKind.EXPOSURE, 0.02))
    n = len(rows)
    scan = Scan(id="s", expected=n, shape=(64, 72), pixel_m=(3e-5, 3e-5), distance_m=0.08, energy_eV=800,
                span_m=(0, 0, 1e-6, 1e-6), points=points)
    point = np.array([row[1] for row in rows])
    arrays = {"frames": np.stack([row[0] for row in rows]), "index": np.arange(100, 100 + n), "point": point,
              "kind": np.array([row[2] for row in rows], dtype=np.uint8), "dwell_s": np.array([row[3] for row in rows]),
              "position_m": np.stack([point * 1e-7, -point * 1e-7], axis=1), "time_s": 1000.0 + np.arange(n)}
    return RawFrames(Header(scan=scan, made_s=50.0, facts={"detector": "test"}), arrays)


def some(frames: RawFrames, rows: list[int], made_s: float = 50.0) -> RawFrames:
    header = Header(scan=frames.scan, made_s=made_s, facts=frames.header.facts)
    return RawFrames(header, {name: frames.arrays[name][rows] for name in ("frames", *COLUMNS)})


def run(blocks: list[RawFrames], chosen: ReduceParameters = BASE) -> tuple[list[CountFrames], dict[str, Any]]:
    told = Told()
    reduce = Reduce.make(chosen, told)
    given = [out for frames in blocks for out in reduce(frames)]
    given += list(reduce.finish())
    for out in given:
        out.check_rows()
    return given, told.facts


def joined(given: list[CountFrames]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([out.arrays[name] for out in given]) for name in ("frames", *COLUMNS)}


def expected_frame(point: int, dwell_s: float = 0.1) -> np.ndarray:
    """The pattern in cells of two, the centre in cell [8, 8]."""
    window = pattern(point)[CENTRE[0] - 16:CENTRE[0] + 16, CENTRE[1] - 16:CENTRE[1] + 16]
    return window.reshape(16, 2, 16, 2).sum(axis=(1, 3)) * dwell_s / 0.1


def test_raw_frames_become_the_photons_that_made_them_about_the_centre():
    (out,), facts = run([scan_of()])
    assert out.frames.shape == (POINTS, 16, 16)
    assert out.frames.dtype == np.float32
    for frame, point in zip(out.frames, out.point, strict=True):
        np.testing.assert_allclose(frame, expected_frame(int(point)), atol=1e-3)
    assert facts["dark_frames"] == 3
    assert facts["warnings"] == []
    assert facts["photons"] == pytest.approx(out.frames.sum() / POINTS, rel=1e-5)
    assert (facts["centre_y_px"], facts["centre_x_px"]) == pytest.approx(CENTRE, abs=0.1)


def test_identity_and_the_scan_are_carried_over():
    frames = scan_of()
    (out,), _ = run([frames])
    np.testing.assert_array_equal(out.index, np.arange(103, 109))
    np.testing.assert_array_equal(out.position_m, frames.position_m[3:])
    np.testing.assert_array_equal(out.time_s, frames.time_s[3:])
    assert set(out.kind.tolist()) == {FrameKind.EXPOSURE}
    assert out.scan.shape == (16, 16)
    assert out.scan.pixel_m == (6e-5, 6e-5)
    assert out.scan.expected == POINTS
    assert out.header.made_s == 50.0
    assert out.header.facts == {"detector": "test"}


def test_exposures_wait_for_the_centre_and_none_is_lost():
    frames = scan_of()
    told = Told()
    reduce = Reduce.make(parameters(centre_frames=3), told)
    counts = [sum(out.count for out in reduce(some(frames, [k], made_s=float(k)))) for k in range(9)]
    assert counts == [0, 0, 0, 0, 0, 3, 1, 1, 1]
    assert list(reduce.finish()) == []


def test_held_frames_keep_the_time_of_the_oldest():
    frames = scan_of()
    given, _ = run([some(frames, [k], made_s=float(k)) for k in range(9)])
    assert [out.header.made_s for out in given] == [3.0, 5.0, 6.0, 7.0, 8.0]


def test_a_scan_shorter_than_the_centring_is_given_at_the_end():
    given, _ = run([scan_of(points=2)], parameters(centre_frames=10))
    assert joined(given)["point"].tolist() == [0, 1]


def test_a_given_centre_needs_no_waiting():
    frames = scan_of()
    reduce = Reduce.make(parameters(centre=list(CENTRE)), Told())
    (out,) = reduce(some(frames, [3]))
    assert out.count == 1


def test_pairs_are_merged_whatever_their_order():
    frames = scan_of(double=True)
    order = [0, 1, 2, 4, 3, 6, 5, 14, 13, 8, 7, 10, 9, 11, 12]
    given, facts = run([some(frames, order[:6]), some(frames, order[6:])])
    found = joined(given)
    assert sorted(found["point"].tolist()) == list(range(POINTS))
    np.testing.assert_allclose(found["dwell_s"], 0.12)
    assert sorted(found["index"].tolist()) == [103, 105, 107, 109, 111, 113]
    for frame, point in zip(found["frames"], found["point"], strict=True):
        np.testing.assert_allclose(frame, expected_frame(int(point), 0.12), rtol=1e-3, atol=0.2)
    assert (facts["merged"], facts["unpaired"]) == (POINTS, 0)
    assert given[0].scan.expected == POINTS


def test_a_lost_partner_gives_the_other_scaled_and_shifts_nobody():
    frames = scan_of(double=True)
    given, facts = run([some(frames, [k for k in range(15) if k != 5])])
    found = joined(given)
    assert sorted(found["point"].tolist()) == list(range(POINTS))
    for frame, point in zip(found["frames"], found["point"], strict=True):
        np.testing.assert_allclose(frame, expected_frame(int(point), 0.12), rtol=1e-3, atol=0.2)
    assert (facts["merged"], facts["unpaired"]) == (POINTS - 1, 1)


def test_how_long_a_point_waits_can_be_changed_in_the_middle_and_nothing_that_is_in_the_frames():
    frames = scan_of(double=True)
    told = Told()
    body = Reduce.make(parameters(merge_window=1, dark="optional"), told)
    first = [3, 4, 5]  # a dark less scan: one point whole, half of the next
    given = list(body(some(frames, first)))
    body.change(parameters(merge_window=9, dark="optional"))
    given += [out for rows in ([7, 8, 9, 10, 11, 12], [6, 13, 14]) for out in body(some(frames, rows))]
    given += list(body.finish())
    assert (told.facts["merged"], told.facts["unpaired"]) == (POINTS, 0)
    assert {"merge_window", "dark"} == set(BASE.__struct_fields__) - set(Reduce.staying(BASE))


def test_merging_can_be_switched_off():
    given, _ = run([scan_of(double=True)], parameters(exposures=1))
    found = joined(given)
    assert len(found["index"]) == 2 * POINTS
    assert given[0].scan.expected == 2 * POINTS


def test_exposures_without_dark_frames_are_given_with_a_warning():
    given, facts = run([scan_of(darks=0)])
    assert joined(given)["frames"].shape[0] == POINTS
    assert any("no dark frames" in text for text in facts["warnings"])
    assert facts["dark_frames"] == 0
    _, facts = run([scan_of(darks=0)], parameters(dark="optional"))
    assert facts["warnings"] == []


def test_a_single_dark_frame_is_enough():
    (out,), facts = run([scan_of(darks=1)])
    np.testing.assert_allclose(out.frames[0], expected_frame(0), atol=1e-3)
    assert facts["warnings"] == []


def test_late_dark_frames_are_told():
    frames = scan_of()
    _, facts = run([some(frames, [0, 3, 4, 5]), some(frames, [1, 2])])
    assert facts["dark_frames"] == 1
    assert any("2 dark frames came after" in text for text in facts["warnings"])


def test_damaged_frames_are_given_with_nan_and_do_not_hide_the_centre():
    frames = scan_of()
    frames.frames[3] |= 0x2000
    frames.frames[4, 30:36] |= 0x2000
    (out,), facts = run([frames])
    assert np.isnan(out.frames[0]).all()
    lost = np.isnan(out.frames[1])
    assert lost[6:9].all()
    assert not lost[:6].any()
    np.testing.assert_allclose(out.frames[2], expected_frame(2), atol=1e-3)
    assert facts["centre_y_px"] == pytest.approx(CENTRE[0], abs=0.1)


def test_nothing_but_lost_frames_is_given_all_the_same():
    frames = scan_of()
    frames.frames[3:] |= 0x2000
    given, facts = run([frames])
    assert np.isnan(joined(given)["frames"]).all()
    assert any("centre" in text for text in facts["warnings"])


def test_the_wrong_gain_code_is_told():
    frames = scan_of()
    frames.frames[5, 34, 30] |= 0x8000
    _, facts = run([frames])
    assert any("middle_gain_code" in text for text in facts["warnings"])
    _, facts = run([frames], parameters(middle_gain_code=0x8000))
    assert facts["warnings"] == []


def test_the_fourier_method_conserves_the_counts_but_for_the_ringing_of_hard_edges_that_is_cut_at_zero():
    (out,), _ = run([scan_of()], parameters(method="fourier"))
    assert out.frames.min() >= 0
    np.testing.assert_allclose(out.frames.sum(axis=(1, 2)), [pattern(k).sum() for k in range(POINTS)], rtol=0.06)


def test_a_crop_over_the_edge_is_padded_with_nan():
    (out,), _ = run([scan_of()], parameters(crop=96, shape=16))
    assert np.isnan(out.frames[:, 0]).all()
    assert np.isfinite(out.frames[:, 8, 8]).all()


def test_what_cannot_work_is_refused():
    with pytest.raises(ParameterError, match="multiple"):
        Reduce.make(parameters(crop=100, shape=64), Told())
    with pytest.raises(ParameterError, match="not on the sensor"):
        run([scan_of()], parameters(centre=[900, 10]))
    frames = scan_of()
    counts = RawFrames(frames.header, {**frames.arrays, "frames": frames.frames.astype(np.float32)})
    with pytest.raises(FormatError, match="uint16"):
        run([counts])
    wide = RawFrames(frames.header, {**frames.arrays, "frames": np.repeat(frames.frames, 2, axis=2)})
    with pytest.raises(FormatError, match="one geometry"):
        run([frames, wide])


def test_the_operator_describes_itself():
    assert Reduce.name == "ptychography.reduce"
    assert not Reduce.streams
    assert Reduce.inputs[0].block is RawFrames
    assert Reduce.outputs[0].block is CountFrames
    assert all(row["help"] for row in fields(ReduceParameters))


def dealt(frames: RawFrames, reduces: list[Any], to: list[int]) -> dict[str, np.ndarray]:
    """Rows one by one, each to its replica; what all gave, in the order of the frames."""
    given = [out for row, replica in enumerate(to) for out in reduces[replica](some(frames, [row]))]
    columns = joined([*given, *(out for reduce in reduces for out in reduce.finish())])
    order = np.argsort(columns["index"])
    return {name: values[order] for name, values in columns.items()}


@pytest.mark.parametrize("to", [
    [0, 1, 1, 0, 1, 0, 1, 0, 1], [1, 1, 1, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1, 1, 1], [1] * 9, [0] + [1] * 8,
], ids=["in turns", "darks to one", "one joins later", "all to the second", "a dark to the first"])
def test_replicas_know_what_one_would_know(to: list[int], tmp_path: Path) -> None:
    frames = scan_of()
    frames.arrays["frames"][:3] += np.array([[[0]], [[3]], [[9]]], np.uint16)  # no dark frame is like another
    alone, _ = run([frames])
    told = [Told(replica, tmp_path / "run") for replica in (0, 1)]
    found = dealt(frames, [Reduce.make(BASE, one) for one in told], to)
    np.testing.assert_array_equal(found["index"], joined(alone)["index"])
    np.testing.assert_allclose(found["frames"], joined(alone)["frames"], atol=1e-3)
    knowing = [told[replica].facts for replica in set(to[3:])]  # who had an exposure
    for facts in knowing:
        assert facts["dark_frames"] == 3
        assert (facts["centre_y_px"], facts["centre_x_px"]) == CENTRE
        assert facts["warnings"] == []
    assert "dark_frames" not in {name for one in told if one.facts not in knowing for name in one.facts}
    assert "photons" not in {name for one in told if one.facts not in knowing for name in one.facts}


@pytest.mark.parametrize(("to", "shared"), [
    ([1] * 15, False), ([0, 1, 0] + [1] * 12, False), ([0, 0, 0] + [0, 1] * 6, True),
], ids=["all to the second", "but for darks", "in turns"])
def test_exposures_of_a_point_are_said_to_be_apart_only_when_they_are(
        to: list[int], shared: bool, tmp_path: Path) -> None:
    told = [Told(replica, tmp_path / "run") for replica in (0, 1)]
    dealt(scan_of(double=True), [Reduce.make(BASE, one) for one in told], to)
    said = [text for one in told for text in one.facts.get("warnings", []) if "another replica" in text]
    assert len(said) == shared


@pytest.mark.parametrize("journaled", [[0, 1], [0]], ids=["in its journal", "not in its journal"])
def test_a_dark_frame_that_is_dealt_again_counts_once(tmp_path: Path, journaled: list[int]) -> None:
    """Replica 0 is killed over frame 1, which it had taken in: that goes to replica 1, and its journal comes again."""
    frames = scan_of()
    frames.arrays["frames"][:3] += np.array([[[0]], [[3]], [[9]]], np.uint16)
    alone, _ = run([frames])
    killed, *told = (Told(replica, tmp_path / "run") for replica in (0, 0, 1))
    list(Reduce.make(BASE, killed)(some(frames, [0, 1])))
    told[0].attempt = 1
    reduces = [Reduce.make(BASE, one) for one in told]
    list(reduces[1](some(frames, [1])))
    list(reduces[0](some(frames, journaled)))
    found = dealt(some(frames, list(range(2, 9))), reduces, [1, 0, 1, 0, 1, 0, 1])
    np.testing.assert_allclose(found["frames"], joined(alone)["frames"], atol=1e-3)
    assert told[0].facts["dark_frames"] == 3
    assert told[0].facts["warnings"] == told[1].facts["warnings"] == []


def test_dark_frames_that_another_replica_still_works_on_are_waited_for(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camlink.compute.ptychography.reduce.SIBLINGS_S", 20.0)
    frames, told = scan_of(), [Told(replica, tmp_path / "run") for replica in (0, 1)]
    one, other = (Reduce.make(BASE, each) for each in told)
    slow = threading.Thread(target=lambda: (time.sleep(0.3), list(other(some(frames, [0, 1, 2])))))
    slow.start()
    list(one(some(frames, [3])))
    slow.join()
    assert told[0].facts["dark_frames"] == 3


def test_dark_frames_that_never_come_are_waited_for_in_vain_but_once() -> None:
    frames = scan_of()
    _, facts = run([some(frames, [row]) for row in range(3, 9)])
    assert "no dark frames came before 6 exposures" in facts["warnings"][0]


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told = Told(0, tmp_path / "file")
    reduce = Reduce.make(BASE, told)
    given = [*reduce(scan_of()), *reduce.finish()]
    assert sum(out.count for out in given) == POINTS
    assert any("cannot write" in text for text in told.facts["warnings"])
