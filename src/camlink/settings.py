"""One typed settings tree, read once; the only reader of the environment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

_MPI_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where camlink keeps things on this machine."""

    samples: Path = Path("../shared/data")
    runs: Path = Path("camlink-runs")
    sockets: Path = Path(tempfile.gettempdir())
    scratch: Path = Path(tempfile.gettempdir())
    mpi_ranks: int = 1
    batch_job: str = ""
    batch_nodes: int = 1
    visible_gpus: tuple[str, ...] | None = None


def read_settings() -> Settings:
    """Settings from CAMLINK_SAMPLES, _RUNS, _SCRATCH, XDG_RUNTIME_DIR, MPI, Slurm, CUDA."""
    default = Settings()
    runtime, gpus = os.environ.get("XDG_RUNTIME_DIR", ""), os.environ.get("CUDA_VISIBLE_DEVICES")
    return Settings(
        samples=Path(os.environ.get("CAMLINK_SAMPLES", default.samples)),
        runs=Path(os.environ.get("CAMLINK_RUNS", default.runs)),
        sockets=Path(runtime) if runtime and os.access(runtime, os.W_OK) else default.sockets,
        scratch=Path(os.environ.get("CAMLINK_SCRATCH", default.scratch)),
        batch_job=os.environ.get("SLURM_JOB_ID", ""),
        batch_nodes=_number(os.environ.get("SLURM_JOB_NUM_NODES", "")),
        visible_gpus=None if gpus is None else tuple(filter(None, gpus.replace(" ", "").split(","))),
        mpi_ranks=max(_number(os.environ.get(name, "")) for name in _MPI_SIZES),
    )


def _number(text: str) -> int:
    return max(int(text), 1) if text.isdecimal() else 1
