"""pvapy: a PVA server, then two `pvapy-hpc-consumer`, the first sums and sends on, the second collects.

PVA has no back-pressure: the source goes at its own rate (`--per-s`), and what a queue cannot hold is lost. The
worker makes its output channel at its first frame and the collector looks for it at growing intervals, so the chain
is primed with frames that do not count.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))

import job  # noqa: E402
import pvaccess as pva  # noqa: E402
from pvapy.hpc.userDataProcessor import UserDataProcessor  # noqa: E402
from pvapy.utility.adImageUtility import AdImageUtility  # noqa: E402

PEER = "pvapy"
IMAGE, SUMS = "camlink:image", "worker:1:sums"
SUM = {"uniqueId": pva.INT, "made_s": pva.DOUBLE, "sum": pva.ULONG}
QUEUE = 200
PRIME_S, PRIME_STEP_S = 8.0, 0.25
PRIME = 0  # its statistics bear no negative numbers, so frames are counted from 1


def made_s(image: Any) -> float:
    """When an image was made."""
    stamp = image["timeStamp"]
    return float(stamp["secondsPastEpoch"] + 1e-9 * stamp["nanoseconds"])


class Worker(UserDataProcessor):
    """Sums; sends the image or the sum on."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        UserDataProcessor.__init__(self, config or {})
        self.whole = os.environ["JOB_WHOLE"] == "1"

    def getOutputPvObjectType(self, image: Any) -> Any:
        """What goes out."""
        return image if self.whole else pva.PvObject(SUM)

    def process(self, image: Any) -> Any:
        """One frame."""
        value = job.total(image["value"][0]["ushortValue"])
        if self.whole:
            self.updateOutputChannel(image)  # a field for the sum would need another type than NTNDArray
        else:
            self.updateOutputChannel(pva.PvObject(SUM, {"uniqueId": image["uniqueId"], "made_s": made_s(image),
                                                        "sum": value}))
        return image


class Collector(UserDataProcessor):
    """Keeps what arrives; of whole frames it takes the sum itself, after the clock was read."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        UserDataProcessor.__init__(self, config or {})
        self.whole = os.environ["JOB_WHOLE"] == "1"
        self.rows: list[tuple[int, int, float, float]] = []

    def process(self, found: Any) -> Any:
        """One frame or sum."""
        now_s = time.time()
        value = job.total(found["value"][0]["ushortValue"]) if self.whole else found["sum"]
        self.rows.append((found["uniqueId"], value, made_s(found) if self.whole else found["made_s"], now_s))
        return found

    def stop(self) -> None:
        """The end: write all down."""
        Path(os.environ["JOB_OUT"]).write_text(json.dumps(self.rows), encoding="utf8")


def produce(frames: int, per_s: float) -> None:
    """The source: primes the chain, then the frames."""
    images = [AdImageUtility.generateNtNdArray2D(0, frame) for frame in job.patterns()]
    server = pva.PvaServer()
    server.addRecord(IMAGE, pva.NtNdArray(), None)

    def give(number: int, image: Any) -> None:
        image["uniqueId"] = number
        image["timeStamp"] = pva.PvTimeStamp(time.time())
        server.update(IMAGE, image)

    for _ in range(int(PRIME_S / PRIME_STEP_S)):
        give(PRIME, images[0])
        time.sleep(PRIME_STEP_S)
    for number in job.paced(frames, per_s):
        give(number + 1, images[number % job.PATTERNS])
    time.sleep(2.0)


def run(frames: int, per_s: float, whole: bool) -> None:
    """The whole chain."""
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "rows.json", (Path(folder) / "log").open("wb")
        around = {**os.environ, "JOB_WHOLE": str(int(whole)), "JOB_OUT": str(out), "PYTHONPATH": str(HERE.parent),
                  "EPICS_PVA_ADDR_LIST": "127.0.0.1", "EPICS_PVA_AUTO_ADDR_LIST": "NO",
                  "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1"}

        def start(*command: str) -> subprocess.Popen[bytes]:
            started.append(subprocess.Popen(command, env=around, stdin=subprocess.PIPE, stdout=log, stderr=log))
            return started[-1]

        def consumer(name: str, takes: str, *more: str) -> subprocess.Popen[bytes]:
            program = str(Path(sys.executable).parent / "pvapy-hpc-consumer")
            return start(program, "--input-channel", takes, "--control-channel", f"{name}:*:control",
                         "--status-channel", f"{name}:*:status", "--processor-file", str(HERE), "--processor-class",
                         name.capitalize(), "--report-period", "0", "--disable-curses", "--server-queue-size",
                         str(QUEUE), *more)

        try:
            source = start(sys.executable, str(HERE), "produce", "--frames", str(frames), "--per-s", str(per_s))
            time.sleep(1.0)
            worker = consumer("worker", IMAGE, "--output-channel", "worker:*:sums")
            time.sleep(2.0)
            collector = consumer("collector", SUMS, "--skip-initial-updates", "0")
            source.wait(PRIME_S + 60 + (frames / per_s if per_s else 60))
            for process in (collector, worker):
                process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + 15
            while not (out.exists() and out.stat().st_size) and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(0.5)
            rows = [(number - 1, *rest) for number, *rest in json.loads(out.read_text(encoding="utf8"))
                    if number != PRIME]
            job.tell(PEER, frames, rows, f"offered {per_s:g} frames/s; queues of {QUEUE}; drops what it cannot hold")
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            job.fail(PEER, f"{type(error).__name__}: {error}")
        finally:
            job.end(started)


if __name__ == "__main__":
    given = job.asked(__doc__.partition("\n")[0])
    if given.part == "produce":
        produce(given.frames, given.per_s)
    else:
        run(given.frames, given.per_s or 1000.0, given.whole)
