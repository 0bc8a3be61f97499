"""Intake: the frames of one scan, from the camera's receiver to blocks; each planned frame is given or counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Self

import numpy as np

from camlink.block import Plan, RawFrames
from camlink.capture.fastccd.assemble import Frame
from camlink.capture.fastccd.geometry import PRESETS, Geometry, preset
from camlink.capture.fastccd.parameters import FROM_PLAN, FastCCDParameters
from camlink.capture.fastccd.receiver import Receiver
from camlink.capture.fastccd.tray import Tray
from camlink.clock import now_s
from camlink.errors import ParameterError, SourceSilent
from camlink.workflow.operator import Context
from camlink.workflow.port import Inflow

LOOK_S: Final = 0.1
TELL_S: Final = 0.5
QUIET_PERIODS: Final = 5
SENDER_DONE_QUIET_S: Final = 0.5
PLAN_OVER_QUIET_S: Final = 3.0
LEAST_DEADLINE_S: Final = 2.0  # so long may a sender on a busy machine stand still in a frame; newer ones end it sooner
"""Longer than a busy host keeps a sender waiting in the middle of a frame; what was lost is told by the tail."""


def geometry_of(name: str, shape: tuple[int, int]) -> Geometry:
    """The geometry called `name`, or that of the raw image `shape`; raises ParameterError when they do not fit."""
    known = ", ".join(f"{key} {geometry.shape}" for key, geometry in PRESETS.items())
    if name != "auto":
        geometry = preset(name)
        if geometry.shape != tuple(shape):
            raise ParameterError(f"fastccd.detector: '{name}' has images of {geometry.shape}, the plan says "
                                 f"{tuple(shape)}; use auto, or one of {known}")
        return geometry
    if shape[0] < 2 or shape[0] % 2 or shape[1] < 96 or shape[1] % 96:
        raise ParameterError(f"fastccd: the plan says raw images of {tuple(shape)}, but a FastCCD image has an even "
                             f"number of rows and a multiple of 96 columns, such as {known}")
    return Geometry(rows=shape[0] // 2, chips=shape[1] // 96)


class Intake:
    """One scan: the receiver, the plan's rows by frame index, and what was decided of each."""

    def __init__(self, plan: Plan, inflow: Inflow[Plan], parameters: FastCCDParameters, context: Context) -> None:
        self._plan, self._inflow, self._set, self._context = plan, inflow, parameters, context
        index = plan.arrays["index"]
        if not len(index):
            raise ParameterError(f"fastccd: the plan of scan '{plan.scan.id}' has no frames")
        told = plan.header.facts.get("first_number", 0)
        self._first = int(told) if parameters.first_number == FROM_PLAN else parameters.first_number
        self._last_number = int(index.max()) + self._first
        self._rows = {int(i): row for row, i in enumerate(index)}
        self._given = context.given & self._rows.keys()
        self._from = max(self._given, default=int(index.min()) - 1) + 1  # where this attempt may begin to miss frames
        self._time_s = plan.arrays["time_s"]
        steps_s = np.diff(np.sort(self._time_s))
        self._period_s = float(np.median(steps_s)) if len(steps_s) else 0.0
        self._captured: set[int] = set()
        self._missing = np.zeros(len(index), bool)
        self._missing[list(self._rows.values())] = True
        self._damaged = self._unplanned = 0
        self._end_s = float("inf")
        self._looked_s = now_s()
        self._held_until_s = 0.0
        self._seen_until = self._first
        self._told_s = 0.0
        self._tray = Tray(plan, frames=parameters.block_frames, nbytes=parameters.block_bytes,
                          room=context.room)
        self._address = parameters.address or plan.address
        self._receiver = Receiver(
            geometry_of(parameters.detector, plan.scan.shape), address=self._address, host=parameters.host,
            port=0 if parameters.port == "auto" else parameters.port, first_number=self._first + self._from,
            receive_buffer_bytes=parameters.receive_buffer_bytes, allocate=self._tray.place,
            deadline_s=max(LEAST_DEADLINE_S, parameters.frame_deadline_periods * self._period_s))

    def __enter__(self) -> Self:
        self._tell()
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.close()

    def blocks(self) -> Iterator[RawFrames]:
        """Blocks until the scan is over."""
        receiver, tray = self._receiver, self._tray
        while not self._over():
            for frame in receiver.receive(min(LOOK_S, self._set.block_wait_s) if len(tray) else LOOK_S):
                yield from self._sort_in(frame)
            at_s = now_s()
            if len(tray) and at_s - tray.oldest_s >= self._set.block_wait_s:
                yield tray.take()
            if at_s - self._told_s >= TELL_S:
                self._tell()
        self._seen_until = receiver.assembler.newest + 1
        for frame in receiver.flush(None if self._context.stopping() else self._last_number):
            yield from self._sort_in(frame)
        if len(tray):
            yield tray.take()
        self._tell(ended=True)
        if not self._captured and not self._given and not self._context.stopping():
            raise SourceSilent(self._silence())

    def _sort_in(self, frame: Frame) -> Iterator[RawFrames]:
        index = frame.number - self._first
        row = self._rows.get(index)
        if row is None or index in self._captured or index in self._given:
            self._unplanned += 1
            return
        if not self._captured and self._context.attempt:
            self._from = index  # what came while the camera had no receiver is told by the verdict
        if not self._captured and self._period_s > 0:
            self._end_s = frame.time_s + float(self._time_s.max() - self._time_s[row])
        self._captured.add(index)
        self._missing[row] = False
        self._damaged += frame.damaged
        self._tray.put(frame, row)
        if self._tray.full:
            yield self._tray.take()

    def _over(self) -> bool:
        """Whether nothing more is to be expected: all decided, asked to stop, or silence; a pause is no silence."""
        receiver, last_s = self._receiver, self._looked_s
        self._looked_s = now_s()
        if self._context.stopping() or receiver.assembler.next_number > self._last_number:
            return True
        if self._context.held():
            self._held_until_s = self._looked_s
            self._end_s += self._looked_s - last_s
            return False
        silent_s = min(receiver.silent_s, self._looked_s - self._held_until_s)
        if silent_s > self._set.deadline_s:
            return True
        if now_s() < self._end_s:
            return False
        limit_s = SENDER_DONE_QUIET_S if self._inflow.ended else PLAN_OVER_QUIET_S
        return silent_s > min(max(limit_s, QUIET_PERIODS * self._period_s), self._set.deadline_s)

    def _tell(self, ended: bool = False) -> None:
        receiver, counters = self._receiver, self._receiver.counters
        self._told_s = now_s()
        self._context.tell(
            frames_expected=len(self._rows), frames_captured=len(self._given) + len(self._captured),
            frames_damaged=self._damaged,
            frames_unplanned=self._unplanned, frames_lost=self._lost(ended), port=receiver.port,
            receive_buffer_bytes=receiver.receive_buffer_bytes, foreign_senders=receiver.foreign_senders,
            packets={"received": counters.packets_ok, "missing": counters.missing, "duplicate": counters.duplicate,
                     "late": counters.late, "short": counters.short, "malformed": counters.malformed,
                     "foreign": counters.foreign, "dropped by this machine": receiver.dropped_here()})

    def _lost(self, ended: bool) -> dict[str, int]:
        """Planned frames that will not come, by reason; before the end, only those that newer ones have passed."""
        decided = (self._seen_until if ended else self._receiver.assembler.next_number) - self._first
        missing = self._plan.arrays["index"][self._missing]
        passed = int(np.count_nonzero((missing >= self._from) & (missing < decided)))
        silent = int(np.count_nonzero(missing >= max(decided, self._from))) if ended else 0
        reason = "stopped" if self._context.stopping() else "detector silent"
        return {why: count for why, count in (("packets lost", passed), (reason, silent)) if count}

    def _silence(self) -> str:
        receiver, counters = self._receiver, self._receiver.counters
        where = f"registered at {self._address}" if self._address else "registered nowhere, as the plan has no address"
        rubbish = {"malformed": counters.malformed, "late or of another scan": counters.late,
                   "cut short": counters.short, "from other addresses": counters.foreign}
        seen = ", ".join(f"{count} {what}" for what, count in rubbish.items() if count)
        others = f" ({', '.join(receiver.foreign_senders)})" if receiver.foreign_senders else ""
        return (f"fastccd: no frame came in {receiver.silent_s:.1f} s on udp://{receiver.host}:{receiver.port}, "
                f"{where}; datagrams that arrived: {seen + others or 'none'}. Check that the camera is on and sends to "
                "this port, that no firewall stops UDP, and the parameters address, host and first_number")
