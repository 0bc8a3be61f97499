"""Memory: how much of it a contestant takes, in this process and on the GPU."""

from __future__ import annotations

import gc
import importlib
import sys

from camlink.compute.arrays import gpu_trouble


class MemoryMeter:
    """Remembers what was in use when it was made, and the most by which that grew.

    What other packages keep in reserve on the GPU is given back first. On the GPU everything counts that the device
    has lent, so nobody else may work there.
    """

    def __init__(self) -> None:
        self.host_bytes = 0
        self.gpu_bytes = 0
        self._on_gpu = not gpu_trouble()
        gc.collect()
        self._give_back()
        self._before = self._in_use()

    def look(self) -> None:
        """Take notice of what is in use now."""
        host, gpu = self._in_use()
        self.host_bytes = max(self.host_bytes, host - self._before[0])
        self.gpu_bytes = max(self.gpu_bytes, gpu - self._before[1])

    def _in_use(self) -> tuple[int, int]:
        import psutil

        host = int(psutil.Process().memory_info().rss)
        if not self._on_gpu:
            return host, 0
        free, total = importlib.import_module("cupy").cuda.runtime.memGetInfo()
        return host, int(total - free)

    def _give_back(self) -> None:
        if not self._on_gpu:
            return
        importlib.import_module("cupy").get_default_memory_pool().free_all_blocks()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
