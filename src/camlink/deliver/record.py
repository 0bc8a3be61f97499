"""Record: the file of one scan, made at its first block; frames are written at once, results at a bounded rate."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from camlink.block import Block, CountFrames, Result, Scan
from camlink.deliver.file_name import file_in, free_names, numbered_names
from camlink.errors import FormatError, StorageError

if TYPE_CHECKING:
    from camlink.carry.formats.cxi_write import CxiWriter

MOST_SHARE: Final = 0.2
"""Results take at most this share of the time, however large they are."""


class Record:
    """Decides when the file is made and when a result is worth writing; `CxiWriter` knows how.

    `again` tells that an earlier attempt of this `operator` was killed over its file: it goes on there. Where that
    cannot be (`trouble` says why) everything goes into a new file, which takes the place of the other at the end.
    """

    def __init__(self, folder: Path, pattern: str, every_s: float, provenance: Mapping[str, str], operator: str, *,
                 again: bool = False) -> None:
        self._again, self._operator = again, operator
        self.trouble = ""
        self._anew = False
        self._folder, self._pattern, self._every_s = folder, pattern, every_s
        self._provenance = {**provenance, "operator": operator}
        self._writer: CxiWriter | None = None
        self._waiting: Result | None = None
        self._next_s = 0.0

    @property
    def facts(self) -> dict[str, int | str | list[str]]:
        """files, frames_written and result_version (-1 before the first), and checkpoint where it began anew."""
        writer = self._writer
        return {**({"checkpoint": f"began anew: {self.trouble}"} if self._anew else {}),
                "files": [str(writer.path)] if writer else [],
                "frames_written": writer.frames_written if writer else 0,
                "result_version": writer.result_version if writer else -1}

    def add_frames(self, block: CountFrames) -> None:
        """Write frames; they outlive this process after the return."""
        self._writer_of(block).write_frames(block)

    def offer(self, result: Result) -> None:
        """Keep a result until it is due; a newer one replaces it. One without an `object` (y, x) is not ours."""
        if "object" in result.arrays:
            self._waiting = result

    def write_due(self, *, file_may_start: bool, last: bool = False) -> bool:
        """Write the waiting result when it is due or the last one; tells whether it was written.

        A result alone makes no file unless `file_may_start`, since only frames tell the shape of frames.
        """
        result, began_s = self._waiting, time.monotonic()
        if result is None or (self._writer is None and not file_may_start) or (began_s < self._next_s and not last):
            return False
        self._writer_of(result).write_result(result)
        self._waiting = None
        now_s = time.monotonic()
        self._next_s = now_s + max(self._every_s, (now_s - began_s) / MOST_SHARE)
        return True

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._writer is not None:
            self._writer.close()

    def replace_earlier(self) -> None:
        """After a good end: a new file takes the name of the one that an earlier attempt left."""
        if self.trouble and self._writer is not None:
            first, *others = self._left(self._writer.scan)
            for left in others:
                if left != self._writer.path:
                    left.unlink()
            self._writer.path = self._writer.path.replace(first)

    def _left(self, scan: Scan) -> list[Path]:
        """The files of this scan that earlier attempts of this operator left, the first of them first."""
        from camlink.carry.formats.cxi_resume import is_of

        path = file_in(self._folder, self._pattern, scan.id)
        found = [path, *sorted(numbered_names(path))] if path.exists() else []
        left = []
        for other in found:
            with suppress(FormatError):  # what nobody can read is none of those that others still write
                if not is_of(other, scan, self._operator):
                    continue
            left.append(other)
        return left

    def _writer_of(self, block: Block) -> CxiWriter:
        if self._writer is None:
            self._writer = self._make(block)
        if block.scan.id != self._writer.scan.id:
            raise FormatError(f"{self._writer.path}: a block of scan '{block.scan.id}' came to the record of scan "
                              f"'{self._writer.scan.id}'; run one workflow a scan")
        return self._writer

    def _make(self, block: Block) -> CxiWriter:
        from camlink.carry.formats.cxi_resume import go_on
        from camlink.carry.formats.cxi_write import CxiWriter

        for left in self._left(block.scan) if self._again else ():
            try:
                return go_on(left, block.scan)
            except (FormatError, StorageError) as error:
                self.trouble = str(error)
        self._anew = bool(self.trouble)
        path = file_in(self._folder, self._pattern, block.scan.id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{path.parent}: cannot be made ({error.strerror}); choose a folder that you may "
                               "write") from error
        for candidate in free_names(path):
            try:
                return CxiWriter(candidate, block.scan, provenance=self._provenance)
            except StorageError:
                if not candidate.exists():  # else somebody took the name meanwhile, and the next one may do
                    raise
        raise StorageError(f"{path}: no free name left")
