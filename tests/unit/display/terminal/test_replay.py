from __future__ import annotations

from pathlib import Path

import pytest

from camlink.display.terminal.replay import replay
from camlink.errors import FormatError, InputError


@pytest.mark.parametrize(("name", "asked", "told"), [
    ("scan.cxi", {"fault": "lost=0.1"}, "no tape"), ("scan.blocks", {"rate_hz": 5.0}, "take --speed")])
def test_what_a_recording_does_not_follow_is_refused(name: str, asked: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        replay(Path(name), **asked)  # type: ignore[arg-type]


def test_a_file_of_another_format_is_refused_before_a_run_begins(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no frames")
    with pytest.raises(FormatError, match="of no known format"):
        replay(file, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
