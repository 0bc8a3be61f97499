"""Everything that is installed keeps what its suite asks: a new plug-in is tried as soon as it has an entry point."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from camlink.beamline.twin.operator import twin
from camlink.beamline.twin.parameters import TwinParameters
from camlink.block import Block, CountFrames, FrameKind, Header, Optics, Plan, RawFrames, Result, Scan
from camlink.capture.fastccd.parameters import FastCCDParameters
from camlink.capture.fastccd.source import fastccd
from camlink.carry.disk.journal import write_blocks
from camlink.carry.formats.cxi_write import CxiWriter
from camlink.carry.formats.format import Format
from camlink.clock import now_s
from camlink.compute.correct.layout import Layout
from camlink.registry import Registry
from camlink.testing.context import RecordingContext
from camlink.testing.format import File, check_format
from camlink.testing.manners import said
from camlink.testing.operator import Tried, check_operator
from camlink.testing.source import Source, check_source
from camlink.workflow.operator import Kind, Operator
from camlink.workflow.port import Listed
from camlink.workflow.provenance import provenance

pytestmark = pytest.mark.slow

OPERATORS: Registry[Operator] = Registry("camlink.operators", "operator")
FORMATS: Registry[Format] = Registry("camlink.formats", "format")
SCANNED = {"points_y": 2, "points_x": 3, "dark_frames": 1, "rate_hz": 200.0}
POINTS = 8


def scan_of(shape: tuple[int, int]) -> Scan:
    return Scan(id="s", expected=POINTS, shape=shape, pixel_m=(3e-5, 3e-5), distance_m=0.02, energy_eV=800.0,
                span_m=(0.0, 0.0, 4e-7, 4e-7), points=POINTS, optics=Optics(diameter_m=1e-4, outer_zone_m=1e-7))


def columns(index: np.ndarray) -> dict[str, np.ndarray]:
    n = len(index)
    return {"index": index, "point": index, "kind": np.full(n, FrameKind.EXPOSURE, np.uint8),
            "dwell_s": np.full(n, 0.1), "position_m": index[:, None] * np.array([5e-8, 3e-8]), "time_s": 1000.0 + index}


def counts() -> list[CountFrames]:
    frames = np.random.default_rng(0).poisson(5, (POINTS, 16, 16)).astype(np.float32)
    return [CountFrames(Header(scan=scan_of((16, 16)), made_s=now_s()),
                        {"frames": frames[rows], **columns(np.arange(POINTS)[rows])})
            for rows in (slice(0, 3), slice(3, POINTS))]


def raws() -> list[RawFrames]:
    """Two darks, then an exposure a point, as a small chip sends them: overscan, signal and dark current [ADU]."""
    layout, (y, x) = Layout(64, 72), np.mgrid[:64, :60]
    lit = np.where(np.hypot(y - 34, x - 27) < 9.5, 450.0, 0.0)
    frames = np.full((POINTS, 64, 72), 0x1000 + 10, np.uint16)
    for number, frame in enumerate(frames):
        for half, rows in enumerate((slice(0, 32), slice(32, 64))):
            frame[rows, layout.data_columns[half]] += ((number > 1) * lit[rows] + 30).astype(np.uint16)
    facts = {"frames": frames, **columns(np.arange(POINTS))}
    facts["kind"] = np.where(np.arange(POINTS) > 1, FrameKind.EXPOSURE, FrameKind.DARK).astype(np.uint8)
    block = RawFrames(Header(scan=scan_of((64, 72)), made_s=now_s()), facts)
    return [block.rows([0, 1, 2]), block.rows(list(range(3, POINTS)))]


def results() -> list[Result]:
    return [Result(Header(scan=scan_of((16, 16)), made_s=now_s(), sequence=version, facts={"iteration": version}),
                   {"object": np.ones((20, 20), np.complex64), "probe": np.ones((1, 16, 16), np.complex64)})
            for version in range(2)]


FEEDS: dict[type[Block], Callable[[], list[Any]]] = {
    Block: counts, CountFrames: counts, RawFrames: raws, Result: results}
COPY = {"command": ["sh", "-c", "cp {in}/000000/*.npy {out}"]}
VALUES: dict[str, Mapping[str, Any]] = {
    "ptychography.solve": {"kernel": "reference", "polish_s": 0.0, "iterations": 3},
    "ptychography.reduce": {"crop": 32, "shape": 16, "adu_per_photon": 10.0, "centre_frames": 2, "method": "bin"},
    "program": COPY, "program.frames": COPY, "twin": SCANNED, "fastccd": {"deadline_s": 5.0}}


@pytest.fixture
def threads() -> Iterator[list[threading.Thread]]:
    started: list[threading.Thread] = []
    yield started
    for thread in started:
        thread.join(20)
        assert not thread.is_alive()


def source_of(name: str, folder: Path, threads: list[threading.Thread]) -> Source:
    """The source with what it needs beside it: a file to play, or the other end of the wire."""
    values = dict(VALUES.get(name, {}))
    if name in ("tape.raw", "tape.counts"):
        values["file"] = str(folder / "some.blocks")
        write_blocks(folder / "some.blocks", *(raws() if name == "tape.raw" else counts()))
    if name == "replay":
        values |= {"file": str(cxi(folder)), "speed": 0.0, "block_frames": 3}

    def beside(work: Iterator[Any]) -> None:
        threads.append(threading.Thread(target=lambda: said(lambda: list(work)), daemon=True))
        threads[-1].start()

    def listen(block: Block) -> None:
        assert isinstance(block, Plan)
        camera = fastccd.make(FastCCDParameters(deadline_s=0.5), RecordingContext(folder))
        beside(camera(Listed([block])))

    def plan() -> Mapping[str, list[Block]]:
        beam = twin.make(TwinParameters(**SCANNED), RecordingContext(folder))()
        found = next(beam)
        beside(beam)
        return {"plan": [found]}

    return Source(OPERATORS.get(name), folder, values, plan if name == "fastccd" else dict,
                  listen if name == "twin" else lambda block: None)


@pytest.mark.parametrize("name", OPERATORS.names())
def test_every_installed_operator_keeps_its_suite(name: str, tmp_path: Path, threads: list[threading.Thread]) -> None:
    operator = OPERATORS.get(name)
    if operator.kind is Kind.SOURCE:
        check_source(source_of(name, tmp_path, threads))
        return
    feeds = {port.name: FEEDS[port.block]() if port.block in FEEDS else counts() for port in operator.inputs}
    check_operator(Tried(operator, tmp_path, feeds, VALUES.get(name, {})))


def cxi(folder: Path) -> Path:
    path = folder / "a.cxi"
    with CxiWriter(path, scan_of((16, 16)), provenance=provenance("w")) as writer:
        for block in counts():
            writer.write_frames(block)
        writer.write_result(results()[0])
    return path


def ptyd(folder: Path) -> Path:
    path = folder / "a.ptyd"
    with h5py.File(path, "w") as file:
        for name, value in {"energy": 0.8, "distance": 0.1, "psize": 3e-5, "num_frames": 5, "version": "0.1"}.items():
            file[f"meta/{name}"] = value
        for chunk, (first, end) in enumerate(((0, 3), (3, 5))):
            rows = np.arange(first, end)
            file[f"chunks/{chunk}/data"] = np.tile(rows[:, None, None], (1, 4, 4)).astype(np.uint16)
            file[f"chunks/{chunk}/positions"] = np.stack([rows, 10.0 * rows], 1) * 1e-6
            file[f"chunks/{chunk}/indices"] = rows + 7
    return path


def star(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(folder / "a.npz", data=rng.poisson(4, (1, 5, 8, 8)).astype(np.float32), scan=rng.random((1, 5, 2)),
             probe=np.ones((1, 1, 1, 1, 8, 8), np.complex64))
    return folder / "a.npz"


FILES: dict[str, Callable[[Path], Path]] = {"cxi": cxi, "ptyd": ptyd, "star": star}


@pytest.mark.parametrize("name", FORMATS.names())
def test_every_installed_format_keeps_its_suite(name: str, tmp_path: Path) -> None:
    assert name in FILES, f"write a small file of the format '{name}' here"
    check_format(File(FORMATS.get(name), FILES[name](tmp_path), tmp_path / "spoilt"))


def test_everything_is_found() -> None:
    assert {"twin", "ptychography.solve", "view", "cxi"} <= set(OPERATORS.names())
    assert {"cxi", "ptyd", "star"} <= set(FORMATS.names())
