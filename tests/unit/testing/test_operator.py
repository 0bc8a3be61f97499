"""check_operator can fail: each habit that it forbids is found, and named."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from camlink.block import CountFrames, Header, RawFrames, Result
from camlink.testing import manners, toys
from camlink.testing import operator as suite
from camlink.testing.operator import Tried, check_operator
from camlink.testing.toys import toy_frames, toy_scan
from camlink.workflow.operator import Context, operator
from camlink.workflow.port import Inflow

RAW = [toy_frames(toy_scan(4), first, 2) for first in (0, 2)]
COUNTS = [CountFrames(block.header, {**block.arrays, "frames": block.frames.astype(np.float32)}) for block in RAW]


def tried(what: object, folder: Path) -> Tried:
    feeds = {port.name: RAW if port.block is RawFrames else COUNTS for port in what.inputs}  # type: ignore[attr-defined]
    return Tried(what, folder, feeds)  # type: ignore[arg-type]


@pytest.mark.parametrize("good", [toys.count, toys.add, toys.keep, toys.look, toys.pair, toys.pair_anyway])
def test_a_well_mannered_operator_passes(good: object, tmp_path: Path) -> None:
    check_operator(tried(good, tmp_path))


@operator("unnamed")
def unnamed(frames: RawFrames) -> RawFrames:
    return frames


@operator("scribbles")
def scribbles(frames: CountFrames) -> CountFrames:
    """Write into what it took."""
    frames.frames[:] = 0
    return frames


@operator("unlocks")
def unlocks(frames: CountFrames) -> CountFrames:
    """Write into what it took, whatever it takes."""
    frames.frames.flags.writeable = True
    frames.frames[:] = 0
    return frames


class Total:
    """Give out what it goes on changing."""

    def __init__(self) -> None:
        self.total = np.zeros((16, 16))

    def __call__(self, frames: CountFrames) -> Result:
        """Add."""
        self.total += frames.frames.sum(axis=0)
        return Result(frames.header, {"total": self.total})


total = operator("total")(Total)


@operator("idle")
def idle(frames: CountFrames) -> CountFrames | None:
    """Give nothing."""
    return None


@operator("odd")
def odd(frames: CountFrames) -> Result:
    """Give what it did not say."""
    return frames  # type: ignore[return-value]


@operator("halves")
def halves(frames: CountFrames) -> CountFrames:
    """Make frames smaller and say nothing of it."""
    return CountFrames(frames.header, {**frames.arrays, "frames": frames.frames[:, ::2, ::2].copy()})


@operator("renames")
def renames(frames: CountFrames) -> CountFrames:
    """Give out a scan of its own."""
    scan = msgspec.structs.replace(frames.scan, id="mine")
    return CountFrames(msgspec.structs.replace(frames.header, scan=scan), frames.arrays)


@operator("doubles")
def doubles(frames: CountFrames) -> Iterator[CountFrames]:
    """Give each block twice."""
    yield frames
    yield frames


@operator("needy")
def needy(frames: Inflow[CountFrames]) -> Iterator[Result]:
    """Trust that something comes."""
    block = frames.take()
    yield Result(Header(scan=block.scan, made_s=0.0), {})  # type: ignore[union-attr]


@operator("litters", kind="sink")
def litters(frames: Inflow[CountFrames], *, context: Context) -> None:
    """Write a new file at each attempt."""
    list(frames)
    (context.folder / f"{time.time_ns()}-{os.getpid()}.txt").write_text("x")


@operator("presumes")
def presumes(left: CountFrames, right: CountFrames | None) -> CountFrames:
    """Say that an input may miss, and use it."""
    return CountFrames(left.header, {**left.arrays, "frames": left.frames + right.frames})  # type: ignore[union-attr]


@operator("endless")
def endless(frames: Inflow[CountFrames]) -> Iterator[Result]:
    """Go on for longer than anybody waits."""
    time.sleep(1)
    yield from ()


@operator("appends", kind="sink")
def appends(frames: Inflow[CountFrames], *, context: Context) -> None:
    """Write everything once more into the file of the attempt before."""
    with (context.folder / "kept.txt").open("a") as file:
        file.writelines(f"{index}\n" for block in frames for index in block.index)


@operator("renumbers")
def renumbers(frames: CountFrames) -> CountFrames:
    """Give frames another index."""
    return CountFrames(frames.header, {**frames.arrays, "index": frames.index + 100})


@operator("every_second", independent=True)
class EverySecond:
    """Give every second block and say that blocks do not matter to each other."""

    def __init__(self) -> None:
        self.taken = 0

    def __call__(self, frames: CountFrames) -> CountFrames | None:
        """Count."""
        self.taken += 1
        return frames if self.taken % 2 else None


BROKEN = [
    (unnamed, "description", "what people see"), (total, "description", "cannot load it"),
    (scribbles, "blocks", "read-only"), (unlocks, "blocks", "that it took, number 0 was changed"),
    (total, "blocks", "cannot load it"), (idle, "blocks", "gave nothing"), (odd, "blocks", "gave a CountFrames"),
    (halves, "names", "scan.shape says"), (renames, "names", "scan 'mine'"), (doubles, "names", "twice"),
    (needy, "empty", "NoneType"), (endless, "empty", "did not end"), (litters, "next_attempt", "left other files"),
    (appends, "next_attempt", "another size: .'kept.txt'"), (renumbers, "names", "keeps its index"),
    (EverySecond, "replicas", "not independent"), (presumes, "optional", "NoneType")]


@pytest.mark.parametrize(("broken", "check", "says"), BROKEN)
def test_a_broken_operator_is_found_out(broken: object, check: str, says: str, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manners, "PATIENCE_S", 0.1)
    with pytest.raises(Exception, match=says):
        suite.OPERATOR_CHECKS[check](tried(broken, tmp_path))


def test_what_is_given_out_must_not_change_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "check_described", lambda made, values: made.parameters())
    with pytest.raises(AssertionError, match="that it gave, number 0 was changed"):
        suite.check_blocks(tried(total, tmp_path))


def test_every_check_of_the_suite_is_seen_to_fail() -> None:
    assert {check for _, check, _ in BROKEN} == set(suite.OPERATOR_CHECKS)
