"""What several commands share: options, how `--set operator.parameter=value` is read, how `--json FILE` is written."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from camlink.errors import InputError, StorageError
from camlink.workflow.beside import look_beside
from camlink.workflow.graph import Workflow
from camlink.workflow.text import put_over_sites, read_value, read_workflow

ReportFile = Annotated[Path | None, typer.Option("--report", help="Write the machine-readable report to this file.")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")]
Leave = Annotated[bool, typer.Option("--exit", help="Leave when the run is over, in place of keeping the page up.")]
Folder = Annotated[Path | None, typer.Option("--folder", help="Folder of this run (default: camlink-runs/<time>).")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the page; 0 takes a free one.")]
Host = Annotated[str, typer.Option("--host", help="Address that the page listens at; loopback unless you say so.")]
Tls = Annotated[str, typer.Option("--tls", metavar="auto|off|CERTIFICATE,KEY", help="TLS of the page; auto: with a "
                                  "certificate made for this run wherever other machines reach it.")]
Values = Annotated[list[str] | None, typer.Option("--set", metavar="OPERATOR.PARAMETER=VALUE",
                                                   help="Set a parameter; may be given several times.")]
Sites = Annotated[Path | None, typer.Option("--sites", help="YAML file: other `sites`, and `at: {operator: site}`.")]


class Size(StrEnum):
    """How large a scan."""

    DEMO = "demo"
    TALK = "talk"


_FORM: Final = "OPERATOR.PARAMETER=VALUE, as in solve.beta=0.8"


def read_sets(sets: list[str] | None) -> dict[str, Any]:
    """{"operator.parameter": value} from the texts of `--set`; raises InputError."""
    found = {}
    for text in sets or []:
        key, equals, value = text.partition("=")
        if not equals or "." not in key:
            raise InputError(f"--set {text}: expected {_FORM}")
        found[key.strip()] = read_value(value)
    return found


def read_flow(file: Path, sets: list[str] | None = None, sites: Path | None = None) -> Workflow:
    """The workflow of a file with `--set` and `--sites`, and with the modules beside it; raises InputError."""
    workflow = read_workflow(file).with_values(read_sets(sets))
    look_beside(file.absolute().parent)
    return put_over_sites(workflow, sites) if sites is not None else workflow


def write_json(file: Path, tree: Any) -> None:
    """Write records and plain values to a file; raises StorageError."""
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(tree), indent=2) + b"\n")
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror}; choose another place") from None
