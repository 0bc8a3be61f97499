"""Entry of the processes of a cluster that an agent starts: its scheduler, or one worker of one thread.

A Part is read from standard input; standard output tells the address first and then, by a dot a second, that it lives.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from camlink.runtime.cluster.certificates import Handshakes, security
from camlink.runtime.cluster.client import SETTINGS, need_dask
from camlink.runtime.messages import Dashboard

DOT_S: Final = 1.0
LONE_S: Final = "30s"
MOST_BYTES: Final = 1 << 20
ROUTES: Final = ["distributed.http.scheduler.info", "distributed.http.statics"]


class Part(msgspec.Struct, frozen=True):
    """What a process of a cluster is: a worker of the scheduler at `address`, or the scheduler where there is none.

    `own` is the file of its certificate and key, which its agent writes anew.
    """

    host: str
    address: str
    authority: str
    own: str
    folder: str
    memory_bytes: int
    dashboard: Dashboard = Dashboard()


async def run(part: Part) -> None:
    """Serve until the other side is gone."""
    import dask

    dask.config.set(SETTINGS | {"logging": {"distributed": "error"}, "temporary-directory": part.folder})
    _, distributed = need_dask()  # it reads what is set about logging when it is imported
    secure = security(distributed, part.authority, Path(part.own))
    if part.address:
        server: Any = _without_pages(distributed.Worker)(
            part.address, nthreads=1, host=part.host, security=secure, local_directory=part.folder,
            memory_limit=part.memory_bytes, death_timeout=LONE_S, dashboard=False)
    elif part.dashboard.socket:
        dask.config.set({"distributed.scheduler.http.routes": ROUTES})
        server = _with_pages(distributed.Scheduler, part)(
            host=part.host, port=0, protocol="tls://", security=secure, dashboard=True,
            http_prefix=part.dashboard.prefix)
    else:
        server = _without_pages(distributed.Scheduler)(host=part.host, port=0, protocol="tls://", security=secure,
                                                       dashboard=False)
    await server
    _say(f"{server.address}\n")
    while server.status == distributed.Status.running:
        await asyncio.sleep(DOT_S)
        _say(".")


def _without_pages(kind: Any) -> Any:
    """The same without its web server, which would answer without a login."""
    return type(kind.__name__, (kind,), {"start_http_server": lambda *_, **__: None})


def _with_pages(kind: Any, part: Part) -> Any:
    """The same with its web server on a unix socket of mode 0600, for the page of the run: a client of the cluster."""
    from distributed.http.routing import RoutingApplication
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_unix_socket

    def start(self: Any, routes: Any, *_: Any, **__: Any) -> None:
        self.http_application = RoutingApplication(routes)
        asked = Handshakes.of(part.authority, Path(part.own), serves=True)
        self.http_server = HTTPServer(self.http_application, ssl_options=asked)
        self.http_server.add_socket(bind_unix_socket(part.dashboard.socket, mode=0o600))
        self.http_server.address, self.http_server.port = "localhost", 0

    return type(kind.__name__, (kind,), {"start_http_server": start})


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    from camlink.runtime.nursery import end_with_parent

    end_with_parent(int(sys.argv[2]), signal.SIGKILL)
    asyncio.run(run(msgspec.msgpack.decode(sys.stdin.buffer.read(MOST_BYTES), type=Part)))
