"""The link protocol against a model: receivers come, take, finish, die, are replaced and leave in any order."""

from __future__ import annotations

import shutil
import tempfile

import zmq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from camlink.carry.kinds import make_inlet, make_outlet
from camlink.carry.link import Inlet, Kind
from camlink.carry.memory import MemoryOutlet
from camlink.testing.ends import NBYTES, Ends, offer, until

LIMIT = 6 * NBYTES
NAMES = ("a", "b", "c")


class Model(RuleBasedStateMachine):
    """Every block that was taken is finished by somebody, and comes twice only with a mark."""

    kind: Kind = "memory"

    @initialize(policy=st.sampled_from(["block", "block", "latest", "drop_oldest", "sample(3)"]))
    def start(self, policy: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="lm-")
        self.context = zmq.Context.instance()
        outlet = make_outlet(self.context, self.kind, "l", f"{self.folder}/s", receivers=0, policy=policy,
                             limit_bytes=LIMIT)

        def join(name: str, attempt: int) -> Inlet:
            if isinstance(outlet, MemoryOutlet):
                return outlet.join(name, attempt)
            return make_inlet(self.context, outlet.address, "l", name, attempt)

        self.ends, self.lossless = Ends(outlet, join), policy == "block"
        self.inlets: dict[str, Inlet] = {}
        self.attempts = dict.fromkeys(NAMES, 0)
        self.held: dict[str, list[int]] = {}
        self.taken: set[int] = set()
        self.finished: set[int] = set()
        self.number = 0

    @rule(nbytes=st.sampled_from([1, NBYTES, 5000, 3 * LIMIT]))
    def offer(self, nbytes: int) -> None:
        if offer(self.ends, self.number, nbytes):
            self.taken.add(self.number)
            self.number += 1
        else:
            assert self.lossless

    @rule(name=st.sampled_from(NAMES))
    def join(self, name: str) -> None:
        if name not in self.inlets:
            self.ends.outlet.expect(len(self.inlets) + 1)
            self._join(name)

    @rule(name=st.sampled_from(NAMES))
    def replace(self, name: str) -> None:
        if name in self.inlets:
            self.inlets.pop(name).abandon()
            self._join(name)

    def _join(self, name: str) -> None:
        self.attempts[name] += 1
        self.inlets[name] = self.ends.join(name, self.attempts[name])
        self.held[name] = []
        until(lambda: self.ends.outlet.pump() or name in self.ends.outlet.receivers, name)

    @rule(name=st.sampled_from(NAMES))
    def receive(self, name: str) -> None:
        if name in self.inlets and (block := self.inlets[name].receive()) is not None:
            number = block.header.sequence
            assert (block.arrays["a"] == number % 256).all()
            assert number in self.taken
            assert block.header.again > 0 or number not in self.finished
            self.held[name].append(number)

    @rule(name=st.sampled_from(NAMES), count=st.sampled_from([1, 2, None]))
    def release(self, name: str, count: int | None) -> None:
        if name in self.inlets:
            done = self.held[name][:count]
            self.held[name] = self.held[name][len(done):]
            self.finished.update(done)
            self.inlets[name].release(count)

    @rule()
    def pump(self) -> None:
        self.ends.outlet.pump()

    @rule(name=st.sampled_from(NAMES), told=st.booleans())
    def kill(self, name: str, told: bool) -> None:
        if name in self.inlets:
            self.inlets.pop(name).abandon()
            if told or self.kind != "shm":
                self.ends.outlet.lose(name, "killed", attempt=self.attempts[name])
            self.ends.outlet.lose(name, "an old word", attempt=self.attempts[name] - 1)
            until(lambda: self.ends.outlet.pump() or name not in self.ends.outlet.receivers, "the loss")
            self.ends.outlet.expect(len(self.inlets))

    @precondition(lambda self: len(self.inlets) > 1)
    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        if name in self.inlets:
            self.inlets.pop(name).leave()
            until(lambda: self.ends.outlet.pump() or name not in self.ends.outlet.receivers, "the leaving")
            self.ends.outlet.expect(len(self.inlets))

    @invariant()
    def law(self) -> None:
        if not hasattr(self, "ends"):
            return
        snapshot = self.ends.outlet.account.snapshot()
        assert snapshot.fault() == ""
        assert snapshot.offered == len(self.taken)
        assert snapshot.acknowledged <= len(self.finished)
        assert snapshot.queue_bytes <= LIMIT + (len(NAMES) + 1) * 3 * LIMIT  # an idle receiver takes any block

    def teardown(self) -> None:
        if not hasattr(self, "ends"):
            return
        outlet = self.ends.outlet
        if not self.inlets:
            outlet.expect(1)
            self._join("a")
        outlet.finish()

        def over() -> bool:
            outlet.pump()
            for name, inlet in self.inlets.items():
                self.receive(name)
                self.release(name, None)
                if inlet.ended:
                    inlet.close()
            return outlet.finished

        until(over, "the end")
        snapshot = outlet.account.snapshot()
        lost, dropped = sum(snapshot.lost.values()), sum(snapshot.dropped.values())
        assert snapshot.kept == 0
        assert snapshot.acknowledged + lost + dropped == len(self.taken)
        if self.lossless:
            assert self.finished == self.taken
            assert (lost, dropped) == (0, 0)
        outlet.close()
        shutil.rmtree(self.folder)


class SharedModel(Model):
    """The same through shared memory."""

    kind = "shm"


TestMemory = Model.TestCase
TestShared = SharedModel.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestShared.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
