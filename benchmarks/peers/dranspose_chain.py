"""dranspose: a PUSH socket, its ingester, a worker and the reducer, with the controller and Redis beside them.

Every frame is an event that the controller assigns to a worker, ten in a row to the same one (`BATCH`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))

import job  # noqa: E402

PEER = "dranspose"
BATCH = 10
START_S, STALL_S = 60.0, 60.0


class Worker:
    """Sums a frame; the result, with the frame when it is to go on, is pickled to the reducer."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.whole = os.environ["JOB_WHOLE"] == "1"

    def process_event(self, event: Any, *_: Any, **__: Any) -> dict[str, Any] | None:
        """One event."""
        head, *parts = event.streams["det"].frames
        told = json.loads(head.bytes)
        if told["htype"] != "image":
            return None
        data = parts[0].buffer
        found = {"row": (told["frame"], job.total(data), told["made_s"])}
        return {**found, "frame": bytes(data)} if self.whole else found


class Reducer:
    """Keeps what arrives."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.publish: dict[str, Any] = {}
        self.rows: list[tuple[int, int, float, float]] = []

    def process_result(self, result: Any, *_: Any, **__: Any) -> None:
        """One result."""
        self.rows.append((*result.payload["row"], time.time()))

    def finish(self, *_: Any, **__: Any) -> None:
        """The end: write all down."""
        Path(os.environ["JOB_OUT"]).write_text(json.dumps(self.rows), encoding="utf8")


class Services:
    """The processes of dranspose, started and ended together."""

    def __init__(self, folder: Path, whole: bool) -> None:
        self.redis, self.control, reduce_http, reduce_data, ingest, self.source = job.free_ports(6)
        self.out = folder / "rows.json"
        self._log = (folder / "log").open("wb")
        self._around = {**os.environ, "REDIS_URL": f"redis://127.0.0.1:{self.redis}/0", "PYTHONPATH": str(HERE.parent),
                        "JOB_OUT": str(self.out), "JOB_WHOLE": str(int(whole)), "LOG_LEVEL": "WARNING"}
        self.started: list[subprocess.Popen[bytes]] = []
        self._start("redis-server", "--port", str(self.redis), "--bind", "127.0.0.1", "--save", "", "--appendonly",
                    "no", "--dir", str(folder))
        time.sleep(0.5)
        web = (sys.executable, "-m", "uvicorn", "--log-level", "warning", "--port")
        self._start(*web, str(self.control), "dranspose.controller:app")
        self._start(*web, str(reduce_http), "dranspose.reducer:app", REDUCER_CLASS="dranspose_chain:Reducer",
                    REDUCER_URL=f"tcp://localhost:{reduce_data}")
        part = (sys.executable, "-m", "dranspose.cli")
        self._start(*part, "ingester", "-c", "ZmqPullSingleIngester", "-n", "det", "-u",
                    f"tcp://127.0.0.1:{self.source}", INGESTER_URL=f"tcp://localhost:{ingest}")
        self._start(*part, "worker", "-n", "w", "-c", "dranspose_chain:Worker")

    def _start(self, *command: str, **more: str) -> None:
        self.started.append(subprocess.Popen(command, env={**self._around, **more}, stdout=self._log,
                                             stderr=self._log))

    def http(self, path: str, data: Any = None) -> Any:
        """Ask the controller."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.control}/api/v1/{path}", None if data is None else json.dumps(data).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def ready(self) -> bool:
        """Whether everybody has found everybody."""
        try:
            found = self.http("config")
            return bool(found["reducer"] and found["ingesters"] and found["workers"]
                        and found["workers"][0]["ingesters"] and found["ingesters"][0]["connected_workers"])
        except (OSError, urllib.error.URLError, KeyError, ValueError):
            return False


def send(services: Services, frames: int, per_s: float) -> int:
    """The producer; how many frames were taken before nothing moved for `STALL_S`."""
    import zmq

    socket: Any = zmq.Context.instance().socket(zmq.PUSH)
    socket.set_hwm(20)
    socket.setsockopt(zmq.SNDTIMEO, int(STALL_S * 1000))
    socket.bind(f"tcp://127.0.0.1:{services.source}")
    images = job.patterns()
    socket.send_json({"htype": "header", "filename": "", "msg_number": 0})
    try:
        for number in job.paced(frames, per_s):
            head = {"htype": "image", "frame": number, "shape": list(job.SHAPE), "type": "uint16",
                    "compression": "none", "msg_number": number + 1, "made_s": time.time()}
            socket.send_multipart([json.dumps(head).encode(), images[number % job.PATTERNS]], copy=False)
    except zmq.Again:
        return number
    socket.send_json({"htype": "series_end", "msg_number": frames + 1})
    return frames


def run(frames: int, per_s: float, whole: bool) -> None:
    """The whole chain."""
    if shutil.which("redis-server") is None:
        return job.fail(PEER, "needs the program redis-server, which is not here")
    with tempfile.TemporaryDirectory() as folder:
        begun_s = time.monotonic()
        services = Services(Path(folder), whole)
        try:
            while not services.ready():
                if time.monotonic() - begun_s > START_S:
                    return job.fail(PEER, f"its services were not ready after {START_S:g} s")
                time.sleep(0.2)
            start_s = time.monotonic() - begun_s
            table = [[{"constraint": number // BATCH}] for number in range(frames)]
            services.http("sequence", {"parts": {"main": {"det": table}}, "sequence": ["main"]})
            sent = send(services, frames, per_s)
            deadline = time.monotonic() + STALL_S
            while not (services.out.exists() and services.out.stat().st_size) and time.monotonic() < deadline:
                time.sleep(0.2)
            time.sleep(0.3)
            if not services.out.exists():
                return job.fail(PEER, f"sent {sent} frames, but the reducer had not finished {STALL_S:g} s later")
            rows = json.loads(services.out.read_text(encoding="utf8"))
            return job.tell(PEER, frames, rows, f"{BATCH} frames to a worker in a row; ready after {start_s:.1f} s; "
                                                "queues of 1000 messages without a limit in bytes")
        finally:
            job.end(services.started)


if __name__ == "__main__":
    given = job.asked(__doc__.partition("\n")[0])
    run(given.frames, given.per_s, given.whole)
