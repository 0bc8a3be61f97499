"""What people who look cost a stream: python benchmarks/viewers.py [--viewers 64] [--rounds 5] [--json FILE].

Runs of the same stream (a source, a transform, a solver, each a process; frames of 1 MiB, as fast as they go) with its
page take turns: nobody looks, then `--viewers` real web sockets, let in by the token, each with every picture open and
acknowledging what it gets. Printed: frames a second of both, their ratio, processor time of the process with the page,
and what the viewers saw. The viewers run in a process of the lowest priority, since they would be on other machines: it
gets what the stream and the page leave of the processors (SCHED_IDLE), and what it still took is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from websockets.asyncio.client import ClientConnection, connect

from camlink.display.live import Live
from camlink.display.terminal.bench import machine
from camlink.display.view import view
from camlink.display.web.access import Role
from camlink.display.web.server import PageServer
from camlink.runtime.run import run
from camlink.testing import toys
from camlink.workflow.graph import Workflow

SIDE = 724  # uint16: 1 MiB
WANTED = 0.95
VIEWS = 3
START_S = 20.0


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--viewers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--gap-s", type=float, default=0.0, help="a paced source: then only processor time tells")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--look", metavar="URL", help="used between the processes of a run")
    asked = parser.parse_args()
    if asked.look:
        asyncio.run(look(asked.look, asked.viewers))
        return
    rounds = []
    for number in range(asked.rounds):
        order = (0, asked.viewers) if number % 2 == 0 else (asked.viewers, 0)
        rounds.append({n: stream(asked.frames, asked.gap_s, n) for n in order})
        print(json.dumps({"load_1min": round(os.getloadavg()[0], 1), **rounds[-1]}), flush=True)
    record = judge(rounds, asked.viewers)
    print(f"{record['figure']:g} of the rate with {asked.viewers} viewers; {record['note']}")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine(), "cases": [record]}, indent=2), encoding="utf8")
    sys.exit(0 if record["checked"] else 1)


def stream(frames: int, gap_s: float, viewers: int) -> dict[str, Any]:
    """One run with so many viewers; frames a second, processor seconds of this process, pictures seen."""
    live = Live()
    flow = Workflow("viewed")
    camera = flow.add("camera", toys.camera, frames=frames, side=SIDE, gap_s=gap_s)
    added = flow.add("add", toys.add, flow.add("count", toys.count, camera))
    flow.add("look", view, camera, added, policy="latest")
    with PageServer(live) as page, tempfile.TemporaryDirectory() as folder:
        crowd = invite(page, viewers) if viewers else None
        process, begun_s = psutil.Process(), time.monotonic()
        before = process.cpu_times()
        report = run(flow, folder=Path(folder) / "run", screen=live, watch=live.put_status)
        spent, took_s = process.cpu_times(), time.monotonic() - begun_s
        seen = json.loads(crowd.communicate(b"over\n", 30)[0]) if crowd else {}
    assert report.verdict == "complete", report.reasons
    assert report.frames["delivered"] == frames
    between_s = (report.times["last_frame_s"] or 0.0) - (report.times["first_frame_s"] or 0.0)
    return {"frames_per_s": round((frames - 1) / between_s, 1), "made": live.made, "viewers": seen,
            "cpu_share": round((spent.user + spent.system - before.user - before.system) / took_s, 3)}


def invite(page: PageServer, viewers: int) -> subprocess.Popen[bytes]:
    """The viewers in a process of their own, all connected."""
    token = page.access.invite(Role.VIEWER)
    crowd = subprocess.Popen([sys.executable, __file__, "--look", f"{page.url}?token={token}", "--viewers",
                              str(viewers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + START_S
    while page.viewers < viewers:
        assert crowd.poll() is None, "the viewers could not come in"
        assert time.monotonic() < deadline, f"{page.viewers} of {viewers} viewers after {START_S:g} s"
        time.sleep(0.05)
    return crowd


async def look(url: str, viewers: int) -> None:
    """All viewers until a line comes in; prints what they saw."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    begun_s, idle_s = time.monotonic(), time.process_time()
    parts = urlsplit(url)
    cookie = let_in(parts.netloc, parts.query)
    seen: list[dict[str, Any]] = [{"pictures": 0, "bytes": 0, "ages": []} for _ in range(viewers)]
    looking = [asyncio.create_task(one(f"ws://{parts.netloc}/live", cookie, mine)) for mine in seen]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for task in looking:
        task.cancel()
    failed = [repr(e) for e in await asyncio.gather(*looking, return_exceptions=True)
              if not isinstance(e, asyncio.CancelledError)]
    ages = sorted(age for mine in seen for age in mine["ages"])
    print(json.dumps({"pictures": sum(mine["pictures"] for mine in seen),
                      "least": min(mine["pictures"] for mine in seen), "MB": sum(m["bytes"] for m in seen) // 1000000,
                      "age_ms_p50": round(1e3 * ages[len(ages) // 2]) if ages else None, "failed": failed[:3],
                      "cpu_share": round((time.process_time() - idle_s) / (time.monotonic() - begun_s), 3)}))


def let_in(place: str, query: str) -> str:
    """The cookie for a token."""
    asking = http.client.HTTPConnection(place, timeout=10)
    asking.request("GET", f"/login?{query}")
    answer = asking.getresponse()
    assert answer.status == 303, answer.status
    return answer.getheader("Set-Cookie", "").partition(";")[0]


async def one(address: str, cookie: str, seen: dict[str, Any]) -> None:
    """One viewer: open every picture, acknowledge what comes."""
    origin: Any = f"http://{urlsplit(address).netloc}"  # as a browser says it
    async with connect(address, origin=origin, additional_headers={"Cookie": cookie}, max_size=None,
                       compression=None) as socket:
        async for message in socket:
            if isinstance(message, bytes):
                await drawn(socket, message, seen)
            elif (told := json.loads(message))["type"] == "pictures":
                for panel, picture in enumerate(told["pictures"][:VIEWS]):
                    await socket.send(json.dumps({"type": "subscribe", "panel": panel, "name": picture["name"]}))


async def drawn(socket: ClientConnection, message: bytes, seen: dict[str, Any]) -> None:
    """Count a picture and acknowledge it."""
    sequence, *_, made_ms = struct.unpack_from("<IIIId", message)
    seen["pictures"] += 1
    seen["bytes"] += len(message)
    seen["ages"].append(time.time() - made_ms / 1e3)
    await socket.send(struct.pack("<I", sequence))


def judge(rounds: list[dict[int, dict[str, Any]]], viewers: int) -> dict[str, Any]:
    """The record: the median of the ratios of each round, and what it cost."""
    ratios = [each[viewers]["frames_per_s"] / each[0]["frames_per_s"] for each in rounds]
    ratio = statistics.median(ratios)
    rates = {n: statistics.median(each[n]["frames_per_s"] for each in rounds) for n in (0, viewers)}
    shares = {n: statistics.median(each[n]["cpu_share"] for each in rounds) for n in (0, viewers)}
    seen = [each[viewers]["viewers"] for each in rounds]
    failed = [text for each in seen for text in each["failed"]]
    taken = (shares[viewers] - shares[0]) / (psutil.cpu_count() or 1)
    return {"case": f"viewers-{viewers}", "figure": round(ratio, 3), "unit": "of the rate without viewers",
            "beside": {"wanted": WANTED, "share of all processors taken by the page": round(taken, 4),
                       "frames/s without": rates[0], "frames/s with": rates[viewers]},
            "ratio": {"wanted": round(ratio / WANTED, 3)}, "checked": not failed and all(e["least"] for e in seen),
            "note": f"ratios {', '.join(f'{r:.3f}' for r in sorted(ratios))}; cores used by the process with the page "
                    f"{shares[0]:g} without and {shares[viewers]:g} with; pictures sent "
                    f"{statistics.median(e['pictures'] for e in seen):g} ({seen[-1]['MB']} MB), of an age of "
                    f"{seen[-1]['age_ms_p50']} ms; the viewers themselves took {seen[-1]['cpu_share']:g} cores; "
                    f"{failed or 'no viewer was lost'}", "rounds": rounds}


if __name__ == "__main__":
    main()
