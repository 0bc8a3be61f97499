import msgspec
import pytest

from camlink.block import RawFrames
from camlink.errors import InputError, ParameterError, UnknownName
from camlink.runtime.events import Adjust, Cancel, Pause, Scale, Tag
from camlink.runtime.orders import choices_of, examine
from camlink.testing import toys
from camlink.workflow.check import check
from camlink.workflow.elastic import Elastic
from camlink.workflow.graph import Workflow
from camlink.workflow.operator import operator


@pytest.fixture(scope="module")
def checked():
    flow = Workflow("toys")
    flow.add("add", toys.add, flow.add("count", toys.count, flow.add("camera", toys.camera)))
    return check(flow).must_run()


@pytest.mark.parametrize("order", [
    Cancel(), Pause(), Tag(text="good"), Scale(operator="count", replicas=64),
    Adjust(operator="count", parameters={"sleep_s": 0.5})])
def test_what_can_be_done_passes(checked, order):
    examine(order, checked, "graph")


@pytest.mark.parametrize(("order", "error", "words"), [
    (Scale(operator="add", replicas=2), InputError, "may have: count"),
    (Scale(operator="cuont", replicas=2), UnknownName, "did you mean 'count'"),
    (Scale(operator="count", replicas=65), InputError, "1 to 64"),
    (Scale(operator="count", replicas=0), InputError, "1 to 64"),
    (Adjust(operator="cuont", parameters={}), UnknownName, "did you mean 'count'"),
    (Adjust(operator="add", parameters={"sleep_s": 1.0}), InputError, "take others: count"),
    (Adjust(operator="count", parameters={"sleep_s": -1.0}), ParameterError, "sleep_s"),
    (Adjust(operator="count", parameters={"slep_s": 1.0}), UnknownName, "sleep_s")])
def test_what_cannot_be_done_is_refused_with_what_can(checked, order, error, words):
    with pytest.raises(error, match=words):
        examine(order, checked, "graph")


def test_a_source_that_cannot_pause_is_not_paused():
    flow = Workflow("detector")
    flow.add("camera", "fastccd")
    with pytest.raises(InputError, match="no source"):
        examine(Pause(), check(flow), "graph")


@pytest.mark.parametrize(("order", "phase", "words"), [
    (Tag(text="late"), "over", "is over"), (Cancel(), "closing", "is over"),
    (Scale(operator="count", replicas=2), "network", "ask again")])
def test_what_comes_too_late_or_too_early_is_said_so(checked, order, phase, words):
    with pytest.raises(InputError, match=words):
        examine(order, checked, phase)


def test_who_takes_frames_in_order_has_no_replicas():
    flow = Workflow("toys")
    flow.add("count", toys.count, flow.add("camera", toys.camera), ordered=True)
    with pytest.raises(InputError, match="may have: none"):
        examine(Scale(operator="count", replicas=2), check(flow).must_run(), "graph")


def test_forms_are_told_what_orders_may_be_about(checked):
    told = choices_of(checked)
    assert (told["pause"], told["scale"], list(told["set"])) == (["camera"], ["count"], ["count"])
    (row,) = (row for row in told["set"]["count"] if row["name"] == "sleep_s")
    assert (row["value"], row["unit"], row["bounds"], row["help"]) == (0.0, "s", ">= 0", "how long")
    assert msgspec.json.encode(told)


def test_parameters_that_stay_are_refused_with_the_reason_and_stand_in_no_form():
    flow = Workflow("solved")
    flow.add("solve", "ptychography.solve", flow.add("reduce", "ptychography.reduce", flow.add("camera", toys.camera)))
    checked = check(flow).must_run()
    for who, name, why in (("solve", "modes", "was made with it"), ("reduce", "crop", "would not fit")):
        with pytest.raises(InputError, match=rf"{who}\.{name} stays as it is while the run goes on: .*{why}"):
            examine(Adjust(operator=who, parameters={name: 2}), checked, "graph")
    examine(Adjust(operator="solve", parameters={"algorithm": "raar", "iterations": 80}), checked, "graph")
    told = choices_of(checked)["set"]
    assert {row["name"] for row in told["reduce"]} == {"merge_window", "dark"}
    assert {"algorithm", "iterations"} < {row["name"] for row in told["solve"]}
    assert "modes" not in {row["name"] for row in told["solve"]}


@operator("tested.sum", kind="transform")
class Summing:
    """Remembers what it has seen."""

    def __call__(self, frames: RawFrames) -> RawFrames:
        return frames


def test_the_reduction_tells_its_replicas_what_they_have_to_know():
    flow = Workflow("reduced")
    flow.add("reduce", "ptychography.reduce", flow.add("camera", toys.camera))
    assert choices_of(check(flow))["scale"] == ["reduce"]


def test_replicas_of_what_remembers_frames_do_not_join_in_the_middle():
    flow = Workflow("summed")
    flow.add("sum", Summing, flow.add("camera", toys.camera))
    assert choices_of(check(flow))["scale"] == []
    with pytest.raises(InputError, match="what the others saw"):
        examine(Scale(operator="sum", replicas=2), check(flow), "graph")
    elastic = Workflow("summed")
    elastic.add("sum", Summing, elastic.add("camera", toys.camera), replicas=Elastic())
    assert any("`independent` class" in problem for problem in check(elastic).problems)
