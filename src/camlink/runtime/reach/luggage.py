"""Luggage: files beside a workflow that go along to agents on other machines; the master packs, the agent unpacks."""

from __future__ import annotations

import tempfile
from pathlib import Path

from camlink.carry.far.keys import write_private
from camlink.errors import StorageError
from camlink.runtime.messages import Luggage
from camlink.workflow.beside import read_beside
from camlink.workflow.check import Checked


def pack(checked: Checked) -> dict[str, Luggage]:
    """What goes along to agents, by site: files of the operators that may work there; empty for a faulty workflow.

    Raises InputError when it is too much.
    """
    packed = {}
    for site in checked.workflow.sites.values() if not checked.problems else ():
        there = [op for name, op in checked.operators.items() if {*site.names} & {*checked.hosts(name)}]
        if site.far and (files := read_beside(there)):
            packed[site.name] = Luggage(files=files)
    return packed


def unpack(luggage: Luggage, folder: Path) -> None:
    """Put the files into an empty folder, all at once: who looked into it before sees that it has changed.

    Folder and files are for their owner alone. Raises StorageError.
    """
    try:
        part = Path(tempfile.mkdtemp(dir=folder.parent))
        for name, text in luggage.files.items():
            write_private(part / name, text)
        part.replace(folder)
    except OSError as error:
        raise StorageError(f"cannot write the luggage of this run to {folder}: {error.strerror}; look at the disk"
                           ) from None
