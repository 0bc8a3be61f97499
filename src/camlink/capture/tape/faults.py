"""TapeFaults: what a replay does wrong on demand, the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec

from camlink.block import Block
from camlink.capture.fault_set import FaultSet, Probability
from camlink.carry.envelope import decode, encode
from camlink.errors import WireError

FURTHEST = 8


class TapeFaults(FaultSet, frozen=True, kw_only=True):
    """Probabilities per block. `late` blocks come `late_s` [s] later, after others; `reordered` ones up to 8 places."""

    late: Probability = 0.0
    lost: Probability = 0.0
    duplicated: Probability = 0.0
    reordered: Probability = 0.0
    corrupt: Probability = 0.0
    late_s: Annotated[float, msgspec.Meta(ge=0.0, le=60.0)] = 0.5
    seed: int = 0


class Timed(msgspec.Struct, frozen=True):
    """A block and when it is due after the first [s]."""

    due_s: float
    block: Block


def spoiled(blocks: Iterable[Timed], faults: TapeFaults, lost: Counter[str]) -> Iterator[Timed]:
    """The same blocks with faults, each with the time when it goes; frames that never go are counted in `lost`."""
    dice = random.Random(faults.seed)
    held: list[tuple[int, float, Timed]] = []  # blocks to let pass first, time before which it stays, what
    now_s = 0.0
    for timed in blocks:
        for one in sorted((one for one in held if one[0] <= 0 and one[1] <= timed.due_s), key=lambda one: one[1]):
            held.remove(one)
            now_s = max(now_s, one[1])
            yield Timed(now_s, one[2].block)
        now_s = timed.due_s
        held = [(count - 1, until_s, old) for count, until_s, old in held]
        fate = {name: dice.random() < getattr(faults, name)
                for name in ("lost", "corrupt", "duplicated", "late", "reordered")}
        places = dice.randint(1, FURTHEST)
        if fate["lost"]:
            lost["lost by the replay"] += timed.block.count
        elif fate["corrupt"] and _is_refused(timed.block, dice):
            if not fate["duplicated"]:  # or its double goes
                lost["corrupt and refused"] += timed.block.count
        elif fate["late"]:
            held.append((0, timed.due_s + faults.late_s, timed))
        elif fate["reordered"]:
            held.append((places, timed.due_s, timed))
        else:
            yield timed
        if fate["duplicated"] and not fate["lost"]:
            held.append((places, timed.due_s, timed))
    for _, until_s, old in sorted(held, key=lambda one: one[1]):
        now_s = max(now_s, until_s)
        yield Timed(now_s, old.block)


def _is_refused(block: Block, dice: random.Random) -> bool:
    """Whether the envelope refuses the block after one of its parts was cut, as it must."""
    parts: list[Any] = [bytes(memoryview(part).cast("B")) for part in encode(block)]
    part = dice.randrange(len(parts))
    parts[part] = parts[part][:dice.randrange(max(len(parts[part]), 1))]
    try:
        decode(parts)
    except WireError:
        return True
    return False
