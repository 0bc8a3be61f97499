"""Placers by name: how the agent of a site gets onto its machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from camlink.errors import InputError
from camlink.runtime.place.local import LocalPlacer
from camlink.runtime.place.remote import RemotePlacer
from camlink.runtime.place.slurm_site import SlurmOptions, SlurmPlace
from camlink.runtime.place.ssh_site import SshOptions, SshPlace
from camlink.workflow.graph import Site


def make_placer(site: Site, sockets: Path, folder: Path, relay: int = 0) -> LocalPlacer | RemotePlacer:
    """The placer of a site; `relay` is the port of the run's harbour.

    Raises InputError for options that its kind does not know.
    """
    if site.placer == "slurm":
        slurm = _options(site, SlurmOptions)
        return RemotePlacer(site.name, SlurmPlace(slurm, folder), slurm.address, folder, relay)
    if site.placer == "ssh":
        ssh = _options(site, SshOptions)
        return RemotePlacer(site.name, SshPlace(ssh), "127.0.0.1", folder, relay)
    return LocalPlacer(site.name, sockets, folder)


def _read_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise TypeError(f"expected {kind.__name__}, got {value!r}")


def _options(site: Site, kind: Any) -> Any:
    try:
        return msgspec.convert(dict(site.options), kind, strict=False, dec_hook=_read_path)
    except msgspec.ValidationError as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(kind))
        raise InputError(f"sites.{site.name}: {error} (a site by {site.placer} knows {known})") from None
