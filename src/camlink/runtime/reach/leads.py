"""Leads: where ssh leads from one machine of a run to an outlet on another; asked for once, told with Connect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from camlink.carry.far.crossing import SCHEME
from camlink.carry.far.path import read_address
from camlink.runtime.messages import Connect


class Leads:
    """The leads of a run; `placers` by agent, of which those by ssh have some."""

    def __init__(self, placers: Mapping[str, Any]) -> None:
        self._placers = placers
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}

    def complete(self, message: Connect, to: str, hosts: Mapping[str, str], far: frozenset[str]) -> Connect:
        """The message for a worker of agent `to`, with what ssh leads to; `hosts` tells the agent of each address."""
        led = {}
        for address in message.addresses:
            if address.startswith(SCHEME) and address in hosts:
                if (address, to) not in self._known:
                    self._known[address, to] = self._find(read_address(address)[1], hosts[address], to, far)
                led[address] = self._known[address, to]
        return replace(message, led=led) if any(led.values()) else message

    def _find(self, socket: str, sender: str, receiver: str, far: frozenset[str]) -> tuple[str, ...]:
        if sender == receiver:
            return ()
        target: int | str = socket
        if sender in far:
            target = self._placers[sender].lead(socket, out=True) if sender in self._placers else 0
        if receiver in far and target:
            target = self._placers[receiver].lead(target, out=False) if receiver in self._placers else 0
        return (f"tcp://127.0.0.1:{target}",) if isinstance(target, int) and target else ()
