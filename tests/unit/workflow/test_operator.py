from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
import pytest

from camlink.block import Block, CountFrames, RawFrames, Result
from camlink.errors import InputError, ParameterError, UnknownName
from camlink.workflow.operator import Context, Kind, operator
from camlink.workflow.parameter import Parameters, about, build, describe, fields
from camlink.workflow.port import Inflow, Listed


class Two(NamedTuple):
    image: Result
    counts: CountFrames


class Knobs(Parameters, frozen=True, kw_only=True):
    beta: Annotated[float, about("relaxation", ge=0, le=1)] = 0.75
    width_m: Annotated[float, about("width", unit="m", gt=0)] = 1e-6


def test_ports_come_from_type_hints() -> None:
    @operator("t")
    def f(frames: Inflow[CountFrames], more: Inflow[Result], *, context: Context, parameters: Knobs) -> Iterator[Two]:
        """Do two things.

        And more.
        """
        yield from ()

    assert [(p.name, p.block, p.streams) for p in f.inputs] == [("frames", CountFrames, True), ("more", Result, True)]
    assert [(p.name, p.block) for p in f.outputs] == [("image", Result), ("counts", CountFrames)]
    assert (f.kind, f.parameters, f.help) == (Kind.SOLVER, Knobs, "Do two things.")


def test_keyword_arguments_become_parameters_and_arrive() -> None:
    @operator("t")
    def f(frames: RawFrames, *, gain: Annotated[float, about("gain", ge=1)] = 2.0) -> CountFrames | None:
        return gain  # type: ignore[return-value]

    record = build(f.parameters, {"gain": 3}, "f")
    assert f.make(record, None)(None) == 3.0  # type: ignore[arg-type]
    assert f.kind is Kind.TRANSFORM


def test_a_class_is_built_with_its_parameters_and_called_with_blocks() -> None:
    @operator("t")
    class Adder:
        def __init__(self, parameters: Knobs, context: Context) -> None:
            self.beta, self.context = parameters.beta, context

        def __call__(self, frames: RawFrames) -> list[CountFrames]:
            return [self.beta, self.context]  # type: ignore[list-item]

    body = Adder.make(Knobs(beta=0.25), "context")  # type: ignore[arg-type]
    assert body(None) == [0.25, "context"]
    assert Adder.outputs[0].block is CountFrames


def test_a_single_output_can_be_called_by_its_name() -> None:
    @operator("t", out="image")
    def f(frames: Inflow[CountFrames]) -> Iterator[Result]:
        yield from ()

    assert [port.name for port in f.outputs] == ["image"]


def test_hints_that_do_not_say_enough_are_refused() -> None:
    with pytest.raises(InputError, match="names no Block"):
        @operator("t")
        def f(frames: RawFrames) -> int:
            return 1
    with pytest.raises(InputError, match="either every input is an Inflow"):
        @operator("t")
        def g(frames: RawFrames, more: Inflow[Result]) -> None: ...
    with pytest.raises(InputError, match="needs a type and a default"):
        @operator("t")
        def h(frames: RawFrames, *, gain: float) -> None: ...
    with pytest.raises(InputError, match="at least one input"):
        @operator("t")
        def k(frames: RawFrames | None, more: Result | None) -> None: ...


def _untyped(frames: RawFrames, *, gain=1) -> RawFrames: ...  # type: ignore[no-untyped-def]
def _plain(frames: RawFrames, gain: float = 1.0) -> RawFrames: ...
def _any_inflow(frames: Inflow) -> Result: ...  # type: ignore[type-arg]
def _inflow_of_numbers(frames: Inflow[int]) -> Result: ...  # type: ignore[type-var]
def _either(frames: RawFrames | CountFrames) -> Result: ...
def _more(frames: RawFrames, *others: RawFrames) -> Result: ...
def _listed(frames: RawFrames, *, sizes: list[int] = [1]) -> Result: ...  # noqa: B006
def _array(frames: RawFrames, *, flat: np.ndarray = None) -> Result: ...  # type: ignore[assignment]
def _record(frames: RawFrames, *, parameters: dict) -> Result: ...  # type: ignore[type-arg]
def _broken(frames: "Inflow[") -> Result: ...  # type: ignore # noqa: F722
def _nothing() -> None: ...
def _kindless(frames: RawFrames) -> Result: ...


class _Gain:
    def __init__(self, gain: float) -> None: ...
    def __call__(self, frames: RawFrames) -> Result: ...


class _Contextual:
    def __call__(self, frames: RawFrames, context: Context) -> Result: ...


@pytest.mark.parametrize(("body", "says"), [
    (_untyped, "'gain' needs a type"), (_plain, "'gain' is typed as no Block"),
    (_any_inflow, "'frames' is typed as no"),
    (_inflow_of_numbers, "'frames' is typed as no"), (_either, "'frames' is typed as no"), (_more, "'others' is typed"),
    (_listed, "no plain values"), (_array, "no plain values"), (_record, "no subclass of Parameters"),
    (_broken, "cannot be read"), (_nothing, "takes nothing and gives nothing"), (_Gain, "'gain' of __init__"),
    (_Contextual, "belongs to __init__"), (3, "neither a function nor a class")])
def test_what_cannot_work_is_refused_when_it_is_described(body: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        operator("t")(body)


def test_an_unknown_kind_is_told_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="did you mean 'source'"):
        operator("t", kind="sourc")(_kindless)


def test_several_blocks_are_the_inputs_of_a_join_and_some_may_miss() -> None:
    @operator("t")
    def f(frames: RawFrames, more: CountFrames | None) -> RawFrames:
        return frames

    assert (f.joins, f.streams, f.kind) == (True, False, "transform")
    assert [(p.name, p.block, p.optional) for p in f.inputs] == [
        ("frames", RawFrames, False), ("more", CountFrames, True)]


@pytest.mark.parametrize(("values", "error", "text"), [
    ({"beta": 2}, ParameterError, r"solve\.beta = 2: .*<= 1.*relaxation, >= 0, <= 1 \(default 0\.75\)"),
    ({"width_m": 0}, ParameterError, r"width \[m\], > 0"),
    ({"beta": "much"}, ParameterError, "expected `float`"),
    ({"bta": 0.5}, UnknownName, "did you mean 'beta'"),
])
def test_a_bad_parameter_is_named_with_its_help(values: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        build(Knobs, values, "solve")


def test_fields_tell_all_that_a_form_needs() -> None:
    row = fields(Knobs)[1]
    assert row == {"name": "width_m", "type": "number", "unit": "m", "bounds": "> 0", "default": 1e-6, "help": "width",
                   "choices": []}
    assert describe(Knobs, "nothing") == "no such parameter"


def test_listed_is_an_inflow_over_what_is_there() -> None:
    blocks: list[Block] = [Block(None, {}), Block(None, {})]  # type: ignore[arg-type]
    inflow = Listed(blocks)
    assert inflow.take() is blocks[0]
    assert not inflow.ended
    assert list(inflow) == blocks[1:]
    assert inflow.ended
    assert inflow.take() is None
