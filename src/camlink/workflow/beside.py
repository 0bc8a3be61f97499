"""Beside: operators by module and name, also of modules that lie beside the workflow file."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from camlink.errors import InputError, UnknownName
from camlink.workflow.operator import Operator

MOST_FILES: Final = 64
MOST_BYTES: Final = 1 << 20  # of all together
FILE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\.py")
_INSTALL: Final = "make a package of them and install it here and there"

_looked_into: set[str] = set()


def look_beside(folder: Path) -> None:
    """Let modules of this folder be imported here and in the workers of this machine; they hide no installed one."""
    name = str(folder.resolve())
    _looked_into.add(name)
    if name not in sys.path:
        sys.path.append(name)


def read_beside(operators: Iterable[Operator]) -> dict[str, bytes]:
    """The files beside the workflow that operators are in, with what these import from there, by name.

    Modules that are installed, and packages (folders), are not among them. Raises InputError where it is too much.
    """
    files: dict[str, bytes] = {}
    asked = {name.partition(":")[0].partition(".")[0] for op in operators for name in (op.where, *op.ahead)}
    seen: set[str] = set()
    while new := sorted(asked - seen):
        seen.update(new)
        for file in filter(None, map(_file_beside, new)):
            files[file.name] = _read(file, MOST_BYTES - sum(map(len, files.values())))
            asked |= _imported(files[file.name])
            if len(files) > MOST_FILES:
                raise InputError(f"{file.parent}: operators of this workflow import more than {MOST_FILES} files from "
                                 f"there, too many to go along to other machines; {_INSTALL}")
    return files


def _file_beside(module: str) -> Path | None:
    """The file of a module that lies beside a workflow; None for any other, and for packages."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a module without a file says the latter
        return None
    if spec is None or spec.submodule_search_locations is not None or not (spec.origin or "").endswith(".py"):
        return None
    file = Path(str(spec.origin))
    return file if str(file.parent.resolve()) in _looked_into else None


def _read(file: Path, most_bytes: int) -> bytes:
    if not FILE_NAME.fullmatch(file.name):
        raise InputError(f"{file}: a file that goes along to other machines is called by up to 64 plain letters, "
                         "digits and _; rename it")
    try:
        with file.open("rb") as opened:
            text = opened.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}), but has to go along to other machines") from None
    if len(text) > most_bytes:
        raise InputError(f"{file}: with it the operators beside the workflow have more than the {MOST_BYTES >> 10} KiB "
                         f"that go along to other machines; {_INSTALL}")
    return text


def _imported(text: bytes) -> set[str]:
    """The modules that a text imports, also late, in the body of a function."""
    try:
        steps = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):  # who imports it is told
        return set()
    names = [alias.name for step in steps if isinstance(step, ast.Import) for alias in step.names]
    names += [step.module for step in steps if isinstance(step, ast.ImportFrom) and step.module and not step.level]
    return {name.partition(".")[0] for name in names}


def import_operator(name: str) -> Operator:
    """The operator called `module:name`; raises InputError when it cannot be had, with what to do."""
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as why:  # the code of somebody else
        if isinstance(why, ModuleNotFoundError) and why.name and f"{module}.".startswith(f"{why.name}."):
            raise InputError(f"operator '{name}': no module '{why.name}' beside the workflow file, and none that is "
                             f"installed; write {why.name}.py there, or install its package") from None
        raise InputError(f"operator '{name}': {type(why).__name__}: {why}; try python -c 'import {module}'") from None
    if not hasattr(found, attribute):
        raise UnknownName(f"operator of {module}", attribute,
                          [key for key, value in vars(found).items() if isinstance(value, Operator)])
    if not isinstance(operator := getattr(found, attribute), Operator):
        raise InputError(f"operator '{name}' is a {type(operator).__name__}; decorate it with @operator")
    return operator
