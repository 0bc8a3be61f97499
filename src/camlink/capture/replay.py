"""replay: the source that plays a recorded scan again, at its own pace or another one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.block import Array, CountFrames, Header, Scan
from camlink.capture.moment import wait_until
from camlink.carry.formats.any_file import open_recorded
from camlink.carry.formats.recorded import Recorded, Stack, playable, span_m
from camlink.clock import now_s
from camlink.errors import FormatError, ParameterError
from camlink.settings import read_settings
from camlink.workflow.operator import Context, operator
from camlink.workflow.parameter import Parameters, about

_TOGETHER_S: Final = 0.05
_MOST_BLOCK_BYTES: Final = 64 << 20


class ReplayParameters(Parameters, frozen=True):
    """Which file, which of its frames, in which order and how fast."""

    file: Annotated[str, about("CXI, ptyd or .npz file; looked for here, then among the samples")] = ""
    rate_hz: Annotated[float, about("Frames a second; 0 = the recorded times, or as fast as possible without any",
                                    unit="Hz", ge=0.0)] = 0.0
    speed: Annotated[float, about("Times the recorded pace; 0 = as fast as possible", ge=0.0)] = 1.0
    block_frames: Annotated[int, about("Most frames in a block", ge=1, le=4096)] = 16
    first: Annotated[int, about("First frame of the file to play", ge=0)] = 0
    last: Annotated[int, about("Last frame of the file to play; -1 = to the end", ge=-1)] = -1
    order: Annotated[Literal["recorded", "shuffled"], about("Order in which the frames are sent")] = "recorded"
    seed: Annotated[int, about("Seed of the shuffled order", ge=0)] = 0


@operator("replay", kind="source", resumes=True, pauses=True)
def replay(*, parameters: ReplayParameters, context: Context) -> Iterator[CountFrames]:
    """Play a recorded scan again as photon counts.

    Frames are numbered anew from 0 in the order of the file; `time_s` is the moment of sending. Pixels that the mask
    of the file marks bad become NaN. The first block carries the array `probe` (mode, y, x) when the file has one.
    Raises ParameterError without a file, FormatError for a file that cannot be played.
    """
    with open_recorded(find(parameters.file)) as recorded:
        yield from _play(recorded, parameters, context)


def find(file: str) -> Path:
    """The file, looked for from the working folder and then among the samples.

    Raises ParameterError when none is named, FormatError when it is in neither place.
    """
    if not file:
        raise ParameterError("replay.file: name the recorded scan to play, such as file=scan.cxi")
    path = Path(file).expanduser()
    candidates = [path] if path.is_absolute() else [path, read_settings().samples / path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if path.is_absolute():
        raise FormatError(f"replay.file: there is no file '{file}'")
    samples = f", nor among the samples ({candidates[-1].parent}, see CAMLINK_SAMPLES)"
    raise FormatError(f"replay.file: there is no file '{file}' in {Path.cwd()}{samples}")


def _play(recorded: Recorded, parameters: ReplayParameters, context: Context) -> Iterator[CountFrames]:
    stack, position_m = playable(recorded)
    rows = _chosen(len(stack), parameters, str(recorded.path))
    scan = _scan(recorded, rows, position_m)
    context.tell(frames_expected=len(rows), frames_captured=len(context.given), notes=list(recorded.notes))
    _, point = np.unique(recorded.point[rows], return_inverse=True)
    sent = np.arange(len(rows))
    if parameters.order == "shuffled":
        np.random.default_rng(parameters.seed).shuffle(sent)
    due_s = _due_s(recorded.time_s[rows], parameters)
    bad = recorded.bad()
    left = [(first, end) for first, end in batches(due_s, _most_frames(parameters, stack))
            if not context.given.issuperset(sent[first:end].tolist())]
    began_s = time.monotonic() - context.held_s() - (due_s[left[0][0]] if left and left[0][0] else 0.0)
    for first, end in left:
        if not wait_until(began_s + due_s[end - 1] + context.held_s(), context):
            return
        index = sent[first:end]
        source = rows[index]
        arrays: dict[str, Array] = {
            "frames": _read(stack, source, bad, context), "index": index.astype(np.int64),
            "point": point[index].astype(np.int64),
            "kind": recorded.kind[source], "dwell_s": recorded.dwell_s[source],
            "position_m": position_m[source], "time_s": np.full(len(index), now_s())}
        if first == 0 and recorded.probe is not None:
            arrays["probe"] = recorded.probe
        yield CountFrames.checked(Header(scan=scan, made_s=now_s()), arrays)
        context.tell(frames_captured=end)


def batches(due_s: NDArray[np.float64], most: int) -> Iterator[tuple[int, int]]:
    """Ranges (first, end) of at most `most` frames that are due within a short time of each other."""
    first = 0
    while first < len(due_s):
        together = int(np.searchsorted(due_s, due_s[first] + _TOGETHER_S, side="right"))
        end = max(first + 1, min(first + most, together))
        yield first, end
        first = end


def _chosen(count: int, parameters: ReplayParameters, where: str) -> NDArray[np.intp]:
    end = count if parameters.last < 0 else parameters.last + 1
    if parameters.first >= end or end > count:
        raise ParameterError(f"replay: frames {parameters.first} to {end - 1} were asked of {where}, which has "
                             f"0 to {count - 1}")
    return np.arange(parameters.first, end)


def _scan(recorded: Recorded, rows: NDArray[np.intp], position_m: NDArray[np.float64]) -> Scan:
    return msgspec.structs.replace(
        recorded.scan, expected=len(rows), points=len(np.unique(recorded.point[rows])), started_s=now_s(),
        span_m=span_m(position_m[rows]))


def _due_s(time_s: NDArray[np.float64], parameters: ReplayParameters) -> NDArray[np.float64]:
    """When each frame is due after the start (n,) [s], rising; zeros when nothing asks for a pace."""
    if parameters.rate_hz > 0:
        return np.arange(1, len(time_s) + 1) / parameters.rate_hz
    if parameters.speed == 0 or not np.isfinite(time_s).all():
        return np.zeros(len(time_s))
    recorded = np.sort(time_s)
    return np.asarray((recorded - recorded[0]) / parameters.speed)


def _most_frames(parameters: ReplayParameters, stack: Stack) -> int:
    _, ny, nx = stack.shape
    return max(1, min(parameters.block_frames, _MOST_BLOCK_BYTES // max(1, 4 * ny * nx)))


def _read(stack: Stack, rows: NDArray[np.intp], bad: NDArray[np.bool_] | None, context: Context) -> NDArray[np.float32]:
    frames: NDArray[np.float32] = context.room((len(rows), *stack.shape[1:]), np.float32)
    if np.all(np.diff(rows) == 1):
        stack.read(int(rows[0]), int(rows[-1]) + 1, frames)
    else:
        for at, row in enumerate(rows):
            stack.read(int(row), int(row) + 1, frames[at:at + 1])
    if bad is not None:
        frames[:, bad] = np.nan
    return frames
