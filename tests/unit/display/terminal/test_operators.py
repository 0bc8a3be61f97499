from __future__ import annotations

import pytest

from camlink.display.terminal.operators import operators
from camlink.errors import InputError, UnknownName
from camlink.registry import Registry


def test_all_are_listed_with_what_they_take_and_give(capsys: pytest.CaptureFixture[str]) -> None:
    operators()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ptychography.reduce ")]
    assert "frames: RawFrames" in line
    assert "out: CountFrames" in line


def test_a_broken_plug_in_hides_no_other(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    good = Registry.get

    def get(self: Registry[object], name: str) -> object:
        if name == "replay":
            raise InputError("operator 'replay' cannot be loaded")
        return good(self, name)

    monkeypatch.setattr(Registry, "get", get)
    operators()
    assert "operator 'replay' cannot be loaded" in (out := capsys.readouterr().out)
    assert "\nview " in out


@pytest.mark.parametrize("name", ["replay", "camlink.capture.replay:replay"])
def test_one_is_told_with_its_parameters(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    operators(name)
    out = capsys.readouterr().out
    assert out.startswith(f"{name} (source): Play a recorded scan")
    assert "takes nothing; gives out: CountFrames" in out
    assert "Frames a second; 0 = the recorded times, or as fast as possible without any (>= 0)" in out
    assert "(recorded | shuffled)" in out


def test_a_misspelt_one_is_guessed() -> None:
    with pytest.raises(UnknownName, match="did you mean 'replay'"):
        operators("repaly")
