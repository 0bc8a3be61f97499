"""Inventory: what the machine of an agent has, as far as this process may use it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from camlink.runtime.messages import Inventory
from camlink.runtime.place.job import read_left
from camlink.runtime.versions import versions
from camlink.settings import read_settings

_GPUS: Final = Path("/proc/driver/nvidia/gpus")


def take_inventory(folder: Path, walltime_s: float = 0.0) -> Inventory:
    """Cores, memory, GPUs, the disk under `folder`, the walltime that is left, versions.

    Slurm tells what is left; elsewhere it is `walltime_s`, as long as our job may work, or none for 0.
    """
    models, visible = gpu_models(), read_settings().visible_gpus
    return Inventory(
        host=platform.node(), system=platform.platform(), cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total, disk_bytes=shutil.disk_usage(folder).free,
        gpus=tuple(models if visible is None else models[:len(visible)]),
        walltime_left_s=_walltime_left_s(read_settings().batch_job) or walltime_s or None, versions=versions(),
        network=network(), python=sys.executable)


def network() -> dict[str, int]:
    """Speed of each address that others may reach [Mbit/s]; 0 where the machine does not say."""
    speeds = psutil.net_if_stats()
    return {found.address: speeds[name].speed for name, addresses in psutil.net_if_addrs().items()
            for found in addresses if found.family == socket.AF_INET and name in speeds and speeds[name].isup
            and not found.address.startswith("127.")}


def gpu_models() -> list[str]:
    """Models of all GPUs of the machine as the driver names them."""
    found = []
    for path in sorted(_GPUS.glob("*/information")):
        with suppress(OSError):
            lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
            found.append(lines.get("Model", "GPU").strip())
    return found


def _walltime_left_s(job: str) -> float | None:
    if not job.isdecimal():
        return None
    try:
        said = subprocess.run(["squeue", "--noheader", "--format=%L", "--jobs", job], capture_output=True, text=True,
                              timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return read_left(said.stdout)
