"""Kinds of link between processes, by address: what makes an outlet, and what makes the inlet that fits an address."""

from __future__ import annotations

from typing import Any

import zmq

from camlink.carry.link import DEFAULT_LIMIT_BYTES, Inlet, Kind, Outlet
from camlink.carry.ring import RingOutlet
from camlink.carry.ring_inlet import RingInlet
from camlink.carry.zmq import ZmqInlet, ZmqOutlet
from camlink.errors import InputError


def make_outlet(context: zmq.Context[Any], kind: Kind, link: str, stem: str, *, receivers: int = 1,
                policy: str = "block", limit_bytes: int = DEFAULT_LIMIT_BYTES) -> Outlet:
    """The sending end of a link; `stem` is a path that is free for it, in a folder of its user alone."""
    if kind == "zmq":
        return ZmqOutlet(context, f"ipc://{stem}", link, receivers=receivers, policy=policy, limit_bytes=limit_bytes)
    if kind == "shm":
        return RingOutlet(f"{stem}.shm", link, receivers=receivers, policy=policy, limit_bytes=limit_bytes)
    raise InputError(f"link {link}: a link of kind '{kind}' does not lead from process to process")


def make_inlet(context: zmq.Context[Any], address: str, link: str, name: str, attempt: int = 0) -> Inlet:
    """The receiving end that fits an address; `name` and `attempt` tell the sender who is there."""
    scheme, _, place = address.partition("://")
    if scheme == "shm":
        return RingInlet(place, link, name, attempt)
    if scheme in ("ipc", "tcp", "inproc"):
        return ZmqInlet(context, address, link, name, attempt)
    raise InputError(f"link {link}: nothing leads to the address '{address[:100]}'")
