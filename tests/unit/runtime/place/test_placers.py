from __future__ import annotations

from typing import Any

import pytest

from camlink.runtime.place.placers import foresee
from camlink.workflow.graph import Site, Workflow
from camlink.workflow.text import parse_workflow


def seen(**options: Any) -> Any:
    return foresee(Workflow("w", sites={"there": Site("there", placer="pbs", options=options)}))


@pytest.mark.parametrize("options", [{"queue": "day -W depend"}, {"account": "a\nb"}, {"cpus": 0}, {"gpus": -1},
                                     {"memory_bytes": -1}, {"walltime_s": 0}, {"wait_s": 0}])
def test_what_a_job_cannot_ask_for_is_said_before_the_beam(options: dict[str, Any]) -> None:
    offers, (fault,) = seen(**options)
    assert fault.startswith("sites.there: ")
    assert offers["there"].cores is None


def test_a_job_has_what_its_site_asks_for() -> None:
    offers, faults = seen(queue="day,night@server", account="x-ray:2", cpus=4, gpus=1, walltime_s=60)
    assert not faults
    assert (offers["there"].cores, offers["there"].gpus, offers["there"].time_s) == (4, 1, 60)


def test_every_site_with_an_option_that_it_does_not_know_is_named_with_its_line() -> None:
    _, faults = foresee(parse_workflow('''
workflow: w
sites:
  beam: {placer: ssh, hots: beam7}
  gate: {placer: ssh}
  cluster: {placer: slurm, walltime: 60}
operators:
  frames: {use: replay, at: beam}
'''))
    assert [fault.partition(" (known")[0] for fault in faults[:1] + faults[2:]] == [
        "unknown option of site beam (ssh) 'hots'; did you mean 'host'?",
        "unknown option of site cluster (slurm) 'walltime'; did you mean 'walltime_s'?"]
    assert faults[0].endswith("(line 4, column 23)")
    assert faults[1] == "sites.gate: a site by ssh needs `host` (line 5, column 10)"
