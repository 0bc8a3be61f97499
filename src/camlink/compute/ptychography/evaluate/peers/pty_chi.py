"""PtyChi: the engines of pty-chi (Argonne National Laboratory) as contestants, where the package is installed.

Written against pty-chi 2.2: far field without normalisation (a probe there is ours divided by the square root of the
pixels of a frame), positions plus an origin are centres of patches, counts have their zero frequency in the centre.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.evaluate.budget import Budget, Stopwatch
from camlink.compute.ptychography.evaluate.contestant import Snapshot, start_of
from camlink.compute.ptychography.evaluate.dataset import DataSet
from camlink.compute.ptychography.practice import FRAMES
from camlink.errors import OperatorFailed

Array = NDArray[Any]
PACKAGE: Final = "ptychi"
BATCH: Final = 50
ENGINES: Final = MappingProxyType({
    "raar": "RAAROptions", "dm": "DMOptions", "lsqml": "LSQMLOptions", "rpie": "RPIEOptions", "epie": "EPIEOptions"})
"""Our names of the algorithms and the option classes that choose them."""
_FAILURES: Final = (RuntimeError, ValueError, TypeError, AttributeError, ImportError, LookupError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class PtyChi:
    """One algorithm of pty-chi with its defaults, probe refined, positions held, on a GPU where torch sees one.

    `batch` frames at once where the algorithm has batches; `alpha` is the step of ePIE and rPIE, None for its default.
    """

    algorithm: str
    batch: int = BATCH
    alpha: float | None = None

    @property
    def name(self) -> str:
        """Name with the package in front."""
        return f"pty-chi {self.algorithm}" + (f" {self.batch}" if self.batch != BATCH else "")

    @property
    def about(self) -> dict[str, str | int | float | bool]:
        """Engine, algorithm and options."""
        return {"engine": "pty-chi", "algorithm": self.algorithm, "batch": self.batch,
                **({} if self.alpha is None else {"alpha": self.alpha})}

    @property
    def missing(self) -> str:
        """Why it cannot run here."""
        return "" if find_spec(PACKAGE) else f"install it with: pip install {PACKAGE}"

    def prepare(self, dataset: DataSet) -> None:
        """Import the package and run one epoch on a few frames; raises OperatorFailed."""
        few = dataset.first(min(len(dataset), FRAMES))
        for _ in self.run(few, Budget(iterations=1, samples=1)):
            pass

    def run(self, dataset: DataSet, budget: Budget) -> Iterator[Snapshot]:
        """Reconstruct epoch by epoch from the same start as ours.

        Raises OperatorFailed with what the package raised.
        """
        image, probe, margin = start_of(dataset)
        watch = Stopwatch(budget, _settle)
        scale = float(np.sqrt(dataset.frame[0] * dataset.frame[1]))
        try:
            with watch.setting_up():
                task = self._task(dataset, image, probe / scale, margin)
            while not watch.spent:
                with watch.iterating():
                    task.run(1)
                if watch.due():
                    yield Snapshot(watch.iteration, watch.seconds, watch.setup_s, watch.step_s,
                                   task.get_data_to_cpu("object", as_numpy=True)[0].astype(np.complex64),
                                   (task.get_data_to_cpu("probe", as_numpy=True)[0] * scale).astype(np.complex64),
                                   margin)
        except _FAILURES as error:
            raise OperatorFailed(f"{self.name} on '{dataset.name}': {type(error).__name__}: {error}") from error

    def _task(self, dataset: DataSet, image: Array, probe: Array, margin: int) -> Any:
        api, task, torch = import_module("ptychi.api"), import_module("ptychi.api.task"), import_module("torch")
        on_gpu = bool(torch.cuda.is_available())
        torch.set_default_device("cuda" if on_gpu else "cpu")
        options = getattr(api, ENGINES[self.algorithm])()
        reconstructor, positions = options.reconstructor_options, options.probe_position_options
        reconstructor.default_device = api.Devices.GPU if on_gpu else api.Devices.CPU
        reconstructor.num_epochs = 1
        reconstructor.batch_size = min(self.batch, len(dataset))
        if hasattr(reconstructor, "chunk_length"):
            reconstructor.chunk_length = min(2 * BATCH, len(dataset))
        options.object_options.optimizable = options.probe_options.optimizable = True
        if self.alpha is not None:
            options.object_options.alpha = options.probe_options.alpha = self.alpha
        positions.optimizable = False
        options.object_options.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
        # the origin carries the half pixel from corner to centre: the fraction of a position would shift the probe
        options.object_options.position_origin_coords = [(side - 1) / 2 for side in dataset.frame]
        corners = dataset.corners(margin).astype(np.float32)
        known = np.isfinite(dataset.counts).all(axis=0)
        return task.PtychographyTask(
            options, diffraction_data=np.nan_to_num(dataset.counts), object_data=image[None], probe_data=probe[None],
            probe_position_x_px=corners[:, 1], probe_position_y_px=corners[:, 0],
            valid_pixel_mask=None if known.all() else known)


def _settle() -> None:
    torch = import_module("torch")
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def pty_chi_contestants() -> list[PtyChi]:
    """All engines of pty-chi, installed or not; rPIE also with small batches and full steps, which suit few frames."""
    return [*(PtyChi(algorithm) for algorithm in ENGINES), PtyChi("rpie", batch=10, alpha=1.0)]
