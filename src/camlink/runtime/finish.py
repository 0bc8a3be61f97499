"""finish: what is left to do of a run whose master was killed, done from the journals of its operators."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import msgspec
import psutil

from camlink.block import Block, Frames, Result, Void
from camlink.carry.disk.journal import SUFFIX, Damage, map_blocks, write_blocks
from camlink.carry.disk.spilling import read_spilled
from camlink.errors import CamlinkError, FormatError, StorageError
from camlink.runtime.agent import SAVE_S
from camlink.runtime.events import Begin
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.reach.dial import LOST_S
from camlink.runtime.rundir import owner_of, sweep
from camlink.runtime.story import Moment, replay
from camlink.runtime.work.context import WorkerContext
from camlink.runtime.work.ends import SPILL
from camlink.runtime.work.hand import key_of
from camlink.runtime.work.host import NoScreen
from camlink.runtime.work.last_words import has_last_words
from camlink.runtime.work.porter import JOURNALS
from camlink.runtime.work.rerun import Rerun
from camlink.runtime.work.seen import Seen
from camlink.runtime.work.worker import load
from camlink.workflow.operator import Operator
from camlink.workflow.parameter import build

LATER: Final = 1 << 30
"""What is made now is numbered from here: later than everything that was made before."""
MADE: Final = ".made"
LOOK_S: Final = 0.1
Pool = dict[str, dict[str, Block]]
"""Blocks by source and key, mapped: in memory is what is said of each (some KB) and what is worked on right now."""


def finish(folder: Path) -> Iterator[str]:
    """Finish a run: tells what it finds and does, a sentence at a time.

    Blocks that one operator had taken are given to the others that should have had them too, and those that waited on
    disk in front of an operator to that one; transforms and solvers run to their end and sinks write. Raises
    FormatError when no run is kept there, StorageError while it still runs.
    """
    begin, last = _read(folder)
    yield from _wait_for_others(folder, begin, last)
    for secret in (folder / "keys", *folder.glob("jobs-*")):  # what the master would have removed
        shutil.rmtree(secret, ignore_errors=True)
    (folder / JOURNALS).mkdir(exist_ok=True)  # nobody may have kept one; what is made anew waits there
    pool: Pool = {}
    damaged = list(_journals(folder, pool))
    told = {name: worker.facts for (name, _), worker in last.state.workers.items()}
    captured = sum(int(facts.get("frames_captured", 0)) for facts in told.values())
    expected = sum(int(facts.get("frames_expected", 0)) for facts in told.values())
    yield (f"the run '{begin.workflow}' ended in phase '{last.state.phase}' after "
           f"{last.entry.at - last.state.begun_s:.1f} s; {captured} of {expected} frames had been captured")
    for source, blocks in pool.items():
        yield f"journals hold {sum(b.count for b in blocks.values())} frames or results of {source}"
    yield from (*damaged, *_spilled(folder, pool))
    going = {name for (name, _), worker in last.state.workers.items()
             if worker.state != "ended" and not has_last_words(worker.spec)}
    left = [spec for spec in _ordered(begin) if spec.operator in going]
    if not left or not pool:
        yield "nothing is left to finish"
        return
    known = {(b.scan.id, int(i)) for blocks in pool.values() for b in blocks.values() if isinstance(b, Frames)
             for i in b.index}
    failed = []
    for spec in left:
        try:
            yield from _finish_one(spec, pool)
        except (CamlinkError, MemoryError) as error:  # the others have nothing to do with it
            failed.append(spec.operator)
            yield f"{spec.operator} cannot be finished: {error or type(error).__name__}"
    if captured > len(known):
        yield (f"at most {captured - len(known)} frames that had been captured were under way in memory and are gone "
               "(those without beam among them are used up, and not kept)")
    if failed:
        yield f"not finished: {', '.join(failed)}; the journals stay, so that this can be done again"
        return
    for path in (folder / JOURNALS).iterdir():
        path.unlink()
    shutil.rmtree(folder / SPILL, ignore_errors=True)
    yield "finished; the journals are gone"


def _read(folder: Path) -> tuple[Begin, Moment]:
    begin, last = None, None
    for last in replay(folder):
        begin = begin or last.entry.event
    if not isinstance(begin, Begin) or not begin.workers or last is None:
        raise FormatError(f"{folder}: the log does not tell what the run was made of; it cannot be finished")
    sockets = Path(begin.workers[0].spec.sockets)
    owner = owner_of(sockets)
    if owner is None:
        raise FormatError(f"{folder}: the log names {sockets}, which is no folder of sockets; it was changed")
    if sockets.exists() and psutil.pid_exists(owner):
        raise StorageError(f"{folder}: the run still goes on (process {owner}); let it end first")
    return begin, last


def _wait_for_others(folder: Path, begin: Begin, last: Moment) -> Iterator[str]:
    """Agents outlive their master for a while, in which their workers put on the disk what is under way.

    Raises StorageError when processes of the run on this machine do not end.
    """
    sockets, until_s, told = begin.workers[0].spec.sockets, time.monotonic() + 2 * SAVE_S, False
    while there := _processes(sockets):
        if not told:
            yield f"waits for processes of the run ({len(there)}), which save what is under way"
        if time.monotonic() > until_s:
            raise StorageError(f"{folder}: processes of the run go on without its master: "
                               f"{', '.join(map(str, there))}; end them first")
        told = True
        time.sleep(LOOK_S)
    left_s = last.entry.at + LOST_S + SAVE_S - time.time()
    if last.state.phase != "over" and begin.far & last.state.joined.keys() and left_s > 0:
        yield f"waits {left_s:.0f} s until agents on other machines miss their master and save what is under way"
        time.sleep(min(left_s, LOST_S + SAVE_S))
    sweep(Path(sockets))


def _processes(sockets: str) -> list[int]:
    """Agents and workers of a run on this machine: the folder of its sockets stands on their command lines."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and any(sockets in word for word in process.cmdline()):
                found.append(process.pid)
    return found


