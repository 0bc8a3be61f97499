"""camlink agent: the remote event loop on another machine; dials its master and works for it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer


def agent(join: Annotated[str, typer.Option(help="The master: tcp://HOST:PORT, or ticket:FILE for a relay.")],
          key: Annotated[Path, typer.Option(help="Key file of this agent, of mode 0600.")],
          site: Annotated[str, typer.Option(help="Name of the site in the workflow.")],
          relay: Annotated[str, typer.Option(help="HOST:PORT where links to other machines meet.")] = "",
          listen: Annotated[str, typer.Option(help="Address of this machine where links may be dialled directly, with "
                                                   "keys of the run; `any` for all. None unless you say so.")] = "",
          walltime: Annotated[float, typer.Option(min=0, help="Seconds after which its job ends, where no Slurm tells; "
                                                              "0 for never.")] = 0.0,
          ) -> None:
    """Join a run from another machine; it needs no open port here."""
    from camlink.runtime.reach.far_agent import work

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work(join, key, site, relay, listen, walltime)
