"""SharedFolder: what replicas say is whole, or not there and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from camlink.runtime.work.siblings import SharedFolder

DARK = {"index": np.arange(20), "mean": np.zeros((2, 3), np.float32)}


def replicas(folder: Path, count: int = 2) -> list[SharedFolder]:
    return [SharedFolder(folder, "reduce", replica) for replica in range(count)]


def test_each_hears_what_the_others_said_last_and_what_the_first_has_settled(tmp_path: Path) -> None:
    first, second = replicas(tmp_path)
    assert (first.said("dark"), first.heard("dark"), first.settled("centre")) == (None, {}, None)
    first.say("dark", {"index": np.arange(3)})
    first.say("dark", DARK)
    assert first.heard("dark") == {}
    assert set(second.heard("dark")) == {0}
    assert list(second.heard("dark", "index")[0]) == ["index"]
    np.testing.assert_array_equal(replicas(tmp_path)[0].said("dark")["index"], DARK["index"])  # type: ignore[index]
    assert [one.settle("centre", {"y": np.array(n)})["y"] for n, one in enumerate((first, second))] == [0, 0]
    assert (first.trouble, second.trouble) == ("", "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([], 0)
@example([], 100)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4), st.none() | st.integers(0, 2000))
def test_what_is_damaged_is_not_heard(tmp_path: Path, changes: list[tuple[int, int]], length: int | None) -> None:
    first, second = replicas(tmp_path)
    first.say("dark", DARK)
    (path,) = (tmp_path / "shared" / "reduce").iterdir()
    data = bytearray(path.read_bytes())
    for at, byte in changes:
        data[at % len(data)] = byte
    path.write_bytes(data[:length])
    heard = second.heard("dark")
    assert not heard or set(heard) == {0}


def test_that_it_is_damaged_is_told(tmp_path: Path) -> None:
    first, second = replicas(tmp_path)
    first.say("dark", DARK)
    (path,) = (tmp_path / "shared" / "reduce").iterdir()
    path.write_bytes(b"")
    assert second.heard("dark") == {}
    assert second.trouble.startswith(f"cannot read {path}: No data left")
