"""Real places: a Slurm of two nodes and two sshd on loopback; brought up once for all tests, ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from apart import Apart, why_not

HERE = Path(__file__).parent
NEEDED = ("slurmctld", "slurmd", "munged", "sshd", "ssh-keygen")


def shell(script: str, *words: str) -> None:
    done = subprocess.run(["sh", str(HERE / script), *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def free(first: int, last: int) -> int:
    """A port at which nobody listens, nor at the two after it, below those that systems give away by themselves."""
    while True:
        port = random.randrange(first, last, 10)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for beside in range(3):
                stack.enter_context(socket.create_server(("127.0.0.1", port + beside)))
            return port


@pytest.fixture(scope="session")
def installed() -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [program for program in NEEDED if not shutil.which(program, path=path)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not on this machine: sh tests/system/places/install.sh, or make sites-test")


@pytest.fixture(scope="session")
def slurm(installed: None) -> Iterator[Path]:
    """The folder of a running Slurm; its commands find it by SLURM_CONF."""
    folder = Path(tempfile.mkdtemp(prefix="camlink-slurm-"))
    folder.chmod(0o755)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        shell("slurm.sh", "up", str(folder), str(free(20000, 30000)))
        yield folder
    finally:
        shell("slurm.sh", "down", str(folder))
        shutil.rmtree(folder, ignore_errors=True)  # what ends may still remove files of its own
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before


class Sshd(NamedTuple):
    folder: Path
    login: int
    node: int


@pytest.fixture(scope="session")
def sshd(installed: None) -> Iterator[Sshd]:
    """Two sshd: a login host and a node behind it, as far as addresses go."""
    folder = Path(tempfile.mkdtemp(prefix="camlink-sshd-"))
    login = free(30000, 32000)
    try:
        for port in (login, login + 1):
            shell("sshd.sh", "up", str(folder), str(port))
        yield Sshd(folder, login, login + 1)
    finally:
        for port in (login, login + 1):
            shell("sshd.sh", "down", str(folder), str(port))
        shutil.rmtree(folder, ignore_errors=True)  # what ends may still remove files of its own


@pytest.fixture(scope="session")
def apart() -> Iterator[Apart]:
    """Machines in networks of their own, that may only dial outward."""
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="camlink-apart-"))
    folder.chmod(0o755)
    made = Apart(folder)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(folder, ignore_errors=True)
