"""libertem-live: its Merlin simulator, its receiver into shared memory and a UDF in one worker; sums only.

There is no hop to a collector: sums are merged in the memory of the process that asked, a partition of 64 frames at a
time, so a frame has no age of its own; given is the time from the trigger. A second acquisition on the same
connection often never ends, so the first is taken; the rate is from its first to its last result.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))

import job  # noqa: E402
from libertem.udf.base import UDF  # noqa: E402

PEER = "libertem-live"
SIDE, COLUMNS, PARTITION = 1024, 32, 64  # 1024 x 1024 uint8: 1 MiB
HEAD_BYTES = 384


class Sum(UDF):
    """The sum of every frame."""

    def get_result_buffers(self) -> Any:
        """One number a frame."""
        return {"sum": self.buffer(kind="nav", dtype=np.uint64)}

    def get_preferred_input_dtype(self) -> Any:
        """As the detector gives it."""
        return np.uint8

    def process_frame(self, frame: Any) -> None:
        """One frame."""
        self.results.sum[:] = job.total(np.ascontiguousarray(frame))


def head_of(number: int) -> bytes:
    """The head of a frame of a single chip with 6 bit counters, as the Merlin readout writes it."""
    fields = [f"MQ1,{number + 1:06d},{HEAD_BYTES:05d},01,{SIDE:04d},{SIDE:04d},U08,1x1,01",
              "2026-01-01 00:00:00.000000,0.001,0,0,0", ",".join(["0.0"] * 8),
              "MQ1A,2026-01-01T00:00:00.000000000Z,1000000ns,6"]
    return ",".join(fields).encode().ljust(HEAD_BYTES - 1) + b"\n"


def record(folder: Path, frames: int) -> Path:
    """A recorded scan for the simulator."""
    lines = ["HDR,", "Counter Depth (number):\t6", f"Frames in Acquisition (Number):\t{frames}",
             f"Frames per Trigger (Number):\t{frames}", "End\t"]
    (folder / "default.hdr").write_bytes("\n".join(lines).ljust(1024).encode())
    images = job.patterns()
    with (folder / "default.mib").open("wb") as file:
        for number in range(frames):
            file.write(head_of(number))
            file.write(images[number % job.PATTERNS].tobytes())
    return folder / "default.hdr"


def simulate(path: str, frames: int, per_s: float, told: Any, over: Any) -> None:
    """The detector, in a process of its own."""
    from libertem_live.detectors.merlin.sim import CameraSim

    camera = CameraSim(path=path, nav_shape=(COLUMNS, frames // COLUMNS), host="127.0.0.1", data_port=0,
                       control_port=0, trigger_port=0, wait_trigger=True, cached=None,
                       dwelltime=int(1e6 / per_s) if per_s else None,
                       initial_params={"IMAGEX": str(SIDE), "IMAGEY": str(SIDE), "COUNTERDEPTH": "6"})
    camera.start()
    camera.wait_for_listen()
    told.put((camera.server_t.sockname, camera.control_t.sockname, camera.trigger_t.sockname))
    while not over.wait(0.2):
        camera.maybe_raise()


def acquire(context: Any, ports: Any, frames: int) -> tuple[float, list[tuple[int, int, float, float]]]:
    """When the acquisition was triggered, and its rows."""
    from libertem_live.api import Hooks
    from libertem_live.detectors.merlin.control import MerlinControl
    from libertem_live.detectors.merlin.sim import TriggerClient

    (host, port), control, trigger = ports
    begun_s = [0.0]

    class Start(Hooks):
        def on_ready_for_data(self, env: Any) -> None:
            with MerlinControl(*control) as asked:
                asked.cmd("STARTACQUISITION")
            client = TriggerClient(*trigger)
            client.connect()
            client.trigger()
            client.close()
            begun_s[0] = time.time()

    udf = importlib.import_module("libertem_chain").Sum()  # by a name that the worker finds too
    connection = context.make_connection("merlin")
    with connection.open(data_host=host, data_port=port, api_host=control[0], api_port=control[1],
                         drain=False) as opened:
        rows: list[tuple[int, int, float, float]] = []
        seen = np.zeros(frames, bool)
        found = context.make_acquisition(conn=opened, nav_shape=(COLUMNS, frames // COLUMNS), hooks=Start(),
                                         frames_per_partition=PARTITION)
        for part in context.run_udf_iter(dataset=found, udf=udf, progress=False):
            now_s = time.time()
            there = np.asarray(getattr(part.damage, "data", part.damage)).reshape(-1)
            sums = np.asarray(part.buffers[0]["sum"].data).reshape(-1)
            rows += [(int(n), int(sums[n]), begun_s[0], now_s) for n in np.flatnonzero(there & ~seen)]
            seen = there.copy()
    return begun_s[0], rows


def run(frames: int, per_s: float) -> None:
    """The whole chain."""
    from libertem.executor.pipelined import PipelinedExecutor
    from libertem_live.api import LiveContext

    frames -= frames % (COLUMNS * PARTITION)
    shared = Path("/dev/shm")
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        told, over = spawn.Queue(), spawn.Event()
        camera = spawn.Process(target=importlib.import_module("libertem_chain").simulate, daemon=True,
                               args=(str(record(Path(folder), frames)), frames, per_s, told, over))
        camera.start()
        ports = told.get(timeout=60)
        context = LiveContext(executor=PipelinedExecutor(spec=PipelinedExecutor.make_spec(cpus=[0], cudas=[])))
        try:
            begun_s, rows = acquire(context, ports, frames)
            rate = frames / (rows[-1][3] - begun_s)
            job.tell(PEER, frames, rows, f"no hop to a collector; sums come {PARTITION} frames at a time, ages are "
                                         f"from the trigger; {rate:.0f} frames/s from the trigger on")
        finally:
            context.close()
            over.set()
            camera.join(5)
            camera.kill()


if __name__ == "__main__":
    given = job.asked(__doc__.partition("\n")[0])
    if given.whole:
        job.fail(PEER, "has no hop on which a whole frame could go on")
    else:
        run(given.frames, given.per_s)
