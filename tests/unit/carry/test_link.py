"""The promises of every kind of link, tested on each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from camlink.block import Result
from camlink.carry.link import Kind
from camlink.carry.memory import MemoryInlet, MemoryOutlet
from camlink.testing.ends import Make
from camlink.testing.link import LINK_CHECKS, check_link, check_spill

from .conftest import KINDS


@pytest.mark.parametrize("check", LINK_CHECKS.values(), ids=LINK_CHECKS)
@pytest.mark.parametrize("kind", KINDS)
def test_link(make_kind: Callable[[Kind], Make], kind: Kind, check: Callable[[Make], None]) -> None:
    check(make_kind(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_spills(make_kind: Callable[[Kind], Make], kind: Kind) -> None:
    check_spill(make_kind(kind))


def test_the_suite_finds_a_link_that_forgets(
        make_kind: Callable[[Kind], Make], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ends", "link", "losses"):
        monkeypatch.setattr(f"camlink.testing.{module}.PATIENCE_S", 0.1)
    good = make_kind("memory")

    def forgetful(policy: str, limit_bytes: int, receivers: int):  # type: ignore[no-untyped-def]
        ends = good(policy, limit_bytes, receivers)
        ledger = getattr(ends.outlet, "outlet", ends.outlet)._ledger
        ledger.lose = lambda name: ledger.receivers.pop(name)
        return ends

    with pytest.raises(AssertionError):
        check_link(forgetful)


def _always_ready(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryOutlet, "ready", property(lambda self: True))


def _weightless(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("camlink.carry.outlet.LEAST_BYTES", 0)


def _deaf(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("camlink.carry.memory._Bell.ring", lambda bell: None)


def _leaving_all_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryOutlet, "_shut", lambda outlet: None)


def _of_one_buffer(patch: pytest.MonkeyPatch) -> None:
    push, buffer = MemoryInlet.push, np.empty(1 << 16, np.uint8)

    def reused(inlet: MemoryInlet, item: Any) -> None:
        if isinstance(item, tuple):
            block = item[0]
            array = buffer[:block.nbytes]
            array[:] = block.arrays["a"]
            item = (Result(block.header, {"a": array}), *item[1:])
        push(inlet, item)

    patch.setattr(MemoryInlet, "push", reused)


@pytest.mark.parametrize(("name", "spoil"), [
    ("ready", _always_ready), ("small", _weightless), ("pollable", _deaf), ("closed", _leaving_all_open),
    ("looked_at", _of_one_buffer)])
def test_the_suite_finds_what_a_link_does_not_keep(
        make_kind: Callable[[Kind], Make], name: str, spoil: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in ("ends", "link"):
            patch.setattr(f"camlink.testing.{module}.PATIENCE_S", 0.1)
        spoil(patch)
        with pytest.raises(AssertionError):
            LINK_CHECKS[name](make_kind("memory"))
