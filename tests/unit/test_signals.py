import subprocess
import sys
from pathlib import Path

import pytest

from camlink.errors import OperatorFailed
from camlink.runtime.program.child import Child
from camlink.signals import signal_name


def test_every_signal_has_a_name() -> None:
    assert signal_name(9) == "SIGKILL"
    assert signal_name(35) == "signal 35"


def test_a_program_that_a_real_time_signal_ends_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 35)"]
    assert subprocess.run(command, check=False).returncode == -35
    with Child(command, tmp_path, {}, tmp_path / "out", lambda facts: None) as child:
        assert child.ended(10)
        with pytest.raises(OperatorFailed, match="was killed by signal 35"):
            child.check()
