"""check_format can fail: each habit that it forbids is found, and named."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from camlink.block import Scan
from camlink.carry.formats.format import Format
from camlink.carry.formats.recorded import Recorded, Stack, plain_columns
from camlink.errors import FormatError
from camlink.testing import format as suite
from camlink.testing import manners
from camlink.testing.format import File

MAGIC = b"TOY "
SIDE = 4
LEFT: list[BinaryIO] = []


def read_toy(path: Path) -> Recorded:
    """A format of the test: magic, number of frames, then frames of 4 x 4 bytes."""
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    content = path.read_bytes()
    if content[:4] != MAGIC or len(content) < 5 or len(content) != 5 + content[4] * SIDE * SIDE:
        raise FormatError(f"{path}: no toy, or cut")
    return parsed(path, content)


def parsed(path: Path, content: bytes) -> Recorded:
    n = content[4]
    frames = np.frombuffer(content[5:], np.uint8).reshape(n, SIDE, SIDE)
    scan = Scan(id="toy", expected=n, shape=(SIDE, SIDE), pixel_m=(1e-5, 1e-5), distance_m=1.0, energy_eV=800.0,
                span_m=(0.0, 0.0, 0.0, 0.0))
    return Recorded(path=path, scan=scan, frames=Stack(frames, n, str(path)), position_m=np.zeros((n, 2)),
                    **plain_columns(n))


def knows(path: Path, head: bytes) -> bool:
    return head.startswith(MAGIC)


GOOD = Format("toy", knows, read_toy)


def file_of(format: Format, folder: Path) -> File:
    sample = folder / "a.toy"
    sample.write_bytes(MAGIC + bytes([3]) + bytes(range(3 * SIDE * SIDE)))
    return File(format, sample, folder / "spoilt")


def changed(**fields: Any) -> Callable[[Path], Recorded]:
    return lambda path: replace(read_toy(path), **fields)


def by_name(path: Path, head: bytes) -> bool:
    return path.suffix == ".toy"


def careless(path: Path) -> Recorded:
    return parsed(path, path.read_bytes() if path.exists() else MAGIC + b"\0")


def strict_but_for_bytes(path: Path) -> Recorded:
    found = read_toy(path)
    if path.read_bytes() != MAGIC + bytes([3]) + bytes(range(3 * SIDE * SIDE)):
        raise KeyError("checksum")
    return found


def touches(path: Path) -> Recorded:
    found = read_toy(path)
    with path.open("ab") as file:
        file.write(b"seen")
    return found


def hoards(path: Path) -> Recorded:
    LEFT.append(path.open("rb"))
    return read_toy(path)


def hoards_refused(path: Path) -> Recorded:
    opened = path.open("rb")
    try:
        return replace(read_toy(path), closing=opened.close)
    except FormatError:
        LEFT.append(opened)
        raise


class Shifting:
    """Frames that are others when they are read one by one."""

    def __init__(self) -> None:
        self.shape = (3, SIDE, SIDE)

    def __getitem__(self, rows: slice) -> np.ndarray:
        n = len(range(*rows.indices(3)))
        return np.full((n, SIDE, SIDE), n)


def slow(path: Path) -> Recorded:
    if path.parent.name == "spoilt":
        time.sleep(0.5)
    return read_toy(path)


BROKEN = [
    (Format("toy", by_name, read_toy), "known", "goes by the name"),
    (Format("toy", lambda path, head: True, read_toy), "known", "for its own"),
    (Format("toy", lambda path, head: False, read_toy), "known", "does not know"),
    (Format("toy", knows, changed(index=np.zeros(3, np.int64))), "columns", "stands twice"),
    (Format("toy", knows, changed(dwell_s=np.zeros(2))), "columns", "refuses its own sample.*dwell_s"),
    (Format("toy", knows, changed(index=np.arange(3.0))), "columns", "column index is float64, not int64"),
    (Format("toy", knows, hoards), "let_go", "keeps a file open that was closed"),
    (Format("toy", knows, hoards_refused), "let_go", "keeps a file open that it refused"),
    (Format("toy", knows, changed(frames=Stack(Shifting(), 3, "here"))), "slices", "Mismatched"),
    (Format("toy", knows, touches), "left_alone", "changed the file"),
    (Format("toy", knows, careless), "missing", "reads a file that is not there"),
    (Format("toy", knows, careless), "cut", "IndexError|ValueError"),
    (Format("toy", knows, slow), "cut", "did not end"),
    (Format("toy", knows, strict_but_for_bytes), "flipped", "KeyError"),
    (Format("toy", knows, careless), "hostile", "IndexError|ValueError")]


def test_a_well_mannered_format_passes(tmp_path: Path) -> None:
    for check in suite.FORMAT_CHECKS.values():
        check(file_of(GOOD, tmp_path))


@pytest.mark.parametrize(("broken", "check", "says"), BROKEN)
def test_a_broken_format_is_found_out(broken: Format, check: str, says: str, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manners, "PATIENCE_S", 0.1)
    with pytest.raises(AssertionError, match=says):
        suite.FORMAT_CHECKS[check](file_of(broken, tmp_path))
    while LEFT:
        LEFT.pop().close()


def test_every_check_of_the_suite_is_seen_to_fail() -> None:
    assert {check for _, check, _ in BROKEN} == set(suite.FORMAT_CHECKS)