def _journals(folder: Path, pool: Pool) -> Iterator[str]:
    """Put every block in the journals into the pool; tells of those that are damaged."""
    for path in sorted((folder / JOURNALS).glob("*")):
        if path.suffix in (SUFFIX, ".newest"):
            damage: list[Damage] = []
            for block in map_blocks(path, damage):
                pool.setdefault(block.header.source, {})[key_of(block)] = block
            yield from (f"a journal is damaged: {one}" for one in damage)


def _spilled(folder: Path, pool: Pool) -> Iterator[str]:
    """Add to the pool what waited on disk for an operator to take it."""
    for path in sorted(path for path in (folder / SPILL).rglob("*") if path.is_file()):
        frames = found = damaged = 0
        copy = _scratch(folder, f"{path.parent.name}-{path.name}")
        for block in read_spilled(path):
            found, damaged = found + 1, damaged + (block is None)
            frames += block.count if block else 0
            if block is not None and not isinstance(block, Void):
                write_blocks(copy, block)
        for block in map_blocks(copy) if copy.exists() else ():
            pool.setdefault(block.header.source, {}).setdefault(key_of(block), block)
        copy.unlink(missing_ok=True)  # what is mapped lives on
        if found:
            yield (f"{path.relative_to(folder)} holds {frames} frames that waited to be taken"
                   + (f", and {damaged} blocks that are damaged" if damaged else ""))


def _scratch(folder: Path, name: str) -> Path:
    """A new file for blocks that are in no journal; an earlier try may have left one."""
    path = folder / JOURNALS / f"{name}{MADE}"
    path.unlink(missing_ok=True)
    return path


def _ordered(begin: Begin) -> list[WorkerSpec]:
    """All operators but sources and views, those first that others wait for; the first replica of each."""
    specs = {p.spec.operator: p.spec for p in begin.workers if p.spec.replica == 0}
    order = TopologicalSorter({name: {k.source for k in spec.inputs} for name, spec in specs.items()}).static_order()
    for spec in specs.values():
        for link in spec.inputs:
            if link.source not in specs:
                raise FormatError(f"{spec.folder}: the log does not tell of operator '{link.source}', from which "
                                  f"'{spec.operator}' takes; it is damaged, and the run cannot be finished")
    return [specs[name] for name in order if specs[name].kind not in ("source", "view")]


