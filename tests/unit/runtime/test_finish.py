from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from camlink.carry.disk.journal import SUFFIX, write_blocks
from camlink.carry.disk.spill import Spill
from camlink.carry.envelope import encode
from camlink.errors import FormatError
from camlink.runtime.agent import SAVE_S
from camlink.runtime.events import Begin, Placed
from camlink.runtime.finish import finish
from camlink.runtime.log import EVENTS, Entry, EventLog
from camlink.runtime.messages import Inventory, Joined, LinkSpec, WorkerSpec
from camlink.runtime.reach.dial import LOST_S
from camlink.runtime.work.context import WorkerContext
from camlink.runtime.work.ends import SPILL
from camlink.runtime.work.porter import JOURNALS
from camlink.testing.toys import toy_frames, toy_scan


def begun(tmp_path: Path, *, camera: bool = True, far: frozenset[str] = frozenset(), sockets: str = "camlink-0-x"
          ) -> None:
    """A run of a camera and a sink, in front of which three frames wait on the disk."""
    link = LinkSpec(name="camera>keep", source="camera", target="keep", output="out", input="frames", kind="zmq",
                    policy="spill", limit_bytes=1 << 20)
    spec = WorkerSpec(operator="keep", replica=0, where="camlink.testing.toys:hoard", kind="sink", parameters={},
                      inputs=(link,), outputs=(), folder=str(tmp_path), sockets=str(tmp_path / sockets),
                      provenance={})
    source = msgspec.structs.replace(spec, operator="camera", where="camlink.testing.toys:camera", kind="source",
                                     inputs=(), outputs=(link,))
    log = EventLog(tmp_path / EVENTS)
    log.write(Begin(workflow="w", uses={"camera": "toys.camera", "keep": "toys.hoard"}, links=(link,),
                    workers=(*((Placed(source, "here"),) if camera else ()), Placed(spec, "here")),
                    agents={"here": "here"}, far=far), 0.0)
    log.close()
    spill = Spill(tmp_path / SPILL / "camera" / "one")
    block = toy_frames(toy_scan(3), 0, 3)
    header = msgspec.structs.replace(block.header, source="camera")
    assert spill.append(encode(type(block)(header, block.arrays)), 3)
    spill.close(keep=True)


def test_what_waits_on_the_disk_is_finished_where_nobody_kept_a_journal(tmp_path: Path) -> None:
    begun(tmp_path)
    assert list(finish(tmp_path))[-1] == "finished; the journals are gone"
    assert not (tmp_path / SPILL).exists()


def test_a_run_is_finished_when_its_agents_have_saved_what_was_under_way(tmp_path: Path) -> None:
    begun(tmp_path)
    (there := tmp_path / "camlink-0-x").mkdir()
    saving = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()", f"ipc://{there}/agent-here"],
                              stdin=subprocess.PIPE)
    story = finish(tmp_path)
    assert next(story) == "waits for processes of the run (1), which save what is under way"
    assert there.exists()
    saving.communicate()
    assert list(story)[-1] == "finished; the journals are gone"
    assert not there.exists()


@pytest.mark.parametrize(("ago_s", "waits"), [(LOST_S + SAVE_S - 0.2, True), (1000.0, False)])
def test_agents_elsewhere_have_time_to_miss_their_master(tmp_path: Path, ago_s: float, waits: bool) -> None:
    begun(tmp_path, far=frozenset({"here"}))
    log = (tmp_path / EVENTS).open("ab")
    has = Inventory(host="h", system="s", cores=1, memory_bytes=1, disk_bytes=1, gpus=(), walltime_left_s=None,
                    versions={})
    log.write(msgspec.json.encode(Entry(time.time() - ago_s, Joined(site="here", pid=1, has=has))) + b"\n")
    log.close()
    told = list(finish(tmp_path))
    assert ("agents on other machines" in told[0]) is waits
    assert told[-1] == "finished; the journals are gone"


def test_a_log_that_names_another_folder_than_that_of_its_sockets_removes_nothing(tmp_path: Path) -> None:
    begun(tmp_path, sockets="of-somebody")
    (tmp_path / "of-somebody").mkdir()
    with pytest.raises(FormatError, match="no folder of sockets"):
        list(finish(tmp_path))
    assert (tmp_path / "of-somebody").exists()


def test_a_log_that_does_not_tell_of_an_input_is_refused(tmp_path: Path) -> None:
    begun(tmp_path, camera=False)
    with pytest.raises(FormatError, match="does not tell of operator 'camera', from which 'keep' takes"):
        list(finish(tmp_path))


def test_what_is_whole_of_a_damaged_journal_is_finished_and_the_rest_is_told(tmp_path: Path) -> None:
    begun(tmp_path)
    journal = tmp_path / JOURNALS / f"keep-0-frames{SUFFIX}"
    for index in (3, 4, 5):
        block = toy_frames(toy_scan(6), index, 1)
        write_blocks(journal, type(block)(msgspec.structs.replace(block.header, source="camera"), block.arrays))
    whole = bytearray(journal.read_bytes())
    whole[len(whole) // 2] ^= 1
    journal.write_bytes(whole)
    told = list(finish(tmp_path))
    assert [line for line in told if "journal is damaged" in line and f"{journal}: the bytes" in line]
    assert "keep took 5 frames or results" in told


def test_what_is_finished_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path)
    closed = []
    monkeypatch.setattr(WorkerContext, "close", lambda context, *, well: closed.append((context.name, well)))
    list(finish(tmp_path))
    assert closed == [("keep", False)]


def test_a_run_that_is_larger_than_the_memory_is_finished(tmp_path: Path) -> None:
    links = [LinkSpec(name=f"{source}>{target}", source=source, target=target, output="out", input="frames",
                      kind="zmq", policy="block", limit_bytes=1 << 20)
             for source, target in (("camera", "count"), ("count", "keep"))]
    workers = [WorkerSpec(operator=name, replica=0, where=f"camlink.testing.toys:{name}", kind=kind, parameters={},
                          inputs=tuple(k for k in links if k.target == name),
                          outputs=tuple(k for k in links if k.source == name), folder=str(tmp_path),
                          sockets=str(tmp_path / "camlink-0-x"), provenance={})
               for name, kind in (("camera", "source"), ("count", "transform"), ("keep", "sink"))]
    log = EventLog(tmp_path / EVENTS)
    log.write(Begin(workflow="w", uses={}, links=tuple(links), workers=tuple(Placed(spec, "here") for spec in workers),
                    agents={"here": "here"}), 0.0)
    log.close()
    scan = toy_scan(48, side=512)  # a block is 1 MiB, and 2 MiB when it was counted
    for first in range(0, 48, 2):
        block = toy_frames(scan, first, 2)
        write_blocks(tmp_path / JOURNALS / f"count-0-frames{SUFFIX}", type(block)(
            msgspec.structs.replace(block.header, source="camera", sequence=first), block.arrays))
    tracemalloc.start()
    told = list(finish(tmp_path))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told[-1] == "finished; the journals are gone"
    assert (tmp_path / "kept.txt").read_text().split() == [str(n) for n in range(48)]
    assert peak_bytes < 16 << 20  # of 72 MiB
