"""A link in a network of its own: a firewall drops its direct way, before it begins or in the middle.

Its sender can be dialled there (`outward`) or only its receiver (`inward`). All ports but the relay's are dropped.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import zmq

from camlink.carry.envelope import encode
from camlink.carry.far.admission import Admission
from camlink.carry.far.gate import CallGate, OfferGate
from camlink.carry.far.keys import make_keys
from camlink.carry.far.link import RECEIVER, SENDER, FarInlet, FarOutlet
from camlink.carry.far.path import Way
from camlink.carry.far.relay import Relay
from camlink.carry.far.ticket import RelayKey
from camlink.testing.ends import numbered


def nft(*words: str) -> None:
    subprocess.run(["nft", *words], check=True, timeout=20)


def drop_all_but(relay: Relay) -> None:
    port = relay.address.rpartition(":")[2]
    for end in ("dport", "sport"):
        nft("add", "rule", "inet", "fw", "in", "tcp", end, port, "accept")
    nft("add", "rule", "inet", "fw", "in", "meta", "l4proto", "tcp", "drop")


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def main(drop_at: int, side: str) -> None:
    """Send 200 blocks; the direct way is dropped when `drop_at` of them have arrived."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=20)
    nft("add", "table", "inet", "fw")
    nft("add", "chain", "inet", "fw", "in", "{ type filter hook input priority 0 ; }")
    key = RelayKey(b"k" * 32)
    relay = Relay(key)
    Thread(target=relay.run, daemon=True).start()
    offer, call = (key.ticket(relay.address, "r", may, 600) for may in ("offer", "call"))
    keys = make_keys("r", {SENDER: [RECEIVER], RECEIVER: [SENDER]})
    context = zmq.Context()
    admission = Admission(context)
    with TemporaryDirectory() as folder:
        outlet = FarOutlet(context, f"ipc://{folder}/out", "a->b", keys[SENDER], admission, limit_bytes=400_000)
        direct = [Way("direct", outlet.listen("127.0.0.1"))] if side == "outward" else []
        if not drop_at:
            drop_all_but(relay)
        with ExitStack() as stack:
            gate = stack.enter_context(CallGate(call, "l", Path(folder) / "in"))
            if not drop_at or side == "inward":  # which is told by this way where to dial
                stack.enter_context(OfferGate(offer, "l", f"{folder}/out"))
            inlet = FarInlet(context, [*direct, Way("relay", f"ipc://{gate.path}")], "a->b", keys[RECEIVER], "b",
                             listen=[] if direct else ["127.0.0.1"])
            got, sent, deadline_s = [], 0, time.monotonic() + 45
            while (len(got) < 200 or outlet.account.kept) and time.monotonic() < deadline_s:
                outlet.pump()
                inlet.pump()
                if sent < 200 and outlet.ready:
                    block = numbered(sent, 20_000)
                    sent += outlet.offer(block, encode(block))
                if (taken := inlet.receive()) is not None:
                    if not got:
                        say("begins by", inlet.account.path.by)
                    got.append(taken.header.sequence)
                    inlet.release()
                    if len(got) == drop_at:
                        if direct:
                            stack.enter_context(OfferGate(offer, "l", f"{folder}/out"))  # this way is there by now
                        drop_all_but(relay)
                else:
                    time.sleep(0.0005)
            say("ends by", inlet.account.path.by)
            say("whole", sorted(got) == list(range(200)), outlet.account.lost, outlet.account.snapshot().fault())
            inlet.abandon()
        outlet.close()
    admission.close()
    context.destroy(linger=0)
    relay.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
