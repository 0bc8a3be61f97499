"""Menu: the workflows that a desk offers, by name; what is not listed cannot be started, whatever the wire says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from camlink.display.desk.records import Entry, Form, Part
from camlink.errors import FormatError, InputError, UnknownName
from camlink.runtime.run import check_here
from camlink.workflow.beside import look_beside
from camlink.workflow.check import Checked
from camlink.workflow.parameter import fields
from camlink.workflow.text import parse_workflow, read_text

SUFFIXES: Final = (".yaml", ".yml")
MOST: Final = 500


class Menu:
    """The YAML files of folders, single ones, and demos (text by name); folders are read anew every time.

    Raises InputError for a path that is neither, and for two files of one name.
    """

    def __init__(self, paths: Sequence[Path], demos: Mapping[str, str]) -> None:
        self._paths, self._demos = [path.resolve() for path in paths], dict(demos)
        for path in self._paths:
            if not path.is_dir() and not (path.is_file() and path.suffix in SUFFIXES):
                raise InputError(f"{path}: no folder and no YAML file; give the workflows that may be started")
            look_beside(path if path.is_dir() else path.parent)
        if len(files := [file.name for file in self._files()]) != len(set(files)):
            raise InputError(f"two workflows are called {max(files, key=files.count)}; rename one of the files")

    def entries(self) -> list[Entry]:
        """Everything that may be started; of a file that cannot be read, why."""
        return [*(Entry(name, _told(path)) for name, path in self._known().items()),
                *(Entry(f"demo-{name}", about(text)) for name, text in self._demos.items())]

    def command(self, name: str) -> list[str]:
        """The words of the command line that runs it; raises UnknownName."""
        if name in self._demo_names():
            return ["demo", name.removeprefix("demo-")]
        return ["run", str(self._find(name))]

    def form(self, name: str) -> Form:
        """The parameters of its operators, and what is wrong with it; raises UnknownName."""
        text = self._text(name)
        try:
            checked = check_here(parse_workflow(text, name))
        except InputError as error:  # a file that is being written, or is none of ours
            return Form(name, about(text), [], str(error))
        return Form(name, about(text), list(_parts(checked)), "\n".join(checked.problems))

    def _text(self, name: str) -> str:
        if name in self._demo_names():
            return self._demos[name.removeprefix("demo-")]
        return read_text(self._find(name))

    def _find(self, name: str) -> Path:
        known = self._known()
        if name not in known:
            raise UnknownName("workflow of this desk", name[:80], [*known, *self._demo_names()])
        return known[name]

    def _known(self) -> dict[str, Path]:
        return dict(sorted({file.name: file for file in reversed(self._files())}.items()))  # the first of one name

    def _files(self) -> list[Path]:
        found = [file for path in self._paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])
                 if file.suffix in SUFFIXES and file.is_file()]
        return found[:MOST]

    def _demo_names(self) -> list[str]:
        return [f"demo-{name}" for name in self._demos]


def about(text: str) -> str:
    """The comment at the beginning of a workflow file."""
    words = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# "))
    return " ".join(words)[:500]


def _told(path: Path) -> str:
    try:
        return about(read_text(path))
    except FormatError as error:
        return str(error)


def _parts(checked: Checked) -> list[Part]:
    made = []
    for name, operator in checked.operators.items():
        values: dict[str, Any] = dict(checked.workflow.nodes[name].parameters)
        if name in checked.parameters:
            values = msgspec.to_builtins(checked.parameters[name])
        rows = [{**row, "value": values.get(row["name"], row["default"]), "default": None}
                for row in fields(operator.parameters)]
        if rows:
            made.append(Part(name, checked.workflow.nodes[name].use, operator.help, rows))
    return made
