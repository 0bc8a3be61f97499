"""Siblings: what the replicas of an operator tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class Siblings(Protocol):
    """Arrays by name that a replica says of itself, and some that are settled once for all of them.

    What is said outlives the replica, and is whole or not there. Where replicas do not share the folder of their run,
    as on other machines, nobody is heard; `trouble` says why this one could not speak, if so.
    """

    @property
    def trouble(self) -> str:
        """Why this replica could not speak, or nothing."""
        ...

    def say(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Say this, in place of what this replica said before."""
        ...

    def said(self, name: str) -> Arrays | None:
        """What this replica said last, in this or an earlier attempt."""
        ...

    def heard(self, name: str, only: str = "") -> dict[int, Arrays]:
        """What every other replica has said, by its number; of each only the array `only`, if so."""
        ...

    def settle(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
        """Say this for all, unless another was first; gives what holds."""
        ...

    def settled(self, name: str) -> Arrays | None:
        """What holds for all, or None as long as nobody has said it."""
        ...
