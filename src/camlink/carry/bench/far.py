"""What links between machines carry: direct with CURVE and through a relay, beside hand-written pyzmq in one run."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import zmq

from camlink.block import Block, Header, Result, Scan
from camlink.carry.envelope import encode
from camlink.carry.far.admission import Admission
from camlink.carry.far.gate import CallGate, OfferGate
from camlink.carry.far.keys import Keys, make_keys
from camlink.carry.far.link import RECEIVER, SENDER, FarInlet, FarOutlet
from camlink.carry.far.relay import Relay
from camlink.carry.far.ticket import RelayKey, Ticket
from camlink.clock import now_s
from camlink.errors import PeerLost

FRAME_BYTES: Final = 1 << 20
FRAMES: Final = 400
ROUNDS: Final = 5
DISTINCT: Final = 31
PATIENCE_S: Final = 60.0
_CREDIT_BYTES: Final = 32 << 20
_SCAN: Final = Scan(id="bench", expected=FRAMES, shape=(512, 512), pixel_m=(1e-5, 1e-5), distance_m=1.0,
                    energy_eV=800.0, span_m=(0.0, 0.0, 1.0, 1.0))


class Route(NamedTuple):
    """How one lane of a measurement goes: direct, through a relay, or by `through`, from where ssh leads there."""

    keys: dict[str, Keys]
    through: str = ""
    offer: Ticket | None = None
    call: Ticket | None = None
    lane: str = ""
    folder: str = ""
    nbytes: int = FRAME_BYTES
    frames: int = FRAMES
    pause_s: float = 0.0


class Measured(NamedTuple):
    """When the first frame came and the last [s], CPU time of both ends [s], whether all were right, the hop [ms]."""

    first_s: float
    last_s: float
    cpu_s: float
    good: bool
    hop_ms: float


class Rate(NamedTuple):
    """MB/s, and CPU time of both ends together [ns] for each byte, which the load of a machine touches less."""

    mb_per_s: float
    cpu_ns: float


Ends = tuple[Callable[..., None], Callable[..., None]]
"""What the processes of sender and receiver do."""


def measure(case: str) -> dict[str, Any]:
    """Case `curve-tcp`, `relay` or `lanes`."""
    return {"curve-tcp": _curve, "relay": _relayed, "lanes": _lanes}[case]()


def _curve() -> dict[str, Any]:
    """Case `curve-tcp`: MB/s of one encrypted lane, beside pyzmq CURVE by hand."""
    rates, good = in_turns({"ours": (OURS, direct), "pyzmq CURVE by hand": (HAND, direct)})
    return recorded("curve-tcp", rates, good, one_by_one(direct_route()))


def _relayed() -> dict[str, Any]:
    """Case `relay`: MB/s of one lane through a relay with both ends dialling outward, beside the direct lane."""
    with _relay() as (address, key), tempfile.TemporaryDirectory(prefix="camlink-bench-") as folder:
        offer, call = key.ticket(address, "bench", "offer", 3600), key.ticket(address, "bench", "call", 3600)
        numbers = count()

        def relayed() -> Route:
            return direct_route()._replace(offer=offer, call=call, lane=f"lane {next(numbers)}", folder=folder)

        rates, good = in_turns({"ends by relay": (OURS, lambda: [relayed()]), "direct": (OURS, direct),
                                "pyzmq CURVE by hand, direct": (HAND, direct)})
        return recorded("relay", rates, good, one_by_one(relayed()))


def _lanes() -> dict[str, Any]:
    """Case `lanes`: whether two encrypted connections at once carry more than one: by hand, and two links of ours."""
    rates, good = in_turns({"two links": (OURS, both), "one link": (OURS, direct), "two by hand": (HAND, both),
                            "one by hand": (HAND, direct)})
    ours, one, hand, hand_one = rates.values()
    found = recorded("lanes", rates, good)
    bound = 2e3 / statistics.median(rate.cpu_ns for rate in hand_one)
    found["beside"]["all that two cores can do"] = round(bound, 1)
    found["ratio"] = {"one link": ratio(ours, one), "by hand, two to one": ratio(hand, hand_one)}
    found["note"] += "; each connection has one thread that encrypts and one that decrypts"
    return found


def in_turns(ways: Mapping[str, tuple[Ends, Callable[[], Sequence[Route]]]]) -> tuple[dict[str, list[Rate]], bool]:
    """The rates of several ways, which take turns in every round, and whether every frame arrived unharmed."""
    rates: dict[str, list[Rate]] = {name: [] for name in ways}
    good = True
    for _ in range(ROUNDS):
        for name, (ends, routes) in ways.items():
            figure, right = rate(ends, *routes())
            rates[name].append(figure)
            good = good and right
    return rates, good


def recorded(case: str, rates: Mapping[str, list[Rate]], good: bool, quiet: Measured | None = None) -> dict[str, Any]:
    """The record of a case: the first way beside the others."""
    (_, ours), *others = rates.items()
    return {"case": case, "figure": median(ours), "unit": "MB/s",
            "beside": {name: median(some) for name, some in others},
            "ratio": {name: ratio(ours, some) for name, some in others},
            "checked": good and (quiet is None or quiet.good), "note": _note(rates, quiet)}


def median(rates: list[Rate]) -> float:
    """Of the rates [MB/s]."""
    return round(statistics.median(rate.mb_per_s for rate in rates), 1)


def ratio(rates: list[Rate], others: list[Rate]) -> float:
    """The median of the rounds' ratios."""
    return round(statistics.median(a.mb_per_s / b.mb_per_s for a, b in zip(rates, others, strict=True)), 3)


