from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from camlink.runtime.place.environment import pack


def test_a_wheel_of_ourselves_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    made = pack()
    assert made == pack()
    with zipfile.ZipFile(io.BytesIO(made)) as wheel:
        names = set(wheel.namelist())
        assert {"camlink/__init__.py", "camlink/display/web/static/index.html"} <= names
        assert not any("__pycache__" in name for name in names)
        (record,) = (name for name in names if name.endswith("RECORD"))
        assert {line.split(",")[0] for line in wheel.read(record).decode().splitlines()} == names
        wheel.extractall(tmp_path)
    said = subprocess.run([sys.executable, "-P", "-c", "import camlink; print(camlink.__file__)"], cwd="/", check=True,
                          capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(tmp_path)}).stdout
    assert said.strip() == str(tmp_path / "camlink/__init__.py")
