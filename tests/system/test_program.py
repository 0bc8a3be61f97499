"""Programs as operators, with real processes: an MPI solver, a shell script, a stream; badly ended ones too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from held import held

from camlink.errors import FormatError, OperatorFailed
from camlink.runtime.program import child
from camlink.runtime.program.child import Child
from camlink.runtime.program.operator import FramesProgram, program
from camlink.runtime.program.parameters import ProgramParameters
from camlink.runtime.run import run
from camlink.testing import toys
from camlink.testing.context import RecordingContext
from camlink.testing.toys import toy_frames, toy_scan
from camlink.workflow.graph import Workflow
from camlink.workflow.port import Listed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PROGRAMS = Path(__file__).with_name("programs")
ON_ANY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
          "OMPI_MCA_rmaps_base_oversubscribe": "1"}  # as root, on one core; other MPIs allow both


def counted(count: int = 6) -> list[Any]:
    scan = toy_scan(count)
    return [toys.count.make(toys.count.parameters(), None)(toy_frames(scan, i, 1)) for i in range(count)]


def play(folder: Path, blocks: list[Any], **parameters: Any) -> tuple[list[Any], RecordingContext]:
    context = RecordingContext(folder, "solve")
    record = ProgramParameters(**parameters)
    assert program.prepare is not None
    program.prepare(record)
    return list(program.make(record, context)(Listed(blocks))), context


@pytest.fixture(scope="module")
def total(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("mpicc"):
        pytest.skip("no mpicc on this machine: sh tests/system/install_programs.sh")
    built = tmp_path_factory.mktemp("mpi") / "total"
    subprocess.run(["mpicc", "-O2", "-o", str(built), str(PROGRAMS / "total.c")], check=True)
    return built


def test_an_mpi_solver_and_a_script_work_in_one_workflow(tmp_path: Path, total: Path) -> None:
    flow = Workflow("programs")
    camera = flow.add("camera", toys.camera, frames=20)
    count = flow.add("count", toys.count, camera)
    mpi = flow.add("solve", "program", count, environment=ON_ANY,
                   command=["mpirun", "-n", "2", str(total), "{in}", "{out}"])
    script = flow.add("script", "program", count, command=["sh", str(PROGRAMS / "brightest.sh"), "{in}", "{out}"])
    flow.add("look", toys.look, mpi, script, policy="latest")
    report = run(flow, folder=tmp_path)
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["solve"]["ranks"] == 2
    assert report.operators["solve"]["total"] == sum(range(20)) * 16 * 16
    assert report.operators["script"]["blocks"] == 20
    said = (tmp_path / "log/script.out").read_text().splitlines()  # of two streams, in the order in which they came
    assert "scan toy at here for script" in said
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of podman with an image of one shell, all of it in a folder of ours."""
    if not all(map(shutil.which, ("podman", "runc", "busybox"))) or os.getuid():
        pytest.skip("no podman, runc and busybox for root on this machine: sh tests/system/install_programs.sh")
    there = tmp_path_factory.mktemp("containers")
    (there / "root/bin").mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, there / "root/bin/busybox")
    for name in ("sh", "cat", "ls", "sleep", "wc", "mkdir"):
        (there / "root/bin" / name).symlink_to("busybox")
    subprocess.run(["tar", "-C", str(there / "root"), "-cf", str(there / "root.tar"), "."], check=True)
    (there / "containers.conf").write_text('[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n[containers]\n'
                                           'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
    (there / "storage.conf").write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{there}/graph"\n'
                                        f'runroot = "{there}/run"\n')
    environment = {"CONTAINERS_CONF": f"{there}/containers.conf", "CONTAINERS_STORAGE_CONF": f"{there}/storage.conf"}
    subprocess.run(["podman", "import", str(there / "root.tar"), "camlink-shell:1"], check=True, capture_output=True,
                   env={**os.environ, **environment})
    yield environment
    listed = subprocess.run(["podman", "ps", "--all", "--quiet"], check=True, capture_output=True,
                            env={**os.environ, **environment})
    assert listed.stdout == b"", "a container was left behind"


