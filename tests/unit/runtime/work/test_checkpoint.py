"""Checkpoint: found whole by the next attempt, never older than it has to be, refused with a reason when damaged."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from camlink.block import Header, Result
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.checkpoint import EVERY_S, GUESS_S, MOST_SHARE, Checkpoint
from camlink.testing.toys import toy_scan

SPEC = WorkerSpec(operator="solve", replica=0, where="", kind="solver", parameters={}, inputs=(), outputs=(),
                  folder="", sockets="", provenance={})


class Clock:
    """Stands still unless it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def made(number: int) -> Result:
    return Result(Header(scan=toy_scan(3), made_s=0, facts={"n": number}), {"object": np.full((40, 40), number)})


def spec(folder: Path, attempt: int = 0, operator: str = "solve") -> WorkerSpec:
    return msgspec.structs.replace(SPEC, folder=str(folder), attempt=attempt, operator=operator)


def kept(folder: Path, *numbers: int) -> Checkpoint:
    clock = Clock()
    first = Checkpoint(spec(folder), clock)
    for number in numbers:
        clock.now_s += EVERY_S
        first.keep(lambda number=number: made(number))
    return first


def test_the_next_attempt_finds_what_was_kept_last_until_a_good_end(tmp_path: Path) -> None:
    first = kept(tmp_path, 1, 2)
    assert first.read() is None  # its own is none of an earlier attempt
    found = Checkpoint(spec(tmp_path, attempt=1)).read()
    assert found is not None
    assert (found.facts["n"], found.scan, found.header.source) == (2, toy_scan(3), "solve")
    np.testing.assert_array_equal(found.arrays["object"], made(2).arrays["object"])
    first.remove()
    assert list((tmp_path / "journal").iterdir()) == []


def test_it_takes_a_small_share_of_the_time_however_long_it_takes(tmp_path: Path) -> None:
    clock, calls = Clock(), []

    def make() -> Result:
        calls.append(clock.now_s)
        clock.now_s += 0.5
        return made(len(calls))

    one = Checkpoint(spec(tmp_path), clock)
    while clock.now_s < 1000:
        one.keep(make)
        clock.now_s += 0.5
    assert 0.5 * len(calls) / clock.now_s <= 1.1 * MOST_SHARE
    assert np.diff(calls).min() > EVERY_S


@pytest.mark.parametrize("slow", [0, 3])
def test_one_that_was_held_up_does_not_put_the_next_off_for_long(slow: int, tmp_path: Path) -> None:
    clock, calls = Clock(), []

    def make() -> Result:
        clock.now_s += 1.0 if len(calls) == slow else 0.001
        calls.append(clock.now_s)
        return made(len(calls))

    one = Checkpoint(spec(tmp_path), clock)
    while clock.now_s < 10:
        one.keep(make)
        clock.now_s += 0.1
    assert np.diff(calls).max() <= GUESS_S / MOST_SHARE + 0.2


@pytest.mark.parametrize(("damage", "says"), [
    (lambda data: data[:-3], "no whole checkpoint"), (lambda data: b"", "no whole checkpoint"),
    (lambda data: data[:-3] + b"abc", "no whole checkpoint"), (lambda data: b"CXB1" + data[4:], "no record"),
    (lambda data: data[:-3] + b"abc" + data, "checksum")], ids=["cut", "empty", "end", "magic", "bytes"])
def test_a_damaged_one_is_refused_with_a_reason(tmp_path: Path, damage, says) -> None:
    kept(tmp_path, 7)
    (path,) = (tmp_path / "journal").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    next_one = Checkpoint(spec(tmp_path, attempt=1))
    assert next_one.read() is None
    assert says in next_one.trouble


def test_one_of_another_operator_is_refused(tmp_path: Path) -> None:
    kept(tmp_path, 7)
    (path,) = (tmp_path / "journal").iterdir()
    path.rename(path.with_name("other-0.kept"))
    other = Checkpoint(spec(tmp_path, attempt=1, operator="other"))
    assert other.read() is None
    assert "no whole checkpoint of other" in other.trouble


def test_a_disk_that_refuses_costs_the_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    assert "not kept" in kept(tmp_path, 1).trouble
