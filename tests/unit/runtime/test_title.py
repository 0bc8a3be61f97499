from __future__ import annotations

import subprocess
import sys

import psutil

from camlink.runtime.title import write_title

CODE = """
import sys
from camlink.runtime.title import write_title
print(write_title(sys.argv[2].split('+')), flush=True)
input()
"""


def title_after(room: str, words: str) -> tuple[str, list[str]]:
    with subprocess.Popen([sys.executable, "-c", CODE, room, words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        found = psutil.Process(process.pid).cmdline()
        process.communicate("\n")
    return said, [word for word in found if word]


def test_a_process_is_known_by_its_new_words() -> None:
    assert title_after("-" * 50, "python+worker+count/0/1") == ("True", ["python", "worker", "count/0/1"])


def test_what_has_no_room_is_left_as_it_was() -> None:
    before = psutil.Process().cmdline()
    assert not write_title(["x" * 100_000])
    assert psutil.Process().cmdline() == before
