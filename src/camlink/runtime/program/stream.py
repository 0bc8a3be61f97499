"""A program that lives as long as the scan: blocks go to its standard input, results come from its standard output."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from camlink.block import Array, Block, Fact, Result, Scan
from camlink.errors import CamlinkError, OperatorFailed
from camlink.runtime.program.child import Child
from camlink.runtime.program.exchange import as_result, decode_stream, encode
from camlink.runtime.program.parameters import ProgramParameters, Surroundings
from camlink.workflow.operator import Context
from camlink.workflow.port import Inflow

MOST_WAITING: Final = 8  # results; then the program waits with its next
LOOK_S: Final = 0.05
Make = Callable[[ProgramParameters, Context], AbstractContextManager[Surroundings]]


class Listener:
    """Reads results in a thread of its own, never more than `MOST_WAITING` ahead of who takes them."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._room = threading.Semaphore(MOST_WAITING)
        self._found: deque[tuple[dict[str, Array], dict[str, Fact]]] = deque()
        self.error: CamlinkError | None = None
        self.heard_s = time.monotonic()
        self._thread = threading.Thread(target=self._read, name="program results", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the stream has ended and everything was taken."""
        return not self._thread.is_alive() and not self._found

    def take(self, scan: Scan) -> Iterator[Result]:
        """What has arrived; raises FormatError when the program wrote anything else."""
        while self._found:
            arrays, facts = self._found.popleft()
            self._room.release()
            yield as_result(arrays, facts, scan)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Let the thread end, when the program is gone."""
        self._room.release(MOST_WAITING)
        self._thread.join(2.0)

    def _read(self) -> None:
        try:
            for head, arrays in decode_stream(self._child.stdout):
                self._room.acquire()
                facts = head.header.facts if head.header is not None else head.facts
                self._found.append((arrays, facts))
                self.heard_s = time.monotonic()
        except CamlinkError as error:
            self.error = error
        except ValueError:
            return  # the pipe was closed: the operator has given up


def converse(blocks: Inflow[Block], parameters: ProgramParameters, context: Context, make: Make) -> Iterator[Result]:
    """Feed the program and give its results until both have ended; it starts with the first block."""
    first = None
    while first is None and not blocks.ended:
        first = blocks.take(LOOK_S)
    if first is None:
        return
    with make(parameters, context) as around:
        around.see(first)
        output = context.folder / "log" / f"{context.name}.out"
        with Child(around.command(), around.scratch, around.environment(), output,
                   lambda facts: context.tell(**facts), stream=True, removal=around.removal) as child:
            listener = Listener(child)
            try:
                yield from _Talk(child, listener, parameters, context, first).run(blocks)
            finally:
                if not child.ended():
                    child.end(parameters.grace_s)
                listener.close()


class _Talk:
    """One conversation: never waits for one end without looking at the other."""

    def __init__(self, child: Child, listener: Listener, parameters: ProgramParameters, context: Context,
                 first: Block) -> None:
        self._child, self._listener, self._context = child, listener, context
        self._timeout_s = parameters.timeout_s
        self._scan = first.scan
        self._parts: deque[Any] = deque(memoryview(part).cast("B") for part in encode(first))
        self._moved_s = time.monotonic()
        os.set_blocking(child.stdin.fileno(), False)

    def run(self, blocks: Inflow[Block]) -> Iterator[Result]:
        open_ = True
        while True:
            yield from self._listener.take(self._scan)
            self._child.check()
            if self._listener.ended and self._child.ended(LOOK_S):
                self._child.check()
                yield from self._listener.take(self._scan)
                return
            self._watch()
            if self._parts:
                self._write()
            elif open_ and (blocks.ended or self._context.stopping()):
                self._child.stdin.close()
                open_ = False
            elif open_ and (block := blocks.take(LOOK_S)) is not None:
                self._scan = block.scan
                self._parts.extend(memoryview(part).cast("B") for part in encode(block))
                self._moved_s = time.monotonic()
            elif not open_:
                time.sleep(LOOK_S)
            else:
                self._moved_s = time.monotonic()  # nothing was asked of the program: its silence is not a fault

    def _write(self) -> None:
        _, ready, _ = select.select([], [self._child.stdin], [], LOOK_S)
        if not ready:
            return
        try:
            written = os.write(self._child.stdin.fileno(), self._parts[0][:1 << 20])
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._closed()
            return
        self._moved_s = time.monotonic()
        rest = self._parts.popleft()[written:]
        if len(rest):
            self._parts.appendleft(rest)

    def _closed(self) -> None:
        """The program does not read any more: fine when it ends well soon, else a fault that `_watch` finds."""
        if self._child.ended(LOOK_S):
            self._child.check()
            raise OperatorFailed("the program ended while blocks were still sent to it; let it read standard input to "
                                 f"its end (what it said: log/{self._context.name}.out)")

    def _watch(self) -> None:
        silent_s = time.monotonic() - max(self._moved_s, self._listener.heard_s)
        if silent_s > self._timeout_s:
            raise OperatorFailed(f"the program neither read nor wrote for {self._timeout_s:g} s; set "
                                 f"{self._context.name}.timeout_s when it needs longer")
