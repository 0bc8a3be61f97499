"""Starter: runs workflows as processes of their own, which go on when the desk is gone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from camlink.display.client import LETTER
from camlink.display.desk.menu import Menu
from camlink.display.desk.records import AUDIT, REPORT, STARTED, Start, Started
from camlink.errors import InputError, OperatorFailed, PeerLost
from camlink.runtime.run import new_folder

START_S: Final = 60.0
LOOK_S: Final = 0.05
KILLED_S: Final = 0.5
ERRORS: Final = "errors.log"
WRONG_INPUT: Final = 2
MOST_WORDS: Final = 8000
LONGEST_VALUE: Final = 10_000
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\.[A-Za-z0-9_]+")


class Starter:
    """Starts what is on the `menu`, at most `most` runs at once as `going` counts them; each has a folder in `runs`."""

    def __init__(self, menu: Menu, runs: Path, most: int, going: Callable[[], int]) -> None:
        self._menu, self._runs, self._most, self._going = menu, runs, most, going
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, who: str, wanted: Start) -> dict[str, str]:
        """Start a run and wait until its page is up; its name.

        Raises InputError with what its own check found, when it cannot run or too many do.
        """
        words = [*self._menu.command(wanted.workflow), *sets(wanted.parameters)]
        with self._lock:  # one at a time: what is counted must not change before it is added to
            self._children = [child for child in self._children if child.poll() is None]
            if (going := self._going()) >= self._most:
                raise InputError(f"{going} runs go on, and this desk has at most {self._most} at once; stop one, or "
                                 "wait for its end")
            folder = new_folder(self._runs, Path(wanted.workflow).stem)
            (folder / "log").mkdir()
            child = self._launch(folder, words)
            self._children.append(child)
            started = Started(folder.name, wanted.workflow, who, time.time(), child.pid, wanted.parameters)
            (folder / "log" / STARTED).write_bytes(msgspec.json.encode(started))
        self._await_page(folder, child)
        return {"run": folder.name}

    def _launch(self, folder: Path, words: list[str]) -> subprocess.Popen[bytes]:
        with (folder / "log" / ERRORS).open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "camlink", *words, "--no-browser", "--folder", str(folder)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,  # it prints the token of its owner
                stderr=errors, start_new_session=True)

    def _await_page(self, folder: Path, child: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + START_S
        while not (folder / "log" / LETTER).exists():
            if (code := child.poll()) is not None:
                if (folder / REPORT).exists():
                    return  # it came to its end between two looks
                self._give_up(folder, code)
            if time.monotonic() > deadline_s:
                child.kill()
                with suppress(subprocess.TimeoutExpired):  # one that waits for a disk ends when that comes back
                    child.wait(KILLED_S)
                raise PeerLost(f"{folder.name}: its page was not up after {START_S:g} s, and it was ended; is the "
                               "machine overloaded?")
            time.sleep(LOOK_S)

    def _give_up(self, folder: Path, code: int) -> None:
        """Say what the run said; its folder goes when it had no page yet, so that it cannot have begun."""
        said = (folder / "log" / ERRORS).read_text(encoding="utf8", errors="replace")[-MOST_WORDS:].strip()
        if not (folder / "log" / AUDIT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        text = said.removeprefix("error: ").removeprefix("failed: ") or f"it ended with {code} at once"
        raise InputError(text) if code == WRONG_INPUT else OperatorFailed(text)


def sets(values: dict[str, Any]) -> list[str]:
    """The values as `--set operator.parameter=value`: JSON, which YAML reads alike but for signs that it does not take.

    Raises InputError for what is no name of a parameter, or too long.
    """
    words = []
    for name, value in values.items():
        text = "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in msgspec.json.encode(value).decode())
        if not _KEY.fullmatch(name) or len(text) > LONGEST_VALUE:
            raise InputError(f"'{name[:80]}': not operator.parameter, or its value is longer than {LONGEST_VALUE}")
        words += ["--set", f"{name}={text}"]
    return words
