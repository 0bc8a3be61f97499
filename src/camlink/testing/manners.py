"""Manners: what the suites of sources and operators both ask of an operator and of the blocks that it gives."""

from __future__ import annotations

import importlib
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from camlink.block import Block, FrameKind, Frames
from camlink.carry.envelope import decode, encode
from camlink.clock import now_s
from camlink.errors import CamlinkError
from camlink.workflow.operator import Operator
from camlink.workflow.parameter import Parameters, build
from camlink.workflow.port import Port

PATIENCE_S: Final = 90.0
T = TypeVar("T")


def bounded(work: Callable[[], T], what: str) -> T:
    """What `work()` gives or raises; raises AssertionError that names `what` when it does not end in PATIENCE_S."""
    told: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            told.append(work())
        except BaseException as error:  # raised again below, in the thread that asked
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), f"{what} did not end in {PATIENCE_S:g} s"
    if raised:
        raise raised[0]
    return told[0]


def said(work: Callable[[], object], kind: type[CamlinkError] = CamlinkError) -> str | None:
    """The words of the exception of ours that `work()` raises; None when it raises nothing."""
    try:
        work()
    except kind as error:
        return str(error)
    return None


def check_described(operator: Operator, values: Mapping[str, Any]) -> Parameters:
    """The description is whole, and parameters and body find their way into another process; the record made."""
    assert isinstance(operator, Operator), f"{operator!r} is no operator; decorate it with @operator"
    assert operator.help, f"{operator.name}: the first line of its docstring is what people see; write one"
    for port in (*operator.inputs, *operator.outputs):
        assert issubclass(port.block, Block), f"{operator.name}.{port.name}: {port.block!r} is no Block"
    build(operator.parameters, {}, operator.name)
    record = build(operator.parameters, dict(values), operator.name)
    again = build(operator.parameters, msgspec.to_builtins(record), operator.name)
    assert again == record, f"{operator.name}: its parameters do not survive the way to another process: {again}"
    if "<locals>" not in operator.where:
        module, _, name = operator.where.partition(":")
        assert isinstance(getattr(importlib.import_module(module), name, None), Operator), (
            f"{operator.name}: {operator.where} is not the operator; a worker in another process cannot load it")
    return record


def check_block(block: Block, ports: Sequence[Port], name: str) -> None:
    """A block is what a port says, is whole, and travels."""
    kinds = tuple(port.block for port in ports)
    assert isinstance(block, kinds), f"{name} gave a {type(block).__name__}, its ports say {kinds}"
    assert block.scan.id, f"{name}: a block without a scan id"
    assert 0 <= block.header.made_s <= now_s() + 1, f"{name}: made_s = {block.header.made_s} is no moment of the past"
    type(block).checked(block.header, block.arrays)
    again = decode([bytes(memoryview(part).cast("B")) for part in encode(block)])
    assert type(again) is type(block)
    assert print_of(again) == print_of(block), f"{name}: a block is another one after the way over a link"
    if isinstance(block, Frames):
        assert block.count, f"{name}: a block without frames"
        assert set(block.kind.tolist()) <= set(FrameKind), f"{name}: unknown kinds {set(block.kind.tolist())}"
        assert np.isfinite(block.time_s).all(), f"{name}: time_s is not finite"


def print_of(block: Block) -> tuple[Any, ...]:
    """The fingerprint of everything that others see of a block."""
    arrays = tuple((name, str(array.dtype), array.shape, zlib.crc32(np.ascontiguousarray(array).tobytes()))
                   for name, array in sorted(block.arrays.items()))
    return msgspec.json.encode(block.header), arrays


class Kept:
    """Blocks that were given out or taken in, with their fingerprints of that moment."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._prints: list[tuple[Any, ...]] = []

    def add(self, block: Block) -> None:
        """Keep a block and its fingerprint."""
        self.blocks.append(block)
        self._prints.append(print_of(block))

    def check_unchanged(self, what: str) -> None:
        """Raise AssertionError when one was changed since."""
        for number, (block, before) in enumerate(zip(self.blocks, self._prints, strict=True)):
            assert print_of(block) == before, f"{what} {number} was changed after it was given out; give out a copy"


def frozen(block: Block) -> Block:
    """The same block with arrays that cannot be written, as links through shared memory give it."""
    arrays = {name: array.copy() for name, array in block.arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return type(block)(block.header, arrays)


def frames_of(blocks: Sequence[Block]) -> Iterator[tuple[str, int]]:
    """(scan id, index) of every frame."""
    for block in blocks:
        if isinstance(block, Frames):
            yield from ((block.scan.id, int(index)) for index in block.index)