def _finish_one(spec: WorkerSpec, pool: Pool) -> Iterator[str]:
    operator = load(spec, {})
    inputs = {port.name: _distinct([block for k in spec.inputs if k.input == port.name
                                    for source in (k.source, f"{k.source}.{k.output}")
                                    for block in pool.get(source, {}).values()])
              for port in operator.inputs}
    if spec.order_wait_s:
        inputs = {port: sorted(blocks, key=_first_index) for port, blocks in inputs.items()}
    if not any(inputs.values()):
        return
    context = WorkerContext(msgspec.structs.replace(spec, attempt=spec.attempt + 1), NoScreen(), lambda: False)
    parameters = build(operator.parameters, spec.parameters, spec.operator)
    if operator.prepare is not None:
        operator.prepare(parameters)
    rerun = Rerun(spec, operator, lambda: operator.make(parameters, context), inputs)
    try:
        made = _keep(spec, operator, iter(rerun), pool)
    finally:
        context.close(well=False)  # its checkpoint stays until all others are finished too
    files = context.facts.get("files", [])
    taken = sum(block.count for blocks in inputs.values() for block in blocks)
    yield (f"{spec.operator} took {taken} frames or results" + (f" and made {made} that are new" if made else "")
           + (f"; {', '.join(map(str, files))}" if isinstance(files, list) and files else ""))
    for reason, count in rerun.aside.items():
        yield f"{spec.operator} set {count} frames aside, which are dead letters: {reason}"


def _keep(spec: WorkerSpec, operator: Operator, given: Iterator[tuple[str, Block]], pool: Pool) -> int:
    """Add what was made to the pool, each frame once and of results the newest; how many are new."""
    made = 0
    seen: dict[tuple[str, str], Seen] = {}
    files: dict[str, Path] = {}
    for port, block in given:
        source = spec.operator if len(operator.outputs) == 1 else f"{spec.operator}.{port}"
        there = pool.setdefault(source, {})
        if (source, block.scan.id) not in seen:
            seen[source, block.scan.id] = _indices(there.values(), block.scan.id)
        header = msgspec.structs.replace(block.header, source=source, sequence=LATER + made)
        stamped = type(block)(header, block.arrays)
        if isinstance(stamped, Frames):
            rows = seen[source, block.scan.id].add(stamped.index.tolist())
            if rows:
                if source not in files:
                    files[source] = _scratch(Path(spec.folder), source)
                write_blocks(files[source], stamped.rows(list(rows)))
            made += len(rows)
        else:
            there["newest"] = stamped
            made += 1
    for source, path in files.items():
        pool[source] |= {key_of(block): block for block in map_blocks(path)}
        path.unlink()  # what is mapped lives on
    return made


def _distinct(blocks: list[Block]) -> list[Block]:
    """The blocks with each frame once, however they were cut."""
    seen: dict[tuple[str, str], Seen] = {}
    found: list[Block] = []
    for block in blocks:
        if isinstance(block, Frames):
            rows = seen.setdefault((block.header.source, block.scan.id), Seen()).add(block.index.tolist())
            if rows:
                found.append(block.rows(list(rows)))
        else:
            found.append(block)
    return sorted(found, key=_version)


def _version(block: Block) -> int:
    """Results in the order of their versions, whichever file they came from; all else as it is."""
    return block.version if isinstance(block, Result) else -1


def _first_index(block: Block) -> int:
    return int(block.index[0]) if isinstance(block, Frames) else -1


def _indices(blocks: Iterable[Block], scan: str) -> Seen:
    seen = Seen()
    for block in blocks:
        if isinstance(block, Frames) and block.scan.id == scan:
            seen.add(block.index.tolist())
    return seen
