"""Wrap: the command of a program after environment modules were loaded, or inside of a container."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

from camlink.errors import ParameterError

Engine = Literal["auto", "apptainer", "singularity", "podman", "docker"]
ENGINES: Final = ("apptainer", "singularity", "podman", "docker")
# the names of modules are arguments, never text of the script
_LOAD: Final = 'n=$1; shift; module load "${@:1:n}" || exit 97; shift "$n"; exec "$@"'


def with_modules(command: Sequence[str], modules: Sequence[str]) -> list[str]:
    """The command, started by a login shell that has loaded these modules; code 97 when they cannot be loaded."""
    if not modules:
        return list(command)
    return ["bash", "-lc", _LOAD, "modules", str(len(modules)), *modules, *command]


class Container(NamedTuple):
    """One container of one run of a program; it sees the folder of the camlink run at its own path, and the network."""

    engine: str
    image: str
    name: str

    def command(self, command: Sequence[str], folder: Path, work: Path, variables: Iterable[str]) -> list[str]:
        """The command inside; `variables` names what it gets of the environment of the engine."""
        if self.engine in ("apptainer", "singularity"):  # a plain child process, which has our environment
            return [self.engine, "exec", "--bind", str(folder), "--pwd", str(work), self.image, *command]
        who = ["--user", f"{os.getuid()}:{os.getgid()}"] if self.engine == "docker" else (
            ["--userns", "keep-id"] if os.getuid() else [])
        told = [part for name in variables for part in ("--env", name)]
        return [self.engine, "run", "--rm", "--interactive", "--init", "--name", self.name, "--network", "host", *who,
                "--volume", f"{folder}:{folder}", "--workdir", str(work), *told, self.image, *command]

    @property
    def removal(self) -> list[str]:
        """What ends it when its program was killed; empty where the program is our own child."""
        return [self.engine, "rm", "--force", self.name] if self.engine in ("podman", "docker") else []


def engine_for(asked: Engine, path: str | None) -> str:
    """The engine that was asked for, or the first that is there; raises ParameterError."""
    wanted = ENGINES if asked == "auto" else (asked,)
    for engine in wanted:
        if shutil.which(engine, path=path):
            return engine
    raise ParameterError(f"program.container: no {' or '.join(wanted)} in {path}; name the module that brings it "
                         "(`modules`), and the `engine`")
