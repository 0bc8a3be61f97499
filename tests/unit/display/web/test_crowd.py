from __future__ import annotations

import json

import msgspec
import pytest

from camlink.display.live import Live
from camlink.display.web import crowd as module
from camlink.display.web.crowd import PERIOD_S, TURNS_PER_S, Crowd


def test_news_are_written_once_for_all_and_carry_the_time_of_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    encode = msgspec.json.encode
    monkeypatch.setattr(module.msgspec.json, "encode", lambda value: written.append(value) or encode(value))
    crowd = Crowd(Live())
    first, again = (json.loads(crowd.text("curves", 3)) for _ in range(2))
    assert first["type"] == again["type"] == "curves"
    assert first["curves"] == {}
    assert again["now_ms"] >= first["now_ms"] > 1e12
    assert len(written) == 1
    crowd.text("curves", 4)
    assert len(written) == 2


def test_the_more_look_the_longer_each_waits_and_all_together_take_the_same() -> None:
    crowd = Crowd(Live())
    assert crowd.period_s == PERIOD_S
    for viewers in (1, 6, 64, 400):
        crowd.viewers = viewers
        assert viewers / crowd.period_s <= TURNS_PER_S + 1e-9
