"""Offspring: processes below this one, or another, by what stands on their command lines."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil


def words_of(one: psutil.Process) -> list[str]:
    """The command line; empty for one that has ended, as one between two forks does at once."""
    try:
        return one.cmdline()
    except psutil.Error:
        return []


def child(*words: str, below: int | None = None) -> psutil.Process:
    """The process on whose command line parts begin with each of these words."""
    for found in psutil.Process(below).children(recursive=True):
        line = words_of(found)
        if all(any(part.startswith(word) for part in line) for word in words):
            return found
    raise AssertionError(f"no process {words}")


def awaited(*words: str, below: int | None = None) -> psutil.Process:
    """The same, as soon as it is there."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return child(*words, below=below)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def kill_all(parent: int) -> None:
    """SIGKILL a process and everybody below it, and nobody does anything about the end of another."""
    everybody = [psutil.Process(parent), *psutil.Process(parent).children(recursive=True)]
    for number in ("suspend", "kill"):
        for process in everybody:
            with suppress(psutil.NoSuchProcess):
                getattr(process, number)()
    psutil.wait_procs(everybody, timeout=10)
