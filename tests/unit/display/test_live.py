import threading

import msgspec
import numpy as np
import pytest

from camlink.block import CountFrames, Header, RawFrames, Result, Scan
from camlink.display.curve import LONGEST, Curve
from camlink.display.image import Lens
from camlink.display.live import Live
from camlink.display.offer import counts_of
from camlink.display.shelf import Shelf
from camlink.errors import UnknownName
from camlink.runtime.status import RunStatus

SCAN = Scan(id="s1", expected=4, shape=(8, 8), pixel_m=(3e-5, 3e-5), distance_m=0.1, energy_eV=800.0,
            span_m=(0.0, 0.0, 3e-6, 6e-6), points=12)


def header(source="", made_s=1.0, scan=SCAN, **facts):
    return Header(scan=scan, made_s=made_s, source=source, facts=facts)


def frames(cls=CountFrames, n=2, value=1, source="camera", kind=1):
    dtype = np.uint16 if cls is RawFrames else np.float32
    stack = np.stack([np.full((8, 8), value + k, dtype) for k in range(n)])
    return cls(header(source), {
        "frames": stack, "index": np.arange(n), "point": np.arange(n), "kind": np.full(n, kind, np.uint8),
        "dwell_s": np.ones(n), "position_m": np.full((n, 2), 1e-6), "time_s": np.zeros(n)})


def result(source="solve", made_s=1.0, scan=SCAN, arrays=None, **facts):
    whole = {"object": np.ones((16, 12), np.complex64), "probe": np.ones((2, 8, 8), np.complex64)}
    return Result(header(source, made_s, scan, **facts), whole if arrays is None else arrays)


def label_of(live, name):
    return next(label for label in live.labels() if label.name == name)


def test_versions_rise_and_names_follow_the_blocks():
    live = Live()
    live.show(frames())
    live.show(frames())
    live.show(result(iteration=1))
    versions = live.versions()
    assert versions["camera/frame"] == 2
    assert versions["solve/object"] == versions["solve/probe"] == 1
    assert [label.name for label in live.labels()] == ["camera/frame", "solve/object", "solve/probe"]
    assert label_of(live, "solve/object").parts == ("amplitude", "phase", "complex")
    assert label_of(live, "camera/frame").unit == "photon"


def test_the_last_frame_is_kept_without_its_block():
    live, block = Live(), frames(n=3, value=5)
    live.show(block)
    assert live.value("camera/frame", 0, 0)[1] == 7.0
    block.frames[-1] = 0
    assert live.value("camera/frame", 0, 0)[1] == 7.0


def test_an_empty_block_shows_nothing():
    live = Live()
    live.show(frames(n=1))
    live.show(CountFrames(header("camera"), {k: v[:0] for k, v in frames().arrays.items()}))
    assert live.versions()["camera/frame"] == 1


def test_raw_frames_are_decoded_for_looking():
    raw = np.full((20, 4), 0x1000, np.uint16)
    raw[:, 2] += 7  # each column of each half has a level of its own
    raw[10:] += 20
    raw[0] = [0xC000 | 0x1002, 0x4000 | 0x1002, 0x8000 | 0x1009, 0x1002]
    raw[1, 0] = 0x2000
    values = counts_of(raw)
    assert values[0].tolist() == [16.0, 8.0, 8.0, 2.0]
    assert np.isnan(values[1, 0])
    assert (values[2:] == 0).all()
    assert np.isnan(counts_of(np.full((2, 2), 0x2000, np.uint16))).all()


def test_a_reconstruction_knows_its_scale_and_place():
    live = Live()
    live.show(result(object_pixel_y_m=2e-8, object_pixel_x_m=1e-8, origin_y_m=1e-6, origin_x_m=2e-6))
    label = label_of(live, "solve/object")
    assert label.pixel_um == pytest.approx((0.02, 0.01))
    assert label.origin_um == pytest.approx((1 - 4 * 0.02, 2 - 4 * 0.01))  # half a window of 8
    assert label_of(live, "solve/probe").pixel_um == pytest.approx((0.02, 0.01))


def test_a_map_spans_its_box():
    live = Live()
    arrays = {"map": np.ones((4, 7), np.float32), "positions_m": np.array([[0.0, 1e-6], [2e-6, np.nan]])}
    live.show(result("stxm", arrays=arrays, y0_m=0.0, x0_m=1e-6, y1_m=3e-6, x1_m=4e-6))
    assert label_of(live, "stxm/map").pixel_um == pytest.approx((1.0, 0.5))
    assert label_of(live, "stxm/map").origin_um == pytest.approx((0.0, 1.0))
    points = live.points()
    assert points.positions_um == [(0.0, 1.0)]
    assert points.span_um == (0.0, 0.0, 3.0, 6.0)


def test_only_exposures_move_the_beam():
    live = Live()
    live.show(frames(kind=0))
    assert live.points().beam_um is None
    live.show(frames(kind=1))
    assert live.points().beam_um == (1.0, 1.0)


def test_what_was_not_covered_has_no_value():
    coverage = np.zeros((16, 12), np.float32)
    coverage[:8] = 3
    live = Live()
    live.show(result(arrays={"object": np.ones((16, 12), np.complex64), "coverage": coverage}))
    _, image = live.image("solve/object", Lens(part="amplitude"))
    assert (image.pixels[:8] > 0).all()
    assert (image.pixels[8:] == 0).all()


