from __future__ import annotations

from typing import Any

import pytest

from camlink.errors import InputError
from camlink.runtime.place.placers import foresee
from camlink.workflow.graph import Site, Workflow


def seen(**options: Any) -> Any:
    return foresee(Workflow("w", sites={"there": Site("there", placer="pbs", options=options)}))["there"]


@pytest.mark.parametrize("options", [{"queue": "day -W depend"}, {"account": "a\nb"}, {"cpus": 0}, {"gpus": -1},
                                     {"memory_bytes": -1}, {"walltime_s": 0}, {"wait_s": 0}, {"queues": "day"}])
def test_what_a_job_cannot_ask_for_is_said_before_the_beam(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"sites\.there: "):
        seen(**options)


def test_a_job_has_what_its_site_asks_for() -> None:
    offer = seen(queue="day,night@server", account="x-ray:2", cpus=4, gpus=1, walltime_s=60)
    assert (offer.cores, offer.gpus, offer.time_s) == (4, 1, 60)
