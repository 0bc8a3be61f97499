"""A writer that is killed at any moment leaves a file with every frame that it had flushed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from camlink.block import CountFrames, Header, Result, Scan
from camlink.carry.formats.cxi_read import read_cxi
from camlink.carry.formats.cxi_resume import go_on
from camlink.carry.formats.cxi_write import CxiWriter
from camlink.carry.formats.recover import recover
from camlink.errors import StorageError

SCAN = Scan(id="crash", expected=100_000, shape=(64, 64), pixel_m=(3e-5, 3e-5), distance_m=0.1, energy_eV=700.0,
            span_m=(0.0, 0.0, 1.0, 1.0))
KILLS = 6


def frames_of(first: int, count: int) -> np.ndarray:
    """Frames that tell their own number, of varying size when compressed."""
    rng = np.random.default_rng(first)
    frames = rng.poisson(1 + first % 7, (count, 64, 64)).astype(np.float32)
    frames[:, 0, 0] = np.arange(first, first + count)
    return frames


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def block_of(first: int) -> CountFrames:
    """The block that begins with frame `first`."""
    count = 1 + first % 5
    index = np.arange(first, first + count)
    columns = {"index": index, "point": index, "kind": np.ones(count, np.uint8), "dwell_s": np.ones(count),
               "position_m": np.stack([index, -index], 1) * 1e-6, "time_s": np.zeros(count)}
    return CountFrames(Header(scan=SCAN, made_s=0), {"frames": frames_of(first, count), **columns})


def result_of(version: int) -> Result:
    side = 100 + version % 50
    return Result(Header(scan=SCAN, made_s=0, sequence=version), {
        "object": np.full((side, side), version, np.complex64), "probe": np.full((1, 64, 64), version, np.complex64)})


def write_forever(path: str) -> None:
    """Body of the process that is killed: says what is flushed, after it was."""
    first = version = 0
    with CxiWriter(path, SCAN, provenance={}) as writer:
        say("made 0")
        while True:
            writer.write_frames(block_of(first))
            first += 1 + first % 5
            say(f"frames {first}")
            if first % 3 == 0:
                writer.write_result(result_of(version))
                say(f"result {version}")
                version += 1


def start(path: Path) -> subprocess.Popen[str]:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_cxi_crash as t; " \
           f"t.write_forever({str(path)!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "made 0\n"
    assert process.stdout.readline() == "frames 1\n"  # however long that takes here
    return process


def kill(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Frames and version that the writer had reported when it was killed."""
    os.kill(process.pid, signal.SIGKILL)
    done = {"frames": 1, "result": -1}
    with process:  # communicate() would not see what lies in the buffer of stdout
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                word, number = line.split()
                done[word] = int(number)
    return done["frames"], done["result"]


def check(path: Path, frames: int, version: int) -> None:
    with read_cxi(path) as found:
        count = len(found.index)
        assert count >= frames
        assert found.frames is not None
        assert found.position_m is not None
        np.testing.assert_array_equal(found.index, np.arange(count))
        np.testing.assert_allclose(found.position_m, np.stack([found.index, -found.index], 1) * 1e-6, atol=1e-12)
        first = 0
        while first < count:
            length = 1 + first % 5
            expected = frames_of(first, length)[:count - first]
            np.testing.assert_array_equal(found.frames.read(first, first + length), expected)
            first += length
        if version >= 0:
            assert found.object is not None
            assert found.probe is not None
            assert found.facts["version"] >= version
            assert np.all(found.object == found.facts["version"])
            assert np.all(found.probe == found.facts["version"])


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    rng = random.Random(7)
    for turn in range(KILLS):
        path = tmp_path / f"{turn}.cxi"
        process = start(path)
        time.sleep(rng.uniform(0.0, 0.15))
        frames, version = kill(process)
        check(path, frames, version)
        if turn % 2:
            goes_on(path, frames, version)
            path.unlink()
            continue
        before = recover(path)
        assert before.needed
        assert before.frames >= frames
        check(path, frames, version)
        with h5py.File(path) as plain:  # any program opens it now, without knowing of single writers
            assert plain["entry_1/data_1/data"].shape[0] == before.frames
            assert plain["entry_1/data_1/translation"].shape[0] == before.frames
            if before.version >= 0:
                assert np.all(plain["entry_1/image_1/data"][...] == before.version)
        assert not recover(path).needed
        path.unlink()


def goes_on(path: Path, frames: int, version: int) -> None:
    """Another writer is fed everything again and some more: the file is as if nobody had been killed."""
    with go_on(path, SCAN) as writer:
        assert writer.frames_written >= frames
        assert writer.result_version >= version
        version, had, first = writer.result_version + 1, writer.frames_written, 0
        while first < had + 20:
            block = block_of(first)
            writer.write_frames(block)
            first += block.count
        writer.write_result(result_of(version))
        check(path, first, version)  # beside its living writer
    check(path, first, version)
    assert not recover(path).needed


@pytest.mark.slow
def test_reading_beside_a_living_writer_never_sees_a_half_block_or_result(tmp_path: Path) -> None:
    path = tmp_path / "live.cxi"
    process = start(path)
    try:
        last = 0
        for _ in range(15):
            time.sleep(0.02)
            with read_cxi(path) as found:
                assert found.frames is not None
                assert len(found.index) >= max(last, 1)
                last = len(found.index)
                tail = found.frames.read(max(0, last - 20), last)
                np.testing.assert_array_equal(tail[:, 0, 0], np.arange(max(0, last - 20), last))
                if found.object is not None:
                    assert np.all(found.object == found.facts["version"])
        with pytest.raises(StorageError, match="still writes it"):
            recover(path)
    finally:
        frames, version = kill(process)
    check(path, frames, version)
