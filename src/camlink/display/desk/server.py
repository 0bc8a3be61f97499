"""DeskServer: the desk on a port of this machine; one a folder of runs, whose letter lies there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from camlink.display.client import LETTER, Client, Letter
from camlink.display.desk.app import Desk
from camlink.display.desk.menu import Menu
from camlink.display.desk.records import AUDIT, Start
from camlink.display.desk.runs import ASK_S, Runs
from camlink.display.desk.starter import Starter
from camlink.display.web.access import Role
from camlink.display.web.action import Action
from camlink.display.web.encryption import Encryption
from camlink.display.web.server import Server
from camlink.errors import CamlinkError, InputError, StorageError


class DeskServer(Server):
    """Serves a desk over the runs in `folder`, until closed; what it started goes on.

    Raises InputError when another one is up for this folder, and what `Server` and `Menu` raise.
    """

    def __init__(self, workflows: Sequence[Path], demos: Mapping[str, str], folder: Path, most: int,
                 host: str = "127.0.0.1", port: int = 0, encryption: Encryption | None = None) -> None:
        self.folder = folder.resolve()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the folder of runs {folder}: {error.strerror}; set CAMLINK_RUNS") from None
        _take_the_place(self.folder / LETTER)
        menu = Menu(workflows, demos)
        self._runs = Runs(self.folder)
        starter = Starter(menu, self.folder, most, self._runs.going)
        super().__init__(Desk(menu, self._runs).build, host, port, encryption)
        self.actions["start"] = Action(Role.OPERATOR, starter.start, Start, "Start a run of a workflow of the menu.")
        self.audit.keep(self.folder / AUDIT)
        self.leave_letter(self.folder / LETTER)

    def close(self) -> None:
        """Close the page; at most `CLOSE_S` seconds."""
        super().close()
        self._runs.close()


def _take_the_place(path: Path) -> None:
    """Remove the letter of a desk that was killed; one that is up keeps its folder."""
    try:
        letter = msgspec.json.decode(path.read_bytes(), type=Letter)
        with Client(letter.url, letter.token, letter.fingerprint, timeout_s=ASK_S) as client:
            client.me()
    except (OSError, CamlinkError, msgspec.MsgspecError) as error:
        if not isinstance(error.__context__, TimeoutError):  # a desk that is stopped, or too busy, goes on later
            path.unlink(missing_ok=True)
            return
    raise InputError(f"{path.parent}: a desk is up for this folder already, at {letter.url}; use or end it, or set "
                     "CAMLINK_RUNS to another one")
