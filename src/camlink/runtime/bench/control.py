"""How long a word takes from a master by an agent to a worker and back: by an encrypted line, and on one machine."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import zmq

from camlink.carry.far.admission import Admission, as_client, as_server
from camlink.carry.far.keys import Keys, make_keys
from camlink.errors import PeerLost
from camlink.runtime.agent import Agent
from camlink.runtime.control import Line
from camlink.runtime.inventory import take_inventory
from camlink.runtime.messages import Bye, Exited, Go, Linked, WorkerSpec, decode, encode
from camlink.runtime.reach.dial import AGENT, MASTER, Dial
from camlink.runtime.reach.landing import DOMAIN, Landing

TURNS: Final = 400
FIRST: Final = 20
PATIENCE_S: Final = 20.0
SITE, WORKER = b"far", b"echo/0/0"


class _Nobody:
    """The workers of an agent whose only worker is started by us (agent.Workers)."""

    alarm = -1
    running = ()

    def start(self, spec: WorkerSpec) -> None:
        raise NotImplementedError("the bench launches nobody")

    def kill(self, line: str) -> None:
        raise NotImplementedError("the bench kills nobody")

    def stopped(self) -> tuple[str, ...]:
        return ()

    def reap(self) -> list[Exited]:
        return []

    def end_all(self) -> None:
        return


def measure() -> dict[str, Any]:
    """Case `control`: round trips [ms] of a word to a worker."""
    with tempfile.TemporaryDirectory(prefix="camlink-bench-") as folder, ExitStack() as stack:
        context: zmq.Context[Any] = stack.enter_context(zmq.Context())
        raw_s = _times(lambda: _by_hand(context, stack))
        near_s = _times(lambda: _asks(context, stack, Path(folder), far=False))
        far_s = _times(lambda: _asks(context, stack, Path(folder), far=True))
    figure, near, raw = (round(statistics.median(times) * 1e3, 3) for times in (far_s, near_s, raw_s))
    p99 = statistics.quantiles(far_s, n=100)[98] * 1e3
    return {"case": "control", "figure": figure, "unit": "ms",
            "beside": {"agent on this machine": near, "pyzmq CURVE by hand, one hop": raw},
            "ratio": {"agent on this machine": round(figure / near, 3),
                      "pyzmq CURVE by hand, one hop": round(figure / raw, 3)},
            "checked": min(len(far_s), len(near_s), len(raw_s)) == TURNS,
            "note": f"{TURNS} round trips from a master by an agent to a worker, medians; p99 {p99:.3f} ms"}


def _times(prepare: Callable[[], Callable[[], None]]) -> list[float]:
    ask, times = prepare(), []
    for _ in range(FIRST + TURNS):
        begun_s = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun_s)
    return times[FIRST:]


def _asks(context: zmq.Context[Any], stack: ExitStack, folder: Path, *, far: bool) -> Callable[[], None]:
    """Start an agent and a worker; what is given sends a word to the worker and waits for its answer."""
    name = "far" if far else "near"
    master = stack.enter_context(context.socket(zmq.ROUTER))
    master.linger = 0
    master.bind(f"ipc://{folder}/{name}")
    keys = make_keys("bench", {MASTER: [AGENT], AGENT: [MASTER]})
    where = f"ipc://{folder}/{name}"
    if far:
        where = stack.enter_context(Landing(SITE.decode(), where, keys[MASTER])).address
    address = f"ipc://{folder}/{name}-agent"
    _start(stack, _serve, where, address, keys[AGENT] if far else None, folder)
    _start(stack, _echo, address)
    stack.callback(lambda: master.send_multipart([SITE, b"", encode(Bye())]))
    go = [SITE, WORKER, encode(Go())]

    def hear() -> None:
        while not isinstance(decode(_heard(master)[-1]), Linked):
            pass

    def ask() -> None:
        master.send_multipart(go)
        hear()

    hear()  # the worker is there
    return ask


def _by_hand(context: zmq.Context[Any], stack: ExitStack) -> Callable[[], None]:
    keys = make_keys("bench", {MASTER: [AGENT], AGENT: [MASTER]})
    admission = Admission(context)
    stack.callback(admission.close)
    admission.admit(DOMAIN, keys[MASTER], AGENT)
    socket = stack.enter_context(context.socket(zmq.ROUTER))
    socket.linger = 0
    as_server(keys[MASTER], DOMAIN)(socket)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    _start(stack, _echo_by_hand, port, keys[AGENT])
    who = _heard(socket)[0]
    word = encode(Go())

    def ask() -> None:
        socket.send_multipart([who, word])
        _heard(socket)

    return ask


def _heard(socket: zmq.Socket[Any]) -> list[bytes]:
    if not socket.poll(int(PATIENCE_S * 1000)):
        raise PeerLost("the other process of the measurement says nothing; is the machine overloaded?")
    return socket.recv_multipart()


def _start(stack: ExitStack, body: Callable[..., None], *given: Any) -> None:
    process = multiprocessing.get_context("spawn").Process(target=body, args=given, daemon=True)
    process.start()

    def end() -> None:
        process.kill()
        process.join()

    stack.callback(end)


def _serve(master: str, address: str, keys: Keys | None, folder: Path) -> None:
    context: zmq.Context[Any] = zmq.Context()
    dial = Dial(master, keys, folder, SITE.decode()) if keys is not None else None
    Agent(SITE.decode(), context, master, address, _Nobody(), take_inventory(folder), dial).run()


def _echo(address: str) -> None:
    context: zmq.Context[Any] = zmq.Context()
    answer = Linked(operator="echo", replica=0, link="l")
    line = Line(context, address, WORKER.decode(), lambda: None, lambda _: line.say(answer))
    line.say(answer)
    while True:
        line.hear(PATIENCE_S)


def _echo_by_hand(port: int, keys: Keys) -> None:
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    as_client(keys, MASTER)(socket)
    socket.connect(f"tcp://127.0.0.1:{port}")
    socket.send(b"")
    while True:
        socket.send(socket.recv())
