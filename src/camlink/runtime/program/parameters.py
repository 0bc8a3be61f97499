"""What can be said of a program: its command, its environment, how it gets blocks and how long it may take."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from camlink.block import Block
from camlink.errors import ParameterError
from camlink.runtime.program.wrap import Container, Engine, engine_for, with_modules
from camlink.workflow.operator import Context
from camlink.workflow.parameter import Parameters, about

PASSED_ON: Final = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
                    "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "MODULEPATH", "LOADEDMODULES", "MODULESHOME",
                    "CUDA_VISIBLE_DEVICES")
PASSED_ON_BEGIN: Final = ("SLURM_", "PBS_", "LSB_", "OMPI_", "PMIX_", "OMP_")


class ProgramParameters(Parameters, frozen=True):
    """A program that works as an operator."""

    command: Annotated[tuple[str, ...], about(
        "The program and its arguments, a list; {in}, {out}, {folder}, {scratch}, {scan}, {site} and {name} are "
        "replaced")] = ()
    environment: Annotated[dict[str, str], about(
        "Variables for the program, beside those that it gets anyway")] = {}  # noqa: RUF012  each record gets a copy
    modules: Annotated[tuple[str, ...], about("Environment modules that are loaded before")] = ()
    container: Annotated[str, about("Image in which it runs: a .sif file, or a name that the engine knows")] = ""
    engine: Annotated[Engine, about("What runs the container; auto takes the first that is there")] = "auto"
    by: Annotated[Literal["files", "stream"], about("How blocks go in and results come out")] = "files"
    each: Annotated[Literal["block", "scan"], about("With files: run once for each block, or once for all")] = "scan"
    timeout_s: Annotated[float, about("Longest time for one run; in a stream longest time without any progress",
                                      unit="s", gt=0.0, le=7 * 86_400.0)] = 3600.0
    grace_s: Annotated[float, about("Time to end after SIGTERM, before SIGKILL", unit="s", ge=0.0, le=600.0)] = 5.0
    keep: Annotated[bool, about("Keep the scratch folders of runs that ended well")] = False


def check_command(parameters: ProgramParameters) -> None:
    """Raise ParameterError when there is no command, or no such program or engine on this machine."""
    if not parameters.command or not parameters.command[0]:
        raise ParameterError("program.command: name the program and its arguments, such as [python, solve.py]")
    path = {**os.environ, **parameters.environment}.get("PATH")
    if any(word.startswith("-") or not word for word in (*parameters.modules, parameters.container or "none")):
        raise ParameterError("program: the name of a module or an image is empty or begins with '-'")
    if parameters.modules:
        return  # what is there is known when they are loaded
    if parameters.container:
        engine_for(parameters.engine, path)
    elif shutil.which(parameters.command[0], path=path) is None:
        raise ParameterError(f"program.command: '{parameters.command[0]}' is not a program on {socket.gethostname()}; "
                             "give its path, or the environment in which it is found")


class Surroundings:
    """What one run of a program is told: folders, scan, site, addresses; as variables and inside of its command."""

    def __init__(self, parameters: ProgramParameters, context: Context, scratch: Path) -> None:
        self._parameters, self._context = parameters, context
        self.scratch = scratch
        self._addresses: dict[str, str] = {}
        self._scan, self._expected = "", 0

    def see(self, block: Block) -> None:
        """Learn the scan, and the address that a block may carry."""
        self._scan, self._expected = block.scan.id, block.scan.expected
        if address := str(block.header.facts.get("address", "")):
            self._addresses[block.header.source] = address

    def words(self) -> dict[str, str]:
        """Each word that may stand in braces in a command."""
        return {"in": str(self.scratch / "in"), "out": str(self.scratch / "out"), "scratch": str(self.scratch),
                "folder": str(self._context.folder), "scan": self._scan, "site": self._context.site,
                "name": self._context.name}

    @property
    def container(self) -> Container | None:
        """The container of this run, if one is asked for."""
        given = self._parameters
        if not given.container:
            return None
        engine = given.engine if given.modules and given.engine != "auto" else engine_for(
            given.engine, self.environment().get("PATH"))
        return Container(engine, given.container, f"camlink-{self.scratch.name}")

    @property
    def removal(self) -> list[str]:
        """What ends a container whose program was killed, with the engine that the same modules bring."""
        container = self.container
        return with_modules(container.removal, self._parameters.modules) if container and container.removal else []

    def command(self) -> list[str]:
        """The command as it is started: its words replaced, in its container, after its modules were loaded."""
        command, container = self._replaced(), self.container
        if container is not None:
            names = [*self._told(), *self._parameters.environment]
            command = container.command(command, self._context.folder, self.scratch, names)
        return with_modules(command, self._parameters.modules)

    def _replaced(self) -> list[str]:
        """The command with its words replaced; other braces stay as they are."""
        found = []
        for part in self._parameters.command:
            for word, value in self.words().items():
                part = part.replace(f"{{{word}}}", value)
            found.append(part)
        return found

    def environment(self) -> dict[str, str]:
        """Variables of this machine that are passed on, CAMLINK_... and those of the workflow."""
        return {**_passed_on(os.environ), **self._told(), **self._parameters.environment}

    def _told(self) -> dict[str, str]:
        told = {f"CAMLINK_{word.upper()}": value for word, value in self.words().items()}
        return told | {"CAMLINK_EXPECTED": str(self._expected), "CAMLINK_HOST": socket.gethostname(),
                       "CAMLINK_ADDRESSES": json.dumps(self._addresses)}


def _passed_on(variables: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name in PASSED_ON or name.startswith(PASSED_ON_BEGIN)}
