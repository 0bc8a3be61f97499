"""finish: what is left to do of a run whose master was killed, done from the journals of its operators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from camlink.block import Block
from camlink.carry.journal import SUFFIX, read_blocks
from camlink.errors import FormatError, StorageError
from camlink.runtime.events import Begin
from camlink.runtime.hand import key_of
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.porter import JOURNALS
from camlink.runtime.story import Moment, replay
from camlink.runtime.work import blocks_of
from camlink.runtime.worker import NoScreen, WorkerContext, load
from camlink.workflow.parameter import build
from camlink.workflow.port import Listed

LATER: Final = 1 << 30
"""What is made now is numbered from here: later than everything that was made before."""
Pool = dict[str, dict[str, Block]]


def finish(folder: Path) -> Iterator[str]:
    """Finish a run: tells what it finds and does, a sentence at a time.

    Blocks that one operator had taken are given to the others that should have had them too; solvers run to their end
    and sinks write. Raises FormatError when no run is kept there, StorageError while it still runs.
    """
    begin, last = _read(folder)
    pool = _pool(folder)
    told = {name: worker.facts for (name, _), worker in last.state.workers.items()}
    captured = sum(int(facts.get("frames_captured", 0)) for facts in told.values())
    expected = sum(int(facts.get("frames_expected", 0)) for facts in told.values())
    yield (f"the run '{begin.workflow}' ended in phase '{last.state.phase}' after "
           f"{last.entry.at - last.state.begun_s:.1f} s; {captured} of {expected} frames had been captured")
    for source, blocks in pool.items():
        yield f"journals hold {sum(b.count for b in blocks.values())} frames or results of {source}"
    left = [spec for spec in _ordered(begin) if last.state.workers[spec.operator, spec.replica].state != "ended"]
    waiting = sum(path.stat().st_size for path in (folder / "spill").rglob("*") if path.is_file())
    if waiting > 4096:  # an empty one has a head
        yield f"{waiting / 1e6:.0f} MB of blocks that nobody had taken yet lie in {folder / 'spill'} and are not used"
    if not left or not pool:
        yield "nothing is left to finish"
        return
    for spec in left:
        yield from _finish_one(spec, pool)
    for path in (folder / JOURNALS).iterdir():
        path.unlink()
    yield "finished; the journals are gone"


def _read(folder: Path) -> tuple[Begin, Moment]:
    begin, last = None, None
    for last in replay(folder):
        begin = begin or last.entry.event
    if not isinstance(begin, Begin) or not begin.workers or last is None:
        raise FormatError(f"{folder}: the log does not tell what the run was made of; it cannot be finished")
    sockets = Path(begin.workers[0].spec.sockets)
    named = re.match(r"camlink-(\d+)-", sockets.name)
    if sockets.exists() and named and psutil.pid_exists(int(named[1])):
        raise StorageError(f"{folder}: the run still goes on (process {named[1]}); let it end first")
    return begin, last


def _pool(folder: Path) -> Pool:
    """Every block in the journals, by its source and its name."""
    pool: Pool = {}
    for path in sorted((folder / JOURNALS).glob("*")):
        if path.suffix in (SUFFIX, ".newest"):
            for block in read_blocks(path):
                pool.setdefault(block.header.source, {})[key_of(block)] = block
    return pool


def _ordered(begin: Begin) -> list[WorkerSpec]:
    """Solvers and sinks, those first that others wait for; the first replica of each."""
    specs = {p.spec.operator: p.spec for p in begin.workers if p.spec.replica == 0}
    order = TopologicalSorter({name: {k.source for k in spec.inputs} for name, spec in specs.items()}).static_order()
    return [specs[name] for name in order if specs[name].kind in ("solver", "sink", "decision")]


def _finish_one(spec: WorkerSpec, pool: Pool) -> Iterator[str]:
    operator = load(spec, {})
    inputs = {port.name: [block for k in spec.inputs if k.input == port.name
                          for source in (k.source, f"{k.source}.{k.output}") for block in pool.get(source, {}).values()]
              for port in operator.inputs}
    if not operator.streams or not any(inputs.values()):
        return
    context = WorkerContext(msgspec.structs.replace(spec, attempt=spec.attempt + 1), NoScreen(), lambda: False)
    parameters = build(operator.parameters, spec.parameters, spec.operator)
    if operator.prepare is not None:
        operator.prepare(parameters)
    body: Any = operator.make(parameters, context)
    single = len(operator.outputs) == 1
    first = operator.outputs[0].name if operator.outputs else ""
    made = 0
    for port, block in blocks_of(body(*(Listed(blocks) for blocks in inputs.values())), first):
        source = spec.operator if single else f"{spec.operator}.{port}"
        header = msgspec.structs.replace(block.header, source=source, sequence=LATER + made)
        pool.setdefault(source, {})["newest"] = type(block)(header, block.arrays)
        made += 1
    files = context.facts.get("files", [])
    taken = sum(block.count for blocks in inputs.values() for block in blocks)
    yield (f"{spec.operator} took {taken} frames or results" + (f" and made {made} results" if made else "")
           + (f"; {', '.join(map(str, files))}" if isinstance(files, list) and files else ""))
