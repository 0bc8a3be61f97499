"""The promises of every kind of link, tested on each kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from camlink.carry.link import Kind
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
    for module in ("ends", "link"):
        monkeypatch.setattr(f"camlink.testing.{module}.PATIENCE_S", 0.1)
    good = make_kind("memory")

    def forgetful(policy: str, limit_bytes: int, receivers: int):  # type: ignore[no-untyped-def]
        ends = good(policy, limit_bytes, receivers)
        ledger = getattr(ends.outlet, "outlet", ends.outlet)._ledger
        ledger.lose = lambda name: ledger.receivers.pop(name)
        return ends

    with pytest.raises(AssertionError):
        check_link(forgetful)