def _note(rates: Mapping[str, list[Rate]], quiet: Measured | None) -> str:
    """What was measured, and the CPU time of the ends."""
    cpu = ", ".join(f"{name} {statistics.median(rate.cpu_ns for rate in some):.2f}" for name, some in rates.items())
    hop = f"; a block of 4 KiB takes {quiet.hop_ms:.2f} ms" if quiet is not None else ""
    return f"frames of 1 MiB, {ROUNDS} rounds in turn, medians; CPU time of both ends in ns a byte: {cpu}{hop}"


def direct_route() -> Route:
    """A lane that the receiver dials itself, with new keys."""
    return Route(make_keys("bench", {SENDER: [RECEIVER], RECEIVER: [SENDER]}))


def direct() -> list[Route]:
    """One of them."""
    return [direct_route()]


def both() -> list[Route]:
    """Two at once."""
    return [direct_route(), direct_route()]


def one_by_one(route: Route) -> Measured:
    """Blocks of 4 KiB, each when the one before has long arrived."""
    return _run(OURS, [route._replace(frames=200, nbytes=4096, pause_s=0.002)])[0]


def rate(ends: Ends, *routes: Route) -> tuple[Rate, bool]:
    """How fast these lanes are together, and whether every frame arrived unharmed."""
    found = _run(ends, routes)
    nbytes = sum(route.nbytes * (route.frames - 1) for route in routes)
    wall_s = max(one.last_s for one in found) - min(one.first_s for one in found)
    return Rate(nbytes / 1e6 / wall_s, sum(one.cpu_s for one in found) / nbytes * 1e9), all(one.good for one in found)


def _run(ends: Ends, routes: Sequence[Route]) -> list[Measured]:
    """Run a sender and a receiver process for each route, all at once."""
    spawn = multiprocessing.get_context("spawn")
    answers, started = [], []
    for route in routes:
        ours, theirs = spawn.Pipe()
        here, there = spawn.Pipe()
        answers.append(ours)
        started += [spawn.Process(target=ends[0], args=(route, there), daemon=True),
                    spawn.Process(target=ends[1], args=(route, here, theirs), daemon=True)]
    for process in started:
        process.start()
    try:
        return [_answer(answer) for answer in answers]
    finally:
        for process in started:
            process.join(5)
            process.kill()
            process.join()


def _answer(end: Connection) -> Measured:
    if not end.poll(PATIENCE_S):
        raise PeerLost(f"the measurement of a link did not end in {PATIENCE_S:g} s; is the machine overloaded?")
    return Measured(*end.recv())


def _block(route: Route, number: int) -> Block:
    return Result(Header(scan=_SCAN, made_s=now_s(), sequence=number),
                  {"frame": np.full(route.nbytes, number % DISTINCT, np.uint8)})