def test_a_program_works_in_a_container(tmp_path: Path, image: dict[str, str]) -> None:
    script = 'ls / >&2; echo "{\\"blocks\\": $(ls {in} | wc -l), \\"site\\": \\"$CAMLINK_SITE\\"}" > {out}/facts.json'
    (result,), _ = play(tmp_path, counted(3), container="camlink-shell:1", engine="podman", environment=image,
                        command=("sh", "-c", script))
    assert (result.facts["blocks"], result.facts["site"]) == (3, "here")
    said = (tmp_path / "log/solve.out").read_text().split()
    assert "usr" not in said, "it saw the files of this machine"
    assert "bin" in said


def test_a_container_that_takes_too_long_is_removed(tmp_path: Path, image: dict[str, str]) -> None:
    with pytest.raises(OperatorFailed, match=r"ran for 1 s"):
        play(tmp_path, counted(1), container="camlink-shell:1", engine="podman", environment=image, timeout_s=1.0,
             grace_s=0.0, command=("sleep", "300"))


def test_a_program_finds_the_modules_that_it_names(tmp_path: Path) -> None:
    if subprocess.run(["bash", "-lc", "type module"], capture_output=True, check=False).returncode:
        pytest.skip("no environment modules on this machine: sh tests/system/install_programs.sh")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/solver").write_text("#%Module1.0\nsetenv SOLVER ready\n")
    there = {"MODULEPATH": str(tmp_path / "modules")}
    (result,), _ = play(tmp_path, counted(1), modules=("solver",), environment=there,
                        command=("sh", "-c", 'echo "{\\"solver\\": \\"$SOLVER\\"}" > {out}/facts.json'))
    assert result.facts["solver"] == "ready"
    with pytest.raises(OperatorFailed, match=r"code 97; its last words.*nothing-like-it"):
        play(tmp_path, counted(1), modules=("nothing-like-it",), environment=there, command=("true",))


def test_a_stream_goes_through_while_it_flows(tmp_path: Path) -> None:
    results, _ = play(tmp_path, counted(40), command=(sys.executable, str(PROGRAMS / "mean.py")), by="stream")
    assert [result.facts["frame"] for result in results] == list(range(40))
    assert all(result.arrays["object"][0, 0] == number for number, result in enumerate(results))
    assert results[0].scan.id == "toy"


def test_large_blocks_and_a_slow_reader_do_not_block_each_other(tmp_path: Path) -> None:
    scan = toy_scan(12, side=1024)
    results, _ = play(tmp_path, [toy_frames(scan, i, 1) for i in range(12)], by="stream",
                      command=(sys.executable, str(PROGRAMS / "mean.py")))
    assert len(results) == 12


def test_a_program_once_a_block_makes_frames(tmp_path: Path) -> None:
    double = "import numpy as np, sys; np.save(sys.argv[2]+'/frames.npy', 2*np.load(sys.argv[1]+'/000000/frames.npy'))"
    record = ProgramParameters(command=(sys.executable, "-c", double, "{in}", "{out}"))
    body = FramesProgram.make(record, RecordingContext(tmp_path))
    made = body(counted(3)[2])
    assert made.frames[0, 0, 0] == 4.0
    assert made.index.tolist() == [2]


def test_a_program_once_a_block_gives_a_result_each(tmp_path: Path) -> None:
    results, context = play(tmp_path, counted(3), each="block", keep=True,
                            command=("sh", str(PROGRAMS / "brightest.sh"), "{in}", "{out}"))
    assert [float(result.arrays["object"][0, 0, 0]) for result in results] == [0.0, 1.0, 2.0]
    assert context.facts["runs"] == 3
    assert len(list((tmp_path / "scratch").iterdir())) == 3


@pytest.mark.parametrize(("script", "says"), [
    ("echo no licence >&2; exit 3", "ended with code 3; its last words: no licence"),
    ("kill -9 $$", "was killed by SIGKILL")])
@pytest.mark.parametrize("by", ["files", "stream"])
def test_a_program_that_fails_says_its_last_words(tmp_path: Path, by: str, script: str, says: str) -> None:
    with pytest.raises(OperatorFailed, match=says):
        play(tmp_path, counted(), command=("sh", "-c", script), by=by)


