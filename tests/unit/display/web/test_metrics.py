from __future__ import annotations

import re

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
        links=(LinkStatus(name="a->b", source="a", target="b", sent=3, lost={"gone": 1}, age_ms={"p50": 2.0}),)))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in lines if not LINE.match(line)] == []
    assert 'camlink_operator_restarts_total{operator="count"} 2' in lines
    assert 'camlink_link_lost_total{link="a->b",reason="gone"} 1' in lines
    assert 'camlink_link_age_seconds{link="a->b",quantile="0.5"} 0.002000' in lines
    assert 'camlink_run_verdict{verdict="degraded"} 1' in lines
    for metric in {line.partition("{")[0].partition(" ")[0] for line in lines}:
        assert f"# TYPE {metric} " in text
