"""camlink on the command line: one file a command; exit codes 0 complete, 1 degraded or failed, 2 wrong input."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from camlink.display.terminal import (
    agent,
    bench,
    check,
    demo,
    doctor,
    draw,
    evaluate,
    explain,
    operators,
    plan,
    prepare,
    record,
    recover,
    relay,
    replay,
    run,
    scale,
    serve,
    twin,
)
from camlink.errors import CamlinkError, InputError

app = typer.Typer(help="Real-time streaming workflows at the light sources.", no_args_is_help=True,
                  add_completion=False, pretty_exceptions_enable=False)
for command in (demo, run, serve, scale, doctor, operators, check, draw, record, replay, recover, explain, evaluate,
                plan, twin, agent, relay, bench, prepare):
    name = command.__name__.rpartition(".")[2]
    app.command(name)(getattr(command, name))


def main() -> None:
    """Run the command line; every failure that we know is one message without a trace."""
    errors = Console(stderr=True)
    try:
        app()
    except InputError as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except CamlinkError as error:
        errors.print(f"failed: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)
