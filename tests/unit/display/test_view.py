import numpy as np

from camlink.block import Header, Result, Scan
from camlink.display.live import Live
from camlink.display.view import ViewParameters, view
from camlink.workflow.operator import Kind
from camlink.workflow.port import Listed

SCAN = Scan(id="s", expected=1, shape=(4, 4), pixel_m=(1.0, 1.0), distance_m=1.0, energy_eV=1.0, span_m=(0, 0, 1, 1))


class Watching:
    def __init__(self):
        self.screen = Live()


def result(made_s, value):
    return Result(Header(scan=SCAN, made_s=made_s, source="solve"), {"map": np.full((4, 4), value)})


def run(blocks, **values):
    context = Watching()
    view.make(ViewParameters(**values), context)(Listed(blocks))
    return context.screen


def test_the_view_is_a_view_of_blocks():
    assert view.kind is Kind.VIEW
    assert view.streams
    assert view.outputs == ()


def test_every_block_is_shown():
    assert run([result(k, k) for k in range(3)]).versions()["solve/map"] == 3


def test_a_slow_view_shows_the_last_block_all_the_same():
    live = run([result(0.1 * k, float(k)) for k in range(10)], interval_s=0.45)
    assert live.versions()["solve/map"] == 3
    assert live.value("solve/map", 0, 0)[1] == 9.0
