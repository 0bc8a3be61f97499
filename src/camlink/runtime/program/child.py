"""Child: one process of a program, with its output kept, its facts heard, and its end certain.

The process leads a group of its own, and is told by the kernel when the operator above it is gone. Lines of its
standard error that read `camlink: {"name": value, ...}` are facts for the page; everything is kept in one file.
"""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

import msgspec

from camlink.block import Fact
from camlink.errors import OperatorFailed
from camlink.signals import signal_name

FACTS: Final = b"camlink: "
MOST_KEPT_BYTES: Final = 64 << 20
REMOVAL_S: Final = 30.0
KILLED_S: Final = 5.0
_LONGEST_LINE: Final = 65_536
_LAST_LINES: Final = 5

# exec keeps the wish to get SIGTERM with the parent's end; the rest of the group gets it from the operator
_UNDER: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
if os.getppid() != int(sys.argv[1]): sys.exit(143)
try: os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error: sys.exit(f"cannot start {sys.argv[2]}: {error.strerror}")
"""


class Child:
    """A program that runs; as a context it is ended, with all that it started, when the block is left."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path,
                 heard: Callable[[dict[str, Fact]], None], *, stream: bool = False,
                 removal: Sequence[str] = ()) -> None:
        self._name, self._output, self._heard = command[0], output, heard
        self._removal, self._environment = list(removal), environment
        self._last: list[str] = []
        self._kept = 0
        output.parent.mkdir(parents=True, exist_ok=True)
        self._log = output.open("ab", buffering=0)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _UNDER, str(os.getpid()), *command], cwd=folder, env=environment,
            stdin=subprocess.PIPE if stream else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, bufsize=0)
        self.stdout = io.BufferedReader(cast("io.RawIOBase", self._process.stdout), 1 << 16)
        self._stderr = io.BufferedReader(cast("io.RawIOBase", self._process.stderr), 1 << 16)
        self._listeners = [threading.Thread(target=self._listen, args=(self._stderr,), daemon=True)]
        if not stream:
            self._listeners.append(threading.Thread(target=self._listen, args=(self.stdout,), daemon=True))
        for listener in self._listeners:
            listener.start()

    @property
    def stdin(self) -> BinaryIO:
        """Where a stream goes in."""
        return cast("BinaryIO", self._process.stdin)

    def ended(self, wait_s: float = 0.0) -> bool:
        """Whether the program has ended, at the latest after `wait_s`."""
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def check(self) -> None:
        """Raise OperatorFailed with the last words when the program has ended with anything but 0."""
        code = self._process.poll()
        if code:
            for listener in self._listeners:
                listener.join(1.0)
            how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with code {code}"
            raise OperatorFailed(f"{self._name} {how}; its last words: {' | '.join(self._last) or 'none'} "
                                 f"(everything it said: {self._output})")

    def end(self, grace_s: float) -> None:
        """Ask the whole group to end, and after `grace_s` end it, and what does not belong to it (`removal`)."""
        self._signal(signal.SIGTERM)
        deadline_s = time.monotonic() + grace_s
        while self._group_lives() and time.monotonic() < deadline_s:
            self._process.poll()
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        if not self.ended(KILLED_S):
            raise OperatorFailed(f"{self._name} (process {self._process.pid}) does not end though it was killed: it "
                                 "waits for a disk that does not answer, or somebody traces it")
        if self._process.returncode and self._removal:
            self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.end(0.0 if self.ended() else 2.0)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for listener in self._listeners:
            listener.join(2.0)
        if not any(listener.is_alive() for listener in self._listeners):  # else somebody who left the group holds on
            self.stdout.close()
            self._stderr.close()
            self._log.close()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _remove(self) -> None:
        try:
            subprocess.run(self._removal, env=self._environment, capture_output=True, timeout=REMOVAL_S, check=False)
        except subprocess.TimeoutExpired:
            raise OperatorFailed(f"{shlex.join(self._removal)} took more than {REMOVAL_S:g} s; look what is left of "
                                 f"{self._name}") from None

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # nobody is left

    def _group_lives(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _listen(self, pipe: BinaryIO) -> None:
        while line := pipe.readline(_LONGEST_LINE):
            if self._kept < MOST_KEPT_BYTES:
                self._keep(line)
            if line.startswith(FACTS):
                self._hear(line[len(FACTS):])
            elif text := line.decode("utf8", "replace").strip():
                self._last = [*self._last, text[:300]][-_LAST_LINES:]

    def _keep(self, line: bytes) -> None:
        """On a full disk nothing more is kept, but listened to: else the program would wait for us for ever."""
        try:
            self._kept += self._log.write(line)
        except OSError as error:
            self._kept = MOST_KEPT_BYTES
            self._heard({"warnings": f"what {self._name} says is not kept: {error.strerror}"})

    def _hear(self, text: bytes) -> None:
        try:
            facts = msgspec.json.decode(text, type=dict[str, Fact])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return  # it is kept with the output; a program may say anything
        if len(facts) <= 32:
            self._heard({name[:40]: value for name, value in facts.items()})
