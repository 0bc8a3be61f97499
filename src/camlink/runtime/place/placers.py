"""Placers by name: how the agent of a site gets onto its machine, and what is known of it before."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from camlink.errors import InputError, UnknownName
from camlink.runtime.hosting import HERE, offer_of
from camlink.runtime.inventory import take_inventory
from camlink.runtime.place.batch import PsijSubmitter
from camlink.runtime.place.births import Births
from camlink.runtime.place.facility import FacilitySubmitter
from camlink.runtime.place.job import QUEUED, Submitter
from camlink.runtime.place.job_site import FacilityOptions, JobOptions, JobPlace, SlurmOptions
from camlink.runtime.place.join_site import JoinOptions, JoinPlacer
from camlink.runtime.place.local import LocalOptions, LocalPlacer
from camlink.runtime.place.remote import RemotePlacer
from camlink.runtime.place.srun import SrunSubmitter
from camlink.runtime.place.ssh_site import SshOptions, SshPlace
from camlink.settings import read_settings
from camlink.workflow.check import MASTER
from camlink.workflow.graph import Site, Workflow
from camlink.workflow.needs import Offer

LATE_S: Final = 600.0  # by so much a batch system may end a job late
_OPTIONS: Final[dict[str, Any]] = {
    **dict.fromkeys(QUEUED, JobOptions), "slurm": SlurmOptions, "facility": FacilityOptions, "ssh": SshOptions,
    "join": JoinOptions, "local": LocalOptions}


def make_placer(agent: str, site: Site, sockets: Path, folder: Path, births: Births | None,
                relay: int = 0) -> LocalPlacer | RemotePlacer | JoinPlacer:
    """The placer of an agent of a site; `relay` is the port of the run's harbour.

    Raises InputError for options that its kind does not know.
    """
    if site.placer in QUEUED:
        asked = _options(site)
        place = JobPlace(asked, folder, lambda jobs: _submitter(agent, site.placer, asked, jobs))
        life_s = asked.wait_s + asked.walltime_s + LATE_S
        return RemotePlacer(agent, place, asked.address, folder, relay, asked.wait_s, life_s)
    if site.placer == "ssh":
        ssh = _options(site)
        return RemotePlacer(agent, SshPlace(ssh), "127.0.0.1", folder, relay)
    if site.placer == "join":
        return JoinPlacer(agent, _options(site), folder, relay, sockets.name)
    assert births is not None  # the master has one where a site is of this machine
    return LocalPlacer(agent, sockets, folder, births, _options(site).walltime_s)


def _submitter(agent: str, placer: str, asked: Any, jobs: Path) -> Submitter:
    if isinstance(asked, FacilityOptions):
        return FacilitySubmitter(asked.api, asked.machine, asked.token)
    if isinstance(asked, SlurmOptions) and read_settings().batch_job.isdecimal() and not asked.new_job:
        return SrunSubmitter(agent)
    return PsijSubmitter(placer, jobs)


def foresee(workflow: Workflow) -> tuple[dict[str, Offer], list[str]]:
    """What each agent of a workflow is going to have, and what sites say that their placers do not know.

    Agents of this machine have what it has, those of a job what their site asks for; of others nothing is known.
    """
    here = offer_of(take_inventory(read_settings().sockets), HERE)
    offers, faults = {MASTER: here}, []
    for site in workflow.sites.values():
        offer = here if site.placer in ("inline", "local") else Offer()
        try:
            options = _options(site) if site.placer in _OPTIONS else None
            if isinstance(options, JobOptions):
                offer = Offer(cores=options.cpus, gpus=options.gpus, memory_bytes=options.memory_bytes or None,
                              time_s=options.walltime_s)
        except InputError as error:
            key = error.name if isinstance(error, UnknownName) else "placer"
            faults.append(f"{error}{workflow.at_line('sites', site.name, key)}")
        offers |= dict.fromkeys(site.names, offer)
    return offers, faults


def _read_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise TypeError(f"expected {kind.__name__}, got {value!r}")


def _options(site: Site) -> Any:
    kind = _OPTIONS[site.placer]
    known = [field.name for field in msgspec.structs.fields(kind)]
    for name in site.options:
        if name not in known:
            raise UnknownName(f"option of site {site.name} ({site.placer})", name, known)
    try:
        return msgspec.convert(dict(site.options), kind, strict=False, dec_hook=_read_path)
    except msgspec.ValidationError as error:
        said = str(error).replace("Object missing required field", f"a site by {site.placer} needs")
        raise InputError(f"sites.{site.name}: {said}") from None
