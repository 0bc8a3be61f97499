"""Registry[T]: things by name from entry points, loaded at their first use; an unknown name lists the known ones."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from camlink.errors import InputError, UnknownName

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
        """The thing called `name`.

        Raises UnknownName with the nearest known name, InputError when the package that offers it cannot be loaded.
        """
        if name not in self._loaded:
            if name not in self._entries:
                raise UnknownName(self._what, name, self.names())
            entry = self._entries[name]
            try:
                self._loaded[name] = cast("T", entry.load())
            except (Exception, SystemExit) as why:  # the code of somebody else
                package = entry.dist.name if entry.dist else entry.module
                raise InputError(f"{self._what} '{name}' cannot be loaded: {type(why).__name__}: {why}; repair or "
                                 f"remove the package {package}") from why
        return self._loaded[name]
