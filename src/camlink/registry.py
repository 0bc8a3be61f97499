"""Registry[T]: things by name from entry points, loaded at their first use; an unknown name lists the known ones."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from camlink.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Everything that the installed packages offer under one entry-point group."""

    def __init__(self, group: str, what: str) -> None:
        self._what = what
        self._entries: dict[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=group)}
        self._loaded: dict[str, T] = {}

    def names(self) -> list[str]:
        """All known names, sorted, without loading anything."""
        return sorted(self._entries.keys() | self._loaded.keys())

    def add(self, name: str, thing: T) -> None:
        """Make `thing` known under `name`, for scripts and tests."""
        self._loaded[name] = thing

    def get(self, name: str) -> T:
        """The thing called `name`; raises UnknownName with the nearest known name."""
        if name not in self._loaded:
            if name not in self._entries:
                raise UnknownName(self._what, name, self.names())
            self._loaded[name] = cast("T", self._entries[name].load())
        return self._loaded[name]