def _send(route: Route, there: Connection) -> None:
    context: zmq.Context[Any] = zmq.Context()
    with ExitStack() as stack:
        admission = Admission(context)
        address = f"ipc://{route.folder}/{route.lane}.out" if route.folder else "tcp://127.0.0.1:*"
        outlet = FarOutlet(context, address, "bench", route.keys[SENDER], admission, limit_bytes=_CREDIT_BYTES)
        if route.offer:
            stack.enter_context(OfferGate(route.offer, route.lane, address.removeprefix("ipc://")))
        there.send(outlet.address)
        _pump_until(outlet, lambda: outlet.ready)
        blocks = [_block(route, number) for number in range(min(route.frames, DISTINCT))]
        parts = [encode(block) for block in blocks]
        begun_s = time.process_time()
        for number in range(route.frames):
            block = _block(route, number) if route.pause_s else blocks[number % DISTINCT]
            encoded = encode(block) if route.pause_s else parts[number % DISTINCT]
            while not outlet.offer(block, encoded):
                outlet.pollable.poll(100)
            if route.pause_s:
                time.sleep(route.pause_s)
        outlet.finish()
        _pump_until(outlet, lambda: outlet.finished)
        there.send(time.process_time() - begun_s)
        outlet.close()
        admission.close()
    context.term()


def _pump_until(outlet: FarOutlet, true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not true() and time.monotonic() < deadline_s:
        outlet.pollable.poll(20)
        outlet.pump()


def _take(route: Route, here: Connection, answer: Connection) -> None:
    context: zmq.Context[Any] = zmq.Context()
    with ExitStack() as stack:
        bound = here.recv()
        address = route.through or bound
        if route.call:
            gate = stack.enter_context(CallGate(route.call, route.lane, Path(route.folder) / f"{route.lane}.in"))
            address = f"ipc://{gate.path}"
        inlet = FarInlet(context, address, "bench", route.keys[RECEIVER], "b")
        times: list[float] = []
        begun_s = 0.0
        good = True
        while not inlet.ended:
            inlet.pollable.poll(100)
            while (block := inlet.receive()) is not None:
                times.append(time.monotonic())
                begun_s = begun_s or time.process_time()
                good = good and is_right(block.arrays["frame"], (len(times) - 1) % DISTINCT, route)
                del block
                inlet.release()
        cpu_s = time.process_time() - begun_s
        inlet.close()  # the sender ends when it hears this
        answer.send((times[0], times[-1], cpu_s + here.recv(), good and len(times) == route.frames,
                     inlet.account.snapshot().hop_ms(0.5)))
        context.term()


def is_right(frame: Any, value: int, route: Route) -> bool:
    """Whether a frame has its size and begins and ends with `value`."""
    return bool(frame.nbytes == route.nbytes and frame[0] == frame[-1] == value)


def _hand_send(route: Route, there: Connection) -> None:
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, _CREDIT_BYTES // route.nbytes)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, route.keys[SENDER].secret.encode())
    there.send(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}")
    frames = [np.full(route.nbytes, value, np.uint8) for value in range(DISTINCT)]
    begun_s = time.process_time()
    for number in range(route.frames):
        socket.send(frames[number % DISTINCT], copy=False)
    if there.poll(PATIENCE_S):
        there.send(time.process_time() - begun_s)
    socket.close()
    context.term()


def _hand_take(route: Route, here: Connection, answer: Connection) -> None:
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, _CREDIT_BYTES // route.nbytes)
    socket.setsockopt(zmq.CURVE_SERVERKEY, route.keys[RECEIVER].pin(SENDER))
    socket.setsockopt(zmq.CURVE_PUBLICKEY, route.keys[RECEIVER].public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, route.keys[RECEIVER].secret.encode())
    socket.connect(here.recv())
    times, good, begun_s = [], True, 0.0
    for number in range(route.frames):
        frame = np.frombuffer(socket.recv(copy=False).buffer, np.uint8)
        times.append(time.monotonic())
        begun_s = begun_s or time.process_time()
        good = good and is_right(frame, number % DISTINCT, route)
    cpu_s = time.process_time() - begun_s
    here.send("done")
    answer.send((times[0], times[-1], cpu_s + here.recv(), good, 0.0))
    socket.close()
    context.term()


OURS: Final = (_send, _take)
HAND: Final = (_hand_send, _hand_take)


class _relay:
    """A relay in a process of its own."""

    def __enter__(self) -> tuple[str, RelayKey]:
        spawn = multiprocessing.get_context("spawn")
        secret = b"bench" * 6 + b"!!"
        ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(secret, theirs), daemon=True)
        self._process.start()
        if not ours.poll(PATIENCE_S):
            raise PeerLost("the relay of the measurement did not start")
        return str(ours.recv()), RelayKey(secret)

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.join()


def _serve(secret: bytes, answer: Connection) -> None:
    relay = Relay(RelayKey(secret))
    answer.send(relay.address)
    threading.Thread(target=relay.run, daemon=True).start()
    threading.Event().wait()
