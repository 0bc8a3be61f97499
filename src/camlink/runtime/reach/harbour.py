"""Harbour: where links between the machines of a run meet: one relay beside the master, one key a role, tickets."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from camlink.carry.far.crossing import Passage
from camlink.carry.far.gate import CallGate
from camlink.carry.far.keys import make_keys
from camlink.carry.far.link import RECEIVER, SENDER
from camlink.carry.far.relay import Relay
from camlink.carry.far.ticket import MAY, RelayKey
from camlink.clock import now_s
from camlink.errors import InputError
from camlink.runtime.inventory import network
from camlink.runtime.messages import Message, StartScheduler
from camlink.runtime.reach.dial import pages_of
from camlink.runtime.reach.refused import tell
from camlink.workflow.graph import Workflow
from camlink.workflow.needs import ANY

LEASE_S: Final = 4 * 3600.0
"""The life of keys and tickets of links [s]; it is prolonged when a quarter is over, as long as the run lives."""
NEAR: Final = ("inline", "local")


class Harbour:
    """A relay in a thread of the master; far machines reach its port as they reach the landing of their agents.

    With `outside`, the address and the secret of another relay, the links meet there, and no port is opened here.
    """

    def __init__(self, run: str, host: str = "127.0.0.1", listen: tuple[str, ...] = (),
                 outside: tuple[str, RelayKey] | None = None) -> None:
        address, key = outside or ("", RelayKey(secrets.token_bytes(32)))
        self._relay = None if outside else Relay(key, host)
        self.port = 0
        if self._relay is not None:
            address = self._relay.address
            self.port = int(address.rpartition(":")[2])
            self._thread = threading.Thread(target=self._relay.run, name="relay", daemon=True)
            self._thread.start()
        self._run, self._address, self._key, self._listen = run, address, key, listen
        self._keys = make_keys(run, {SENDER: [RECEIVER], RECEIVER: [SENDER]}, LEASE_S)
        self._gates: dict[str, CallGate] = {}
        self.passage = self._issue()

    def _issue(self) -> bytes:
        offer, self._call = (self._key.ticket(self._address, self._run, may, LEASE_S) for may in MAY)
        for gate in self._gates.values():
            gate.ticket = self._call
        return Passage(self._keys[SENDER], self._keys[RECEIVER], offer, self._call, self._listen).sealed()

    def see(self, agent: str, start: StartScheduler) -> StartScheduler:
        """Lead to the dashboard of a cluster on another machine, if it has one; the message lets its agent offer it."""
        if not start.dashboard.socket:
            return start
        self.call(pages_of(agent), Path(start.dashboard.socket))
        return replace(start, passage=self.passage)

    def call(self, lane: str, here: Path) -> None:
        """Let a unix socket `here` lead to who offers this lane, and to no other."""
        for other, gate in list(self._gates.items()):
            if gate.path == here and other != lane:
                self._gates.pop(other).close()
        if lane not in self._gates:
            self._gates[lane] = CallGate(self._call, lane, here)

    def renew(self) -> bool:
        """Prolong the life of keys and tickets when a quarter of it is over; true then: tell all."""
        until_s = now_s() + LEASE_S
        if until_s - self._keys[SENDER].until_s < LEASE_S / 4:
            return False
        self._keys = {role: replace(keys, until_s=until_s) for role, keys in self._keys.items()}
        self.passage = self._issue()
        return True

    def news(self, *, last: bool = False) -> list[Message]:
        """Who was turned away since the last call, now and then; the `last` time all."""
        if self._relay is None:
            return []
        return tell(self._relay.refusals, f"the relay of this run, port {self.port}", last=last)

    def close(self) -> None:
        """Close the port and everything that goes through."""
        for gate in self._gates.values():
            gate.close()
        if self._relay is not None:
            self._relay.close()
            self._thread.join(5)


def open_harbour(workflow: Workflow, run: str) -> Harbour | None:
    """A harbour when some site is on another machine; at the address where those sites reach this one."""
    far = [site for site in workflow.sites.values() if site.placer not in NEAR]
    if not far:
        return None
    relays = {str(site.options.get("relay", "")) for site in far}
    if len(relays) > 1:
        raise InputError(f"workflow '{workflow.name}': a run has one relay, its far sites name "
                         f"{', '.join(sorted(relay or 'none (that is, one beside the master)' for relay in relays))}")
    if relay := relays.pop():
        key = next(site.options.get("relay_key") for site in far)
        if not key:
            raise InputError(f"workflow '{workflow.name}': `relay: {relay}` needs `relay_key`, the key file of it")
        return Harbour(run, outside=(relay, RelayKey.read(Path(str(key)).expanduser())))
    hosts = [str(site.options["address"]) for site in far if "address" in site.options]
    asked = {str(site.options["listen"]) for site in workflow.sites.values()
             if site.placer in NEAR and "listen" in site.options}
    return Harbour(run, hosts[0] if hosts else "127.0.0.1", tuple(network()) if ANY in asked else tuple(sorted(asked)))
