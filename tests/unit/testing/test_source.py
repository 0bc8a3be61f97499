"""check_source can fail: each habit that it forbids is found, and named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from camlink.block import CountFrames, RawFrames, Scan
from camlink.testing import manners, toys
from camlink.testing import source as suite
from camlink.testing.source import Source, check_source
from camlink.testing.toys import toy_frames, toy_scan
from camlink.workflow.operator import Context, operator


def test_a_well_mannered_source_passes(tmp_path: Path) -> None:
    check_source(Source(toys.camera, tmp_path, {"frames": 5}))


@operator("mute", kind="source")
def mute() -> Iterator[RawFrames]:
    yield toy_frames(toy_scan(1), 0, 1)


@operator("nothing", kind="source")
def nothing() -> Iterator[RawFrames]:
    """Give nothing."""
    yield from ()


@operator("other", kind="source")
def other() -> Iterator[CountFrames]:
    """Say one thing and give another."""
    yield toy_frames(toy_scan(1), 0, 1)  # type: ignore[misc]


@operator("reuses", kind="source")
def reuses() -> Iterator[RawFrames]:
    """Fill the same memory for every frame."""
    block = toy_frames(toy_scan(2), 0, 1)
    for index in range(2):
        block.frames[:] = index
        yield RawFrames(block.header, {**block.arrays, "index": np.array([index])})


@operator("torn", kind="source")
def torn() -> Iterator[RawFrames]:
    """Give fewer rows than frames."""
    block = toy_frames(toy_scan(2), 0, 2)
    yield RawFrames(block.header, {**block.arrays, "index": np.array([0])})


@operator("again", kind="source")
def again() -> Iterator[RawFrames]:
    """Give a frame twice."""
    yield toy_frames(toy_scan(2), 0, 1)
    yield toy_frames(toy_scan(2), 0, 1)


@operator("small", kind="source")
def small() -> Iterator[RawFrames]:
    """Announce larger frames than come."""
    block = toy_frames(toy_scan(1), 0, 1)
    scan: Scan = msgspec.structs.replace(block.scan, shape=(32, 32))
    yield RawFrames(msgspec.structs.replace(block.header, scan=scan), block.arrays)


@operator("many", kind="source")
def many() -> Iterator[RawFrames]:
    """Give more than was expected."""
    yield toy_frames(toy_scan(1), 0, 3)


@operator("silent", kind="source")
def silent() -> Iterator[RawFrames]:
    """Tell nothing."""
    yield toy_frames(toy_scan(1), 0, 1)


@operator("loses", kind="source")
def loses(*, context: Context) -> Iterator[RawFrames]:
    """Lose a frame and not tell."""
    context.tell(frames_expected=2, frames_captured=1)
    yield toy_frames(toy_scan(2), 0, 1)


@operator("stubborn", kind="source")
def stubborn() -> Iterator[RawFrames]:
    """Never come to an end."""
    yield toy_frames(toy_scan(1), 0, 1)
    time.sleep(1)


@operator("deaf", kind="source")
def deaf() -> Iterator[RawFrames]:
    """Give everything, whoever asks to stop."""
    for index in range(5):
        yield toy_frames(toy_scan(5), index, 1)


@operator("forgets", kind="source", resumes=True)
def forgets() -> Iterator[RawFrames]:
    """Begin anew and say that it goes on."""
    for index in range(4):
        yield toy_frames(toy_scan(4), index, 1)


@operator("skips", kind="source", resumes=True)
def skips(*, context: Context) -> Iterator[RawFrames]:
    """Go on one frame too far."""
    for index in range(len(context.given) + bool(context.given), 4):
        yield toy_frames(toy_scan(4), index, 1)


BROKEN = [
    (mute, "description", "what people see"),
    (toys.count, "description", "is a transform"), (nothing, "blocks", "gave nothing"),
    (other, "blocks", "gave a RawFrames"), (reuses, "blocks", "was changed after it was given out"),
    (torn, "blocks", "column 'index'"), (again, "frames", "twice"), (small, "frames", r"frames of \(16, 16\)"),
    (many, "frames", "expects 1"), (silent, "counts", "does not tell frames_expected"),
    (loses, "counts", "2 expected, 1 given"), (stubborn, "stop", "did not end"),
    (deaf, "stop", "gave 5 blocks though"), (forgets, "resumes", r"again that are in context.given: \[0, 1\]"),
    (skips, "resumes", r"without the frames \[2\]")]


@pytest.mark.parametrize(("broken", "check", "says"), BROKEN)
def test_a_broken_source_is_found_out(broken: object, check: str, says: str, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manners, "PATIENCE_S", 0.1)
    with pytest.raises(Exception, match=says) as caught:
        suite.SOURCE_CHECKS[check](Source(broken, tmp_path))  # type: ignore[arg-type]
    assert type(caught.value).__name__ in ("AssertionError", "FormatError")


def test_every_check_of_the_suite_is_seen_to_fail() -> None:
    assert {check for _, check, _ in BROKEN} == set(suite.SOURCE_CHECKS)