def test_a_picture_is_made_once_for_all_viewers_of_a_version():
    live = Live()
    live.show(result())
    barrier = threading.Barrier(6)

    def look():
        barrier.wait(5)
        live.image("solve/object", Lens())

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert live._pictures.made == 1
    live.image("solve/object", Lens(part="phase"))
    live.show(result())
    live.image("solve/object", Lens())
    assert live._pictures.made == 3


def test_while_it_is_too_early_for_a_newer_picture_all_get_the_one_that_was_made(monkeypatch):
    live, lens = Live(), Lens()
    live.show(frames())
    assert live.glance("camera/frame", lens) is None  # never made
    label, image = live.image("camera/frame", lens)
    monkeypatch.setattr("camlink.display.live.time.monotonic", lambda: 0.0)
    live._pace.note(("camera/frame", lens), 0.01, 0.0)
    for _ in range(5):
        live.show(frames())
        assert live.glance("camera/frame", lens) == (label, image)
    monkeypatch.setattr("camlink.display.live.time.monotonic", lambda: 2.0)
    assert live.glance("camera/frame", lens) is None
    assert live.glance("camera/frame", lens) == (label, image)  # somebody makes it now
    newer, _ = live.image("camera/frame", lens)
    assert (newer.version, live._pictures.made) == (6, 2)
    with pytest.raises(UnknownName):
        live.glance("nobody", lens)


def test_the_last_version_of_a_result_is_made_at_once():
    live, lens = Live(), Lens()
    live.show(result(final=False))
    live.image("solve/object", lens)
    live.show(result(final=True))
    assert live.glance("solve/object", lens) is None


def test_what_there_is_to_look_at_has_a_version_of_its_own():
    live = Live()
    live.show(frames())
    before = live.versions()["pictures"]
    live.show(frames())
    assert live.versions()["pictures"] == before
    live.show(result())
    assert live.versions()["pictures"] > before


def test_readers_beside_the_writer_see_whole_versions_that_only_rise():
    live, last, wrong = Live(), 200, []
    live.show(result(arrays={"object": np.full((16, 12), 1, np.complex64)}))

    def look():
        before = 0
        while before < last:
            label, picked = live.value("solve/object", 3, 4)
            shown, found = live.image("solve/object", Lens(low=0.0, high=float(last)))
            if picked != label.version or len(np.unique(found.pixels)) != 1 or not (
                    before <= label.version <= shown.version):
                wrong.append((label.version, picked, shown.version))
                return
            before = label.version

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(2, last + 1):
        live.show(result(arrays={"object": np.full((16, 12), version, np.complex64)}))
    for thread in threads:
        thread.join(20)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_a_new_scan_starts_curves_and_points_again():
    live = Live()
    live.show(result(iteration=1, error=0.5))
    live.show(result(iteration=2, error=0.25, made_s=3.0))
    assert live.curves()["solve"] == {"iteration": [1, 2], "error": [0.5, 0.25], "time_s": [0.0, 2.0]}
    live.show(result(iteration=1, scan=msgspec.structs.replace(SCAN, id="s2")))
    assert live.curves()["solve"]["iteration"] == [1]


def test_an_unknown_picture_is_named():
    with pytest.raises(UnknownName, match="solve/objekt"):
        Live().image("solve/objekt", Lens())


def test_values_outside_and_without_value_are_none():
    live = Live()
    live.show(result("stxm", arrays={"map": np.full((4, 4), np.nan)}))
    for y, x in ((0, 0), (-1, 0), (0, 4), (10**12, 0)):
        assert live.value("stxm/map", y, x)[1] is None


def test_status_is_a_snapshot():
    live = Live()
    assert live.status() is None
    live.put_status(RunStatus(version=1, workflow="w"))
    assert live.status().workflow == "w"
    assert live.versions()["status"] == 1


def test_a_curve_is_bounded_and_keeps_first_and_last():
    curve = Curve()
    for k in range(3 * LONGEST):
        curve.add(float(k), {"error": float(k), "final": False, "name": "x", "pixel_m": 1.0, "bad": float("nan")})
    columns = curve.snapshot()
    assert len(columns["error"]) <= LONGEST
    assert columns["error"][0] == 0
    assert columns["error"][-1] == 3 * LONGEST - 1
    assert columns["error"] == sorted(columns["error"])
    assert set(columns) == {"error", "time_s"}


def test_the_shelf_gives_up_the_least_used():
    shelf = Shelf(100, len)
    for key in range(5):
        shelf.get(key, lambda: b"x" * 40)
    assert shelf.made == 5
    shelf.get(4, lambda: b"")
    assert shelf.made == 5
    shelf.get(0, lambda: b"y" * 40)
    assert shelf.made == 6


def test_an_error_on_the_shelf_is_not_kept():
    shelf = Shelf(100, len)

    def fail():
        raise UnknownName("picture", "x", ())

    with pytest.raises(UnknownName):
        shelf.get("k", fail)
    assert shelf.get("k", lambda: b"z") == b"z"
