"""SpillingOutlet: policy `spill` for any kind of link: what the receivers have no room for waits on disk, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import DTypeLike

from camlink.block import Array, Block
from camlink.carry.account import Account
from camlink.carry.disk.spill import Spill
from camlink.carry.envelope import decode, encode
from camlink.carry.link import Outlet
from camlink.errors import StorageError, WireError


class SpillingOutlet:
    """An outlet (link.Outlet) in front of another one, whose sender only waits when the disk is full as well."""

    def __init__(self, outlet: Outlet, spill: Spill) -> None:
        self.outlet, self._spill = outlet, spill
        self.account: Account = outlet.account
        self.address = outlet.address
        self._ending = False
        self._out: deque[int] = deque()  # sequences that came from the file and are not settled yet
        self._next: tuple[Block, list[Any]] | None = None
        self._recovered = len(spill.waiting)  # the first blocks in the file are of an earlier attempt
        if self._recovered:
            frames = sum(record.frames for record in spill.waiting)
            self.account.count_spilled(frames)
            self.account.note(f"spill: {frames} frames of an earlier attempt were found and go again")
        self._tell()

    @property
    def pollable(self) -> Any:
        """That of the link itself."""
        return self.outlet.pollable

    @property
    def ready(self) -> bool:
        """True when every expected receiver is there."""
        return self.outlet.ready

    @property
    def receivers(self) -> tuple[str, ...]:
        """Names of the receivers that are there."""
        return self.outlet.receivers

    def expect(self, receivers: int) -> None:
        """From now on so many receivers share the work."""
        self.outlet.expect(receivers)

    def lose(self, receiver: str, reason: str, attempt: int | None = None) -> None:
        """That receiver is dead: what it did not acknowledge goes again."""
        self.outlet.lose(receiver, reason, attempt)

    def room(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A writable array in the memory of the link."""
        return self.outlet.room(shape, dtype)

    def offer(self, block: Block, parts: list[Any]) -> bool:
        """Send now if nothing waits on disk and there is credit; else write it to disk."""
        if self._spill.waiting:
            self.pump()
        if not self._spill.waiting and self.outlet.offer(block, parts):
            return True
        if not self._spill.append(parts, block.count):
            self._spill.note += ", the sender waits"
            self._tell()
            return False
        self.account.count_spilled(block.count)
        return True

    @property
    def kept(self) -> list[Block]:
        """What the link itself has in custody, oldest first, and is not in the file."""
        on_disk = set(self._out)
        return [block for block in self.outlet.kept if block.header.sequence not in on_disk]

    def save(self, blocks: Iterable[Block]) -> None:
        """Write blocks behind those that wait, in the order given; raises StorageError when the disk refuses."""
        save(self._spill, blocks)

    def settled(self, sequence: int) -> bool:
        """Whether nothing of the block is outstanding; on disk it is safe from the end of this process."""
        return self.outlet.settled(sequence)

    def pump(self) -> None:
        """Let go what waits on disk while there is credit, oldest first."""
        self.outlet.pump()
        while self._spill.waiting and self._send_next():
            pass
        self._settle()
        if self._ending and not self._spill.waiting:
            self.outlet.finish()

    def finish(self) -> None:
        """Say that nothing follows, once the file is empty and everything is acknowledged."""
        self._ending = True
        self.pump()

    @property
    def finished(self) -> bool:
        """True when every receiver has acknowledged the end."""
        return self.outlet.finished and not self._spill.waiting

    def detach(self, reason: str) -> None:
        """Nobody listens any more: what is on disk is lost with the rest."""
        self.outlet.detach(reason)
        while self._spill.waiting:
            self._lose(reason)

    def close(self) -> None:
        """Close the link; the file is kept when something in it was not acknowledged."""
        if not self._spill.closed:
            self._settle()
            self._spill.close(keep=bool(self._spill.waiting or self._out))
        self.outlet.close()

    def _send_next(self) -> bool:
        if self._next is None:
            try:
                block = decode(self._spill.next())
            except WireError as error:
                self.account.note(str(error))
                self._lose("damaged on disk")
                return True
            if self._recovered:  # it may have gone before
                block = type(block)(msgspec.structs.replace(block.header, again=1), block.arrays)
            self._next = (block, encode(block))
        block, parts = self._next
        frames = block.count
        self.account.count_spilled(-frames)
        if not self.outlet.offer(block, parts):
            self.account.count_spilled(frames)
            return False
        self._next = None
        self._spill.pop()
        self._recovered = max(self._recovered - 1, 0)
        self._out.append(block.header.sequence)
        return True

    def _settle(self) -> None:
        settled = 0
        while self._out and self.outlet.settled(self._out[0]):
            self._out.popleft()
            settled += 1
        if settled:
            self._spill.done(settled)

    def _lose(self, reason: str) -> None:
        """The oldest block on disk is lost."""
        self._next = None
        record = self._spill.drop()
        self._recovered = max(self._recovered - 1, 0)
        self.account.count_spilled(-record.frames)
        self.account.offered += record.frames
        self.account.sent += record.frames
        self.account.count_lost(reason, record.frames)

    def _tell(self) -> None:
        if self._spill.note:
            self.account.note(self._spill.note)
            self._spill.note = ""


def save(spill: Spill, blocks: Iterable[Block]) -> None:
    """Write blocks to the end of a file; raises StorageError when the disk refuses."""
    for block in blocks:
        if not spill.append(encode(block), block.count):
            raise StorageError(f"{spill.path}: what was under way is not saved: {spill.note}; make room on that disk")


def read_spilled(path: Path) -> Iterator[Block | None]:
    """The blocks in a file that nobody writes any more, oldest first, None for one that is damaged.

    Raises StorageError.
    """
    spill = Spill(path)
    try:
        while spill.waiting:
            try:
                yield decode(spill.next())
            except WireError:
                yield None
            spill.pop()
    finally:
        spill.close(keep=True)
