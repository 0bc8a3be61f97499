"""Server: a page on a port of this machine, in a thread of its own; closing it never takes longer than stated."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol, Self

import msgspec
import uvicorn
from starlette.types import ASGIApp, Scope

from camlink.carry.far.keys import write_private
from camlink.display.client import Letter
from camlink.display.live import Live
from camlink.display.web.access import Access, Role
from camlink.display.web.action import Action
from camlink.display.web.app import LOOPBACK, build_app
from camlink.display.web.audit import Audit
from camlink.display.web.door import LOGIN, Door
from camlink.display.web.encryption import Encryption
from camlink.display.web.guard import ANY_HOST
from camlink.display.web.message import LARGEST_MESSAGE_BYTES
from camlink.display.web.patience import Patient
from camlink.display.web.peer import is_loopback, is_same_user
from camlink.errors import AddressInUse, InputError, UnknownName, WorldError
from camlink.runtime.messages import Dashboard

START_S: Final = 10.0
CLOSE_S: Final = 5.0
MOST_CONNECTIONS: Final = 500


class Build(Protocol):
    """Makes the app of a page."""

    def __call__(self, *, hosts: Collection[str], door: Door, actions: Mapping[str, Action]) -> ASGIApp:
        """The app, for requests that name one of `hosts`."""
        ...


class Server:
    """Serves the app that `build` makes until closed; `port` 0 takes a free one.

    On loopback processes of the same user may look without a token; everybody else, and everybody at another `host`,
    needs one. `actions` may be filled while it serves, `audit` keeps who did what. With `encryption` it speaks TLS.
    Raises AddressInUse for a fixed port that somebody else holds, InputError for a host that is not of this machine.
    """

    def __init__(self, build: Build, host: str = "127.0.0.1", port: int = 0,
                 encryption: Encryption | None = None) -> None:
        self._socket = _listen(host, port)
        self.host, self.encryption = host, encryption
        self.port: int = self._socket.getsockname()[1]
        self.access, self.audit = Access(), Audit()
        self._letter: Path | None = None
        self.actions: dict[str, Action] = {"invite": Action(Role.OWNER, self._invite, dict[str, str],
                                                               "Make an address that lets in with a role.")}
        self._owner = self.access.invite(Role.OWNER, float("inf"))
        at_home = is_loopback(host)
        app = build(hosts=LOOPBACK if at_home else (ANY_HOST,), actions=self.actions,
                    door=Door(self.access, self.audit, _is_neighbour if at_home else _is_nobody))
        config = uvicorn.Config(
            app, log_config=None, log_level="error", access_log=False, lifespan="on",
            http=type("Patient", (Patient,), {"audit": self.audit}),
            ws="websockets-sansio", ws_max_size=LARGEST_MESSAGE_BYTES, ws_per_message_deflate=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=1,
            limit_concurrency=MOST_CONNECTIONS)  # at level error strangers write no lines on the terminal
        config.load()
        config.ssl = encryption.context if encryption else None  # files of a key are all that its own options take
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]},
                                        name="camlink-page", daemon=True)
        self._thread.start()
        self._wait_until_started()

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"{'https' if self.encryption else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def invitation(self) -> str:
        """The address that lets its holder in as owner: a secret, to be shown once and kept nowhere."""
        return f"{self.url.rstrip('/')}{LOGIN}?token={self._owner}"

    def leave_letter(self, path: Path) -> None:
        """Leave address and an operator's token for other programs of this user, in a file of mode 0600, until closed.

        Raises StorageError.
        """
        letter = Letter(self.url, self.access.invite(Role.OPERATOR, float("inf"), "command line", speaks=True),
                        self.encryption.fingerprint if self.encryption else "")
        write_private(path, msgspec.json.encode(letter))
        self._letter = path

    @property
    def viewers(self) -> int:
        """Connections that are open now."""
        return len(self._server.server_state.connections)

    def close(self) -> None:
        """Close every page and the port; at most `CLOSE_S` seconds."""
        self._server.should_exit = True
        self._thread.join(CLOSE_S / 2)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(CLOSE_S / 2)
        self._socket.close()
        self.audit.close()
        if self._letter is not None:
            self._letter.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _invite(self, who: str, wanted: dict[str, str]) -> str:
        """The address that lets in with the role `wanted["role"]`, as `wanted["who"]` if that is said."""
        names = {role.name.lower(): role for role in Role}
        role = names.get(wanted.get("role", "viewer"))
        if role is None:
            raise UnknownName("role", wanted["role"][:40], names)
        return f"{self.url.rstrip('/')}{LOGIN}?token={self.access.invite(role, who=wanted.get('who', ''))}"

    def _wait_until_started(self) -> None:
        end_s = time.monotonic() + START_S
        while not self._server.started:
            if time.monotonic() > end_s or not self._thread.is_alive():
                self.close()
                raise WorldError(f"the page did not start at {self.url} in {START_S:g} s; is the machine overloaded?")
            time.sleep(0.005)


class PageServer(Server):
    """Serves the page of the run that writes `live`; `dashboards` may be filled while it serves."""

    def __init__(self, live: Live, host: str = "127.0.0.1", port: int = 0,
                 encryption: Encryption | None = None) -> None:
        self.dashboards: dict[str, Dashboard] = {}
        super().__init__(partial(build_app, live, dashboards=self.dashboards), host, port, encryption)


def _is_neighbour(scope: Scope) -> bool:
    return is_same_user(scope.get("client"), scope.get("server"))


def _is_nobody(scope: Scope) -> bool:
    return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"page: port {port} of {host} is in use by somebody else; "
                               "choose another one, or 0 for any free one") from None
        raise InputError(f"page: cannot listen at {host} port {port}: {error.strerror or error}; "
                         "use 127.0.0.1, or an address of this machine, and a port that you may open") from None
    except OverflowError:
        listener.close()
        raise InputError(f"page: {port} is no port; use 0 to 65535") from None
    return listener
