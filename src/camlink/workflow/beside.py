"""Beside: operators by module and name, also of modules that lie beside the workflow file."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from camlink.errors import InputError, UnknownName
from camlink.workflow.operator import Operator


def look_beside(folder: Path) -> None:
    """Let modules of this folder be imported here and in the workers of this machine; they hide no installed one."""
    if (name := str(folder.resolve())) not in sys.path:
        sys.path.append(name)


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
