"""SharedFolder: what the replicas of an operator tell each other, by files in the folder of their run."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.workflow.siblings import Arrays

_DAMAGES: Final = (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile)
"""What reading raises for a file that was cut or has other bytes, as after a loss of power."""


class SharedFolder:
    """The Siblings of a replica: a file for each thing that is said."""

    def __init__(self, folder: Path, operator: str, replica: int) -> None:
        self._folder, self._replica = folder / "shared" / operator, replica
        self.trouble = ""

    def say(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Say this, in place of what this replica said before."""
        self._put(self._folder / f"{name}-{self._replica}.npz", arrays, os.replace)

    def said(self, name: str) -> Arrays | None:
        """What this replica said last."""
        return self._read(self._folder / f"{name}-{self._replica}.npz")

    def heard(self, name: str, only: str = "") -> dict[int, Arrays]:
        """What every other replica has said, by its number; of each only the array `only`, if so."""
        found = {int(path.stem.rpartition("-")[2]): path for path in self._folder.glob(f"{name}-*.npz")}
        return {replica: arrays for replica, path in sorted(found.items())
                if replica != self._replica and (arrays := self._read(path, only)) is not None}

    def settle(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
        """Say this for all, unless another was first; gives what holds."""
        self._put(self._folder / f"{name}.npz", arrays, os.link)
        return self.settled(name) or dict(arrays)

    def settled(self, name: str) -> Arrays | None:
        """What holds for all, or None as long as nobody has said it."""
        return self._read(self._folder / f"{name}.npz")

    def _put(self, path: Path, arrays: Mapping[str, NDArray[Any]], move: Callable[[str, Path], None]) -> None:
        made = ""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, made = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # its own keywords are not among the names
            move(made, path)
        except FileExistsError:
            pass  # another was first
        except OSError as error:
            self.trouble = f"cannot write {path}: {error.strerror or error}; replicas know less of each other"
        finally:
            if made:
                Path(made).unlink(missing_ok=True)

    def _read(self, path: Path, only: str = "") -> Arrays | None:
        try:
            with path.open("rb") as data, np.load(data, allow_pickle=False) as file:
                return {name: file[name] for name in ([only] if only else file.files)}
        except OSError:
            return None  # not there, or not yet
        except _DAMAGES as error:
            self.trouble = f"cannot read {path}: {error or type(error).__name__}; replicas know less of each other"
            return None
