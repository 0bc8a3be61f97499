"""Machines apart: network namespaces that may only dial outward to a relay, with a Slurm inside of the cluster."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

PLACES: Final = Path(__file__).parent / "places"
RELAY: Final = "10.79.0.9:8786"
CAMLINK: Final = (sys.executable, "-m", "camlink")


class Apart:
    """laptop, beamline, head and node of a cluster, relay; `folder` is what all of them see of each other's disks."""

    def __init__(self, folder: Path) -> None:
        taken = {path.name[:4] for where in ("/run/netns", "/sys/class/net") for path in Path(where).glob("c*")}
        self.folder = folder
        self.prefix = random.choice([name for number in range(1000) if (name := f"c{number:03d}") not in taken])
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm" / "slurm.conf"),
                            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        self._relay: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[str]] = []

    def up(self) -> None:
        """Make the networks, the batch system and the relay."""
        self._sh("namespaces.sh", "up", self.prefix)
        (self.folder / "slurm").mkdir(mode=0o755)
        self.call("head", "sh", str(PLACES / "slurm.sh"), "up", str(self.folder / "slurm"),
                  "20000", "10.79.1.1", "10.79.1.2", "ip", "netns", "exec", f"{self.prefix}-node")
        self.start_relay("--new-key")

    def down(self) -> None:
        """End everything and remove the networks."""
        try:
            self.call("head", "sh", str(PLACES / "slurm.sh"), "down", str(self.folder / "slurm"))
        finally:
            self._sh("namespaces.sh", "down", self.prefix)
            for process in self._started:  # the relay is one of them
                process.kill()
                process.wait(10)

    def start_relay(self, *more: str) -> None:
        """Start the relay at its address, and wait until it listens."""
        key, log = self.folder / "relay.key", self.folder / "relay.log"
        log.unlink(missing_ok=True)
        self._relay = self.start("relay", *CAMLINK, "relay", str(key), "--host", RELAY.partition(":")[0], "--port",
                                 RELAY.partition(":")[2], *more, output=log)
        until(lambda: RELAY in log.read_text(), 60, "the relay listens")

    def kill_relay(self) -> None:
        """End the relay at once, with all that goes through."""
        assert self._relay is not None
        self._relay.kill()
        self._relay.wait(10)

    def cut(self) -> None:
        """From now on nothing reaches the relay or leaves it, without a word to anybody."""
        self._sh("namespaces.sh", "cut", self.prefix)

    def mend(self) -> None:
        """Undo `cut`."""
        self._sh("namespaces.sh", "mend", self.prefix)

    def start(self, name: str, *argv: str, output: Path, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start a program on one of the machines."""
        with output.open("a") as said:
            process = subprocess.Popen(["ip", "netns", "exec", f"{self.prefix}-{name}", *argv], cwd=cwd or self.folder,
                                       env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                       text=True)
        self._started = [*(one for one in self._started if one.poll() is None), process]
        return process

    def call(self, name: str, *argv: str) -> str:
        """What a program on one of the machines says, which must end well."""
        done = subprocess.run(["ip", "netns", "exec", f"{self.prefix}-{name}", *argv], env=self.environment, text=True,
                              capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def site(self) -> dict[str, Any]:
        """A site whose agent is started by hand."""
        return {"placer": "join", "relay": RELAY, "relay_key": str(self.folder / "relay.key")}

    def join(self, run: Path) -> None:
        """Do what the user does at the beamline and on the cluster: start the two agents of a run."""
        for site, name in (("beamline", "beamline"), ("cluster", "head")):
            words = run / "keys" / site / "join"
            until(words.exists, 60, f"{words} is there")
            command = f"exec {' '.join(CAMLINK)} {words.read_text().partition(' ')[2]}"
            if name == "head":
                (run / "job.sh").write_text(f"#!/bin/sh\n{command}")
                self.call(name, "sbatch", "--job-name=camlink-cluster", f"--output={run}/job.log", str(run / "job.sh"))
            else:
                self.start(name, "sh", "-c", command, output=run / "beamline.log")

    def _sh(self, script: str, *words: str) -> None:
        done = subprocess.run(["sh", str(PLACES / script), *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def why_not() -> str:
    """Why machines cannot be set apart here; nothing when they can."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [word for word in ("ip", "nft", "slurmctld", "slurmd", "munged") if not shutil.which(word, path=path)]
    if os.geteuid():
        return "network namespaces need root"
    return f"network namespaces with a Slurm need {', '.join(missing)}: make sites-test" if missing else ""


def until(true: Any, limit_s: float, what: str) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.05)
