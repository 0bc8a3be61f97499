"""Kinds of link, by address: what makes an outlet, and what makes the inlet that fits an address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zmq

from camlink.carry.disk.spill import Spill
from camlink.carry.disk.spilling import SpillingOutlet
from camlink.carry.far.crossing import SCHEME, Crossing
from camlink.carry.link import DEFAULT_LIMIT_BYTES, Inlet, Kind, Outlet
from camlink.carry.memory import MemoryOutlet
from camlink.carry.ring.inlet import RingInlet
from camlink.carry.ring.outlet import RingOutlet
from camlink.carry.zmq import ZmqInlet, ZmqOutlet
from camlink.errors import InputError, StorageError


def make_outlet(context: zmq.Context[Any], kind: Kind, link: str, stem: str, *, receivers: int = 1,
                policy: str = "block", limit_bytes: int = DEFAULT_LIMIT_BYTES, spill: Path | None = None,
                crossing: Crossing | None = None) -> Outlet:
    """The sending end of a link; `stem` is a path that is free for it, in a folder of its user alone.

    `spill` is the file where blocks wait under the policy of that name; the next attempt finds there what was left.
    """
    if policy == "spill" and spill is None:
        raise InputError(f"link {link}: policy 'spill' needs a file to write to")
    outlet: Outlet
    if kind == "zmq":
        outlet = ZmqOutlet(context, f"ipc://{stem}", link, receivers=receivers, policy=policy, limit_bytes=limit_bytes)
    elif kind == "shm":
        outlet = RingOutlet(f"{stem}.shm", link, receivers=receivers, policy=policy, limit_bytes=limit_bytes)
    elif kind == "far":
        outlet = _crosses(link, crossing).outlet(link, stem, receivers=receivers, policy=policy,
                                                 limit_bytes=limit_bytes)
    else:
        outlet = MemoryOutlet(link, f"inproc://{stem}", receivers=receivers, policy=policy, limit_bytes=limit_bytes)
    if policy != "spill" or spill is None:
        return outlet
    try:
        return SpillingOutlet(outlet, Spill(spill))
    except StorageError:
        outlet.close()
        raise


def make_inlet(context: zmq.Context[Any], address: str, link: str, name: str, attempt: int = 0,
               crossing: Crossing | None = None, folder: Path | None = None, led: tuple[str, ...] = ()) -> Inlet:
    """The receiving end that fits an address; `name` and `attempt` tell the sender who is there."""
    scheme, _, place = address.partition("://")
    if scheme == "shm":
        return RingInlet(place, link, name, attempt)
    if scheme in ("ipc", "tcp", "inproc"):
        return ZmqInlet(context, address, link, name, attempt)
    if address.startswith(SCHEME) and folder is not None:
        return _crosses(link, crossing).inlet(address, link, name, attempt, folder, led)
    raise InputError(f"link {link}: nothing leads to the address '{address[:100]}'")


def _crosses(link: str, crossing: Crossing | None) -> Crossing:
    if crossing is None:
        raise InputError(f"link {link} leads to another machine, and there are no keys for it")
    return crossing