def test_a_program_that_writes_garbage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no head of a block"):
        play(tmp_path, counted(), command=("sh", "-c", "echo hello; cat > /dev/null"), by="stream")
    with pytest.raises(FormatError, match="frames"):
        play(tmp_path, counted(), command=("sh", "-c", "echo hello > {out}/frames.npy"))


HANGS = "sleep 300 & echo $! >> {folder}/pids; trap '' TERM; while :; do sleep 0.2; done"


@pytest.mark.parametrize("by", ["files", "stream"])
def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path, by: str) -> None:
    for timeout_s in (0.5, 5.0, 30.0):  # a shell may need its time to start something
        with pytest.raises(OperatorFailed, match="timeout_s"):
            play(tmp_path, counted(), command=("sh", "-c", HANGS), by=by, timeout_s=timeout_s, grace_s=0.2)
        if (tmp_path / "pids").exists():
            break
    assert_gone(tmp_path / "pids")


def test_a_program_whose_end_nobody_tells_is_given_up_with_the_reason(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "KILLED_S", 0.2)
    with Child(["sleep", "300"], tmp_path, os.environ, tmp_path / "out", lambda _: None) as sleeps:
        with held(sleeps._process.pid), pytest.raises(OperatorFailed, match="does not end though it was killed"):
            sleeps.end(0.0)
        assert sleeps.ended(5)


def test_a_program_ends_well_though_nothing_that_it_says_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "solve.out").symlink_to("/dev/full")
    script = "seq 100000; echo 'camlink: {\"a\": 1}' >&2"  # more than a pipe takes
    _, context = play(tmp_path, counted(1), command=("sh", "-c", script), timeout_s=20.0)
    assert context.facts["a"] == 1
    assert context.facts["warnings"] == "what sh says is not kept: No space left on device"


def assert_gone(pids: Path) -> None:
    deadline = time.monotonic() + 5
    wanted = [int(line) for line in pids.read_text().split()]
    assert wanted
    while time.monotonic() < deadline and any(map(_runs, wanted)):
        time.sleep(0.05)
    assert not any(map(_runs, wanted))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_stopping_ends_the_program_and_keeps_what_it_left(tmp_path: Path) -> None:
    context = RecordingContext(tmp_path, "solve")
    script = "echo '{\"a\": 1}' > {out}/facts.json; echo 'camlink: {\"ready\": true}' >&2; sleep 300"
    record = ProgramParameters(command=("sh", "-c", script), grace_s=0.2)

    class Stop(RecordingContext):
        def stopping(self) -> bool:
            return self.facts.get("ready") is True

    context = Stop(tmp_path, "solve")
    (result,) = program.make(record, context)(Listed(counted(1)))
    assert result.facts == {"a": 1}


def test_a_program_does_not_outlive_a_worker_that_is_killed(tmp_path: Path) -> None:
    code = ("from pathlib import Path; from camlink.runtime.program.child import Child; import sys, os, time\n"
            "Child(['sleep', '300'], Path('/'), dict(os.environ), Path(sys.argv[1]) / 'out', print)\n"
            "time.sleep(300)")
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        deadline = time.monotonic() + 20
        while not (found := [c for c in psutil.Process(worker.pid).children() if c.name() == "sleep"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        worker.kill()
        worker.wait()
    (tmp_path / "pids").write_text(str(found[0].pid))
    assert_gone(tmp_path / "pids")


def test_its_output_is_kept_and_bounded(tmp_path: Path) -> None:
    before, child.MOST_KEPT_BYTES = child.MOST_KEPT_BYTES, 100_000
    try:
        play(tmp_path, counted(1), command=("sh", "-c", "yes | head -c 1000000; head -c 300000 /dev/zero"))
    finally:
        child.MOST_KEPT_BYTES = before
    assert 100_000 <= os.path.getsize(tmp_path / "log/solve.out") < 200_000


def test_results_are_arrays_of_the_program(tmp_path: Path) -> None:
    (result,), _ = play(tmp_path, counted(1), command=("sh", str(PROGRAMS / "brightest.sh"), "{in}", "{out}"))
    np.testing.assert_array_equal(result.arrays["object"], np.zeros((1, 16, 16), np.float32))
