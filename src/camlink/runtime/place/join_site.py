"""A site by hand: somebody starts its agent there, with a key that we leave in the run's folder; both dial a relay."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from camlink.carry.far.gate import OfferGate
from camlink.carry.far.keys import LIFE_S, make_keys, write_keys, write_private
from camlink.carry.far.ticket import May, RelayKey, Ticket
from camlink.clock import now_s
from camlink.errors import InputError, StorageError
from camlink.runtime.events import Placing
from camlink.runtime.messages import Message
from camlink.runtime.reach.dial import AGENT, MASTER, lane_of
from camlink.runtime.reach.landing import Landing

WORDS: Final = "join"
LEAVE_S: Final = 8.0


class JoinOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a workflow says of a site by hand: the relay that it and we reach and the relay's secret, or our address.

    An agent whose time ends (in a job, or with `--walltime`) is to be relieved `margin_s` before.
    """

    relay: str = ""
    relay_key: Path | None = None
    address: str = "127.0.0.1"
    wait_s: float = 600.0
    margin_s: float = 300.0

    def key(self) -> RelayKey:
        """The secret of the relay; raises InputError."""
        if self.relay_key is None:
            raise InputError(f"a site by join with `relay: {self.relay}` needs `relay_key`, the key file of that relay")
        return RelayKey.read(self.relay_key)


class JoinPlacer:
    """Waits for an agent that somebody starts (master.Placer); keys/SITE/join says with which command."""

    def __init__(self, site: str, options: JoinOptions, folder: Path, relay: int, run: str) -> None:
        self._site, self._options, self._relay = site, options, relay
        self._run, self._folder = run, folder / "keys" / site
        self._relay_key = options.key() if options.relay else None
        self._landing: Landing | None = None
        self._gate: OfferGate | None = None
        self._lost = ""
        self._renewed_s = now_s()
        self._news: list[Message] = []

    def start(self, master: str) -> None:
        """Open the way to us and leave what the agent needs."""
        keys = make_keys(self._run, {MASTER: [AGENT], AGENT: [MASTER]})
        options, relay_key = self._options, self._relay_key
        self._landing = Landing(self._site, master, keys[MASTER], "127.0.0.1" if relay_key else options.address)
        key = write_keys(keys[AGENT], self._folder)
        if relay_key is not None:
            self._gate = OfferGate(self._ticket(relay_key, "offer"), lane_of(self._site),
                                   f"127.0.0.1:{self._landing.port}")
            self._leave_ticket(relay_key)
            way = ["--join", f"ticket:{self._folder / 'agent.ticket'}"]
        else:
            way = ["--join", f"tcp://{options.address}:{self._landing.port}",
                   "--relay", f"{options.address}:{self._relay}"]
        words = ["camlink", "agent", *way, "--key", str(key), "--site", self._site]
        write_private(self._folder / WORDS, shlex.join(words).encode() + b"\n")
        self._news.append(Placing(agent=self._site, text=f"waits until somebody runs what {self._folder / WORDS} says"))

    def _leave_ticket(self, key: RelayKey) -> None:
        """The agent calls with this one until it has come; then those of the links take its place."""
        write_private(self._folder / "agent.ticket", msgspec.json.encode(self._ticket(key, "call")))

    def _ticket(self, key: RelayKey, may: May) -> Ticket:
        return key.ticket(self._options.relay, self._run, may, LIFE_S)

    def lost(self) -> str:
        """Why the agent is given up, or nothing; only its silence tells."""
        return self._lost

    def news(self, *, last: bool = False) -> list[Message]:
        """Where the command is that starts it; who was turned away here."""
        told, self._news = self._news, []
        if self._gate is not None and self._relay_key is not None and now_s() > self._renewed_s + LIFE_S / 4:
            self._renewed_s = now_s()
            self._gate.ticket = self._ticket(self._relay_key, "offer")
            with suppress(StorageError):  # a full disk keeps out only who comes now
                self._leave_ticket(self._relay_key)
        return told + (self._landing.news(last=last) if self._landing is not None else [])

    def lead(self, target: int | str, *, out: bool) -> int:
        """No way of ours leads there."""
        return 0

    def kill(self) -> None:
        """Give it up: from now on it is not let in."""
        self._lost = f"the agent of site '{self._site}' did not answer; it was started by hand, nobody else can end it"

    def close(self) -> bool:
        """Let the agent hear the end, close the way to us and remove what it needed."""
        if self._landing is not None:
            self._landing.wait_for_end(0 if self._lost else LEAVE_S)
            self._landing.close()
        if self._gate is not None:
            self._gate.close()
        self._gate = self._landing = None
        for path in self._folder.glob("*"):
            path.unlink()
        if self._folder.exists():
            self._folder.rmdir()
        return True
