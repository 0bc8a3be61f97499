from __future__ import annotations

import re

from camlink.carry.account import Histogram
from camlink.display.web.metrics import metrics_text
from camlink.runtime.status import LinkStatus, OperatorStatus, RunStatus

LINE = re.compile(r'^[a-z_]+(\{([a-z_]+="([^"\\\n]|\\.)*",?)*\})? -?[0-9.]+$')


def test_before_the_first_status_there_is_a_comment() -> None:
    assert metrics_text(None) == "# no run yet\n"


def test_every_figure_of_links_and_operators_is_a_line_that_prometheus_reads() -> None:
    text = metrics_text(RunStatus(
        version=1, workflow="toys", verdict="degraded", frames={"expected": 3, "lost": {'it said "no"\n': 1}},
        operators=(OperatorStatus(name="count", use="c", kind="transform", site="here", restarts=2,
                                  aside={"boom": 1}),),
        links=(LinkStatus(name="a->b", source="a", target="b", sent=3, lost={"gone": 1}, age_ms={"max": 2.5},
                         age_histogram=Histogram((1.024, 2.048, 4.096), (2, 0, 1), 3.5)),)))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in lines if not LINE.match(line)] == []
    assert 'camlink_operator_restarts_total{operator="count"} 2' in lines
    assert 'camlink_link_lost_total{link="a->b",reason="gone"} 1' in lines
    assert [line.rpartition(" ")[2] for line in lines if line.startswith("camlink_link_age_seconds_bucket")] == (
        ["0"] * 6 + ["2", "2"] + ["3"] * 16)
    assert 'camlink_link_age_seconds_bucket{link="a->b",le="0.001024"} 2' in lines
    assert 'camlink_link_age_seconds_sum{link="a->b"} 0.003500' in lines
    assert 'camlink_link_age_max_seconds{link="a->b"} 0.002500' in lines
    assert 'camlink_run_verdict{verdict="degraded"} 1' in lines
    for metric in {line.partition("{")[0].partition(" ")[0] for line in lines}:
        family = re.sub(r"(_seconds)_(bucket|sum|count)$", r"\1", metric)
        assert f"# TYPE {family} " in text
