"""Toy operators with every habit that a runtime must bear: fast, slow, failing, deaf, dying."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from typing import Annotated, Final

import numpy as np

from camlink.block import Block, CountFrames, FrameKind, Frames, Header, RawFrames, Result, Scan
from camlink.clock import now_s
from camlink.workflow.operator import Context, operator
from camlink.workflow.parameter import Parameters, about
from camlink.workflow.port import Inflow


def toy_scan(expected: int, side: int = 16) -> Scan:
    """A scan of `expected` frames of side x side pixels, one point a frame along a line of 1 um."""
    return Scan(id="toy", expected=expected, shape=(side, side), pixel_m=(30e-6, 30e-6), distance_m=0.1,
                energy_eV=800.0, span_m=(0.0, 0.0, 0.0, 1e-6), points=expected)


def toy_frames(scan: Scan, first: int, count: int) -> RawFrames:
    """`count` frames from index `first` on; every pixel holds the index."""
    index = np.arange(first, first + count)
    position = np.zeros((count, 2))
    position[:, 1] = index * (1e-6 / max(scan.expected - 1, 1))
    frames = np.broadcast_to(index[:, None, None].astype(np.uint16), (count, *scan.shape)).copy()
    return RawFrames(Header(scan=scan, made_s=now_s()), {
        "frames": frames, "index": index, "point": index, "kind": np.full(count, FrameKind.EXPOSURE, np.uint8),
        "dwell_s": np.ones(count), "position_m": position, "time_s": np.full(count, now_s())})


GO: Final = "go"
Number = Annotated[int, about("how many", ge=0)]
Seconds = Annotated[float, about("how long", unit="s", ge=0)]
Index = Annotated[int, about("frame at which it happens; -1 for never", ge=-1)]


class Slow(Parameters, frozen=True):
    """How slow an operator is to start and at each block, and at which frames it raises or is killed.

    `uneven_s` is the longest of what it takes besides, for each frame another time.
    """

    start_s: Seconds = 0.0
    sleep_s: Seconds = 0.0
    uneven_s: Seconds = 0.0
    raise_at: Index = -1
    raise_from: Index = -1
    die_at: Index = -1
    loop_at: Index = -1
    hoard_at: Index = -1


class Camera(Parameters, frozen=True):
    """How many frames of which size, how fast, and what goes wrong.

    Before frame `wait_at` it waits for the file GO in the folder of the run.
    """

    frames: Number = 100
    side: Number = 16
    gap_s: Seconds = 0.0
    start_s: Seconds = 0.0
    raise_at: Index = -1
    wait_at: Index = -1


def _start(parameters: Slow | Camera) -> None:
    time.sleep(parameters.start_s)


def _work_on(frame: int, parameters: Slow) -> None:
    time.sleep(parameters.sleep_s + parameters.uneven_s * (frame * 7919 % 13) / 12)
    _fault(frame, parameters.raise_at, parameters.raise_from)
    if frame == parameters.die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    while frame == parameters.loop_at:
        pass
    if frame == parameters.hoard_at:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        np.ones(1 << 30)


def _fault(index: int, raise_at: int, raise_from: int = -1) -> None:
    if index == raise_at or 0 <= raise_from <= index:
        raise ValueError(f"frame {index} is poison")


@operator("toys.camera", prepare=_start, resumes=True, pauses=True)
def camera(*, parameters: Camera, context: Context) -> Iterator[RawFrames]:
    """Give frames that hold their index."""
    scan = toy_scan(parameters.frames, parameters.side)
    context.tell(frames_expected=parameters.frames, frames_captured=len(context.given))
    for index in (index for index in range(parameters.frames) if index not in context.given):
        while index == parameters.wait_at and not context.stopping() and not (context.folder / GO).exists():
            time.sleep(0.01)
        if context.stopping():
            return
        _fault(index, parameters.raise_at)
        yield toy_frames(scan, index, 1)
        context.tell(frames_captured=index + 1)
        time.sleep(parameters.gap_s)


@operator("toys.count", prepare=_start)
def count(frames: RawFrames, *, parameters: Slow) -> CountFrames:
    """Turn samples into float32; on demand raises, or is killed, at a frame."""
    _work_on(int(frames.index[0]), parameters)
    return CountFrames(frames.header, {**frames.arrays, "frames": frames.frames.astype(np.float32)})


@operator("toys.pair")
def pair(left: CountFrames, right: CountFrames) -> CountFrames:
    """Multiply by a thousand, for each frame, what one branch has, and add what the other has."""
    return _paired(left, right)


@operator("toys.pair_anyway")
def pair_anyway(left: CountFrames, right: CountFrames | None) -> CountFrames:
    """The same, with nothing to add where the other branch has nothing."""
    return _paired(left, right)


def _paired(left: CountFrames, right: CountFrames | None) -> CountFrames:
    if right is not None and left.index.tolist() != right.index.tolist():
        raise ValueError(f"frames {left.index.tolist()} were joined with {right.index.tolist()}")
    more = 0 if right is None else right.frames
    return CountFrames(left.header, {**left.arrays, "frames": left.frames * 1000 + more})


@operator("toys.add", prepare=_start)
def add(frames: Inflow[CountFrames], *, parameters: Slow, context: Context) -> Iterator[Result]:
    """Add up everything that arrives; a version every ten frames and at the end."""
    total, seen, last = 0.0, set[int](), None
    for block in frames:
        last = block
        _work_on(int(block.index[0]), parameters)
        seen.update(block.index.tolist())
        total += float(block.frames[:, 0, 0].sum())
        context.tell(total=total, distinct=len(seen))
        if len(seen) % 10 == 0:
            yield _result(block, total, final=False)
    if last is not None:
        yield _result(last, total, final=True)


def _result(block: Block, total: float, *, final: bool) -> Result:
    return Result(Header(scan=block.scan, made_s=now_s(), facts={"total": total, "final": final}),
                  {"object": np.full((2, 2), total)})


@operator("toys.deaf")
def deaf(frames: Inflow[CountFrames]) -> None:
    """Take one block, then neither listen nor end."""
    frames.take(60.0)
    while True:
        time.sleep(0.5)


@operator("toys.keep", kind="sink", prepare=_start)
def keep(frames: Inflow[CountFrames], *, parameters: Slow, context: Context) -> None:
    """Write the index of every frame into kept.txt, which a later attempt writes anew."""
    with (context.folder / "kept.txt").open("w", encoding="utf8", buffering=1) as file:
        for block in frames:
            _work_on(int(block.index[0]), parameters)
            file.writelines(f"{index}\n" for index in block.index)


@operator("toys.hoard", kind="sink", prepare=_start)
def hoard(frames: Inflow[Frames], *, parameters: Slow, context: Context) -> None:
    """Let go of nothing before the end; a later attempt begins anew."""
    kept: list[Frames] = []
    for block in frames:
        _work_on(int(block.index[0]), parameters)
        kept.append(block)
        context.tell(hoarded=len({int(index) for one in kept for index in one.index}))


@operator("toys.die", kind="sink")
def die(frames: Inflow[CountFrames]) -> None:
    """Be killed before the first block."""
    os.kill(os.getpid(), signal.SIGKILL)


@operator("toys.leave")
def leave(frames: Inflow[CountFrames]) -> None:
    """Take three blocks and end early."""
    for _ in range(3):
        frames.take(10.0)


@operator("toys.look", kind="view", prepare=_start)
def look(blocks: Inflow[Block], *, parameters: Slow, context: Context) -> None:
    """Show everything."""
    for block in blocks:
        time.sleep(parameters.sleep_s)
        if isinstance(block, Frames):
            _fault(int(block.index[0]), parameters.raise_at, parameters.raise_from)
        context.screen.show(block)


def nap(item: int) -> tuple[int, int]:
    """A piece of work of 200 ms: the item and the process that did it."""
    time.sleep(0.2)
    return item, os.getpid()


@operator("toys.spread", kind="sink")
def spread(frames: Inflow[RawFrames], *, pieces: Number = 20, context: Context) -> None:
    """Give pieces of work to the executor, and tell the sum of their results and how many processes did them."""
    for block in frames:
        del block
    done = [handle.result(60) for handle in context.executor.map(nap, range(pieces))]
    context.tell(total=sum(item for item, _ in done), processes=len({pid for _, pid in done}),
                 here=sum(pid == os.getpid() for _, pid in done))
