"""camlink relay: the one open port where sites meet that may only dial outward."""

from __future__ import annotations

import signal
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from camlink.errors import InputError


def relay(key: Annotated[Path, typer.Argument(help="File of mode 0600 with the secret of this relay.")],
          host: Annotated[str, typer.Option(help="Address to listen at; loopback unless you say so.")] = "127.0.0.1",
          port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
          new_key: Annotated[bool, typer.Option("--new-key", help="Make the file with a new secret.")] = False) -> None:
    """Join sites that may only dial outward; the relay never sees what goes through."""
    from camlink.carry.far.relay import Relay
    from camlink.carry.far.ticket import RelayKey

    if new_key and key.exists():
        raise InputError(f"{key} exists; a secret is never overwritten, choose another name")
    serving = Relay(RelayKey.make(key) if new_key else RelayKey.read(key), host, port)
    console = Console()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: serving.close())
    console.print(f"relay   {serving.address}", highlight=False, soft_wrap=True)

    def tell(*, last: bool = False) -> None:
        for who in serving.refusals.news(last=last):
            console.print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  turned away: {who.count}, the last from {who.peer}: "
                          f"{who.reason}", highlight=False, markup=False, soft_wrap=True)

    serving.run(tell)
    tell(last=True)
    console.print(f"        {serving.facts}", highlight=False, soft_wrap=True)
