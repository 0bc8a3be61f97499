"""Another machine through real sshd: hosts are verified, keys checked, jumps taken, nothing stays there."""

from __future__ import annotations

import asyncio
import getpass
import socket
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from apart import until

from camlink.errors import InputError, PeerLost
from camlink.runtime.place.environment import fit
from camlink.runtime.place.job import JobSpec, JobState, JobStatus
from camlink.runtime.place.ssh import Hop, Reach, SshSubmitter
from camlink.runtime.run import run as run_workflow
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install -e '.[sites]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def hop(sshd: Any, port: int, **more: Any) -> Hop:
    found = {"user": getpass.getuser(), "key": sshd.folder / "id", "known_hosts": sshd.folder / "known_hosts", **more}
    return Hop(host="127.0.0.1", port=port, **found)


def both(sshd: Any) -> tuple[Hop, Hop]:
    return hop(sshd, sshd.login), hop(sshd, sshd.node)


def test_a_program_runs_behind_a_jump_host_with_every_word_as_it_is(sshd: Any) -> None:
    async def run() -> None:
        async with Reach(both(sshd)) as reach:
            words = ["a b", "$HOME", "`id`", "it's", "*", "", "\n"]
            code = "import sys, os; print(sys.argv[1:], 'SSH_AUTH_SOCK' in os.environ)"
            said = await reach.call(sys.executable, "-c", code, *words)
            assert said == f"{words!r} False"
            assert reach.lost == ""
            with pytest.raises(PeerLost, match="ended with code 3: no licence"):
                await reach.call("sh", "-c", "echo no licence >&2; exit 3")

    asyncio.run(run())


def test_a_host_that_is_not_known_and_a_wrong_key_are_refused(sshd: Any, tmp_path: Path) -> None:
    async def enter(*hops: Hop) -> None:
        async with Reach(hops):
            pass

    (tmp_path / "empty").write_text("")
    with pytest.raises(InputError, match="host key is not in"):
        asyncio.run(enter(hop(sshd, sshd.login, known_hosts=tmp_path / "empty")))
    known = (sshd.folder / "known_hosts").read_text()
    (tmp_path / "swapped").write_text(known.replace(str(sshd.login), "1").replace(str(sshd.node), str(sshd.login)))
    with pytest.raises(InputError, match="host key is not in"):
        asyncio.run(enter(hop(sshd, sshd.login, known_hosts=tmp_path / "swapped")))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    with pytest.raises(InputError, match="does not let"):
        asyncio.run(enter(hop(sshd, sshd.login, key=tmp_path / "other")))
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with pytest.raises(PeerLost, match=str(port)):
        asyncio.run(enter(hop(sshd, port)))


def test_a_secret_arrives_in_a_private_file_and_everything_is_removed(sshd: Any) -> None:
    def look(path: Path) -> None:
        assert path.read_bytes() == b"secret \0 bytes"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700

    async def run() -> Path:
        async with Reach(both(sshd)) as reach:
            path = Path(await reach.put_private("agent.key", b"secret \0 bytes"))
            look(path)
            with pytest.raises(PeerLost):
                await reach.put_private("agent.key", b"never overwritten")
            return path

    path = asyncio.run(run())
    assert not path.parent.exists()


def spec(folder: Path, *argv: str, **more: Any) -> JobSpec:
    return JobSpec(argv=argv, name="t", folder=folder, output=folder / "out.txt", **more)


def test_jobs_run_end_and_are_cancelled_with_all_that_they_started(sshd: Any, tmp_path: Path) -> None:
    async def run() -> None:
        async with Reach(both(sshd)) as reach:
            submitter = SshSubmitter(reach)
            good = await submitter.submit(spec(tmp_path, "sh", "-c", "echo \"$MINE\"", environment={"MINE": "a  b"}))
            bad = await submitter.submit(spec(tmp_path, "sh", "-c", "exit 4"))
            long = await submitter.submit(spec(tmp_path, "sh", "-c", f"sleep 300 & echo $! > {tmp_path}/pid; wait"))
            for job, state, code in ((good, JobState.DONE, 0), (bad, JobState.FAILED, 4)):
                status = await ended(submitter, job)
                assert (status.state, status.code) == (state, code)
            assert (tmp_path / "out.txt").read_text() == "a  b\n"
            await asyncio.to_thread(written, tmp_path / "pid")
            assert (await submitter.status(long)).state is JobState.RUNNING
            await submitter.cancel(long)
            assert (await submitter.status(long)).state is JobState.CANCELLED
            gone(int((tmp_path / "pid").read_text()))

    asyncio.run(run())


async def ended(submitter: SshSubmitter, job: str) -> JobStatus:
    for _ in range(600):
        if (status := await submitter.status(job)).state is not JobState.RUNNING:
            break
        await asyncio.sleep(0.05)
    return status


def written(path: Path) -> None:
    until(lambda: path.exists() and path.read_text(), 30, f"{path} is written")


def gone(pid: int) -> None:
    def is_gone() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    until(is_gone, 30, f"process {pid} is gone")


def test_nothing_stays_when_the_connection_breaks(sshd: Any, tmp_path: Path) -> None:
    async def run() -> None:
        async with Reach(both(sshd)) as reach:
            submitter = SshSubmitter(reach)
            await submitter.submit(spec(tmp_path, "sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 300"))
            await asyncio.to_thread(written, tmp_path / "pid")
            reach._last.abort()
            await asyncio.to_thread(until, lambda: "is gone" in reach.lost, 20, "the loss is told")
            left.append(Path(reach.folder))

    left: list[Path] = []
    asyncio.run(run())
    gone(int((tmp_path / "pid").read_text()))
    until(lambda: not left[0].exists(), 30, "the folder there is removed")


def test_ports_and_sockets_lead_both_ways(sshd: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port_server, socket.socket(socket.AF_UNIX) as near:
        path = str(tmp_path / "socket")
        near.bind(path)
        near.listen()

        def echo() -> None:
            for server in (port_server, near, near):
                dialled, _ = server.accept()
                with dialled:
                    while data := dialled.recv(1024):
                        dialled.sendall(data)

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()

        async def run() -> None:
            async with Reach(both(sshd)) as reach:
                port = port_server.getsockname()[1]
                for lead in (await reach.lead_back(port), await reach.lead_back(path), await reach.lead_out(path)):
                    reader, writer = await asyncio.open_connection("127.0.0.1", lead)
                    for _ in range(20):
                        writer.write(b"x")
                        assert await reader.readexactly(1) == b"x"
                    writer.close()
                    await writer.wait_closed()

        asyncio.run(run())
        thread.join(5)


def bare(folder: Path) -> str:
    """A Python that has all that camlink needs but not camlink."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    (target,) = folder.glob("lib/python*/site-packages")
    (target / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(folder / "bin/python")


def test_a_python_that_fits_is_used_as_it_is_and_others_are_named(sshd: Any, tmp_path: Path) -> None:
    (tmp_path / "old").write_text('#!/bin/sh\necho \'{"versions": {"python": "3.9.2"}, "folders": []}\'\n')
    (tmp_path / "old").chmod(0o755)

    async def run() -> None:
        async with Reach((hop(sshd, sshd.login),)) as reach:
            assert await fit(reach, sys.executable) == sys.executable
            assert await fit(reach, "") == sys.executable
            for wrong in ("/bin/false", "/no/python", "/bin/echo"):
                with pytest.raises(InputError, match="no Python that works"):
                    await fit(reach, wrong)
            with pytest.raises(InputError, match=r"is Python 3\.9\.2, camlink needs 3\.11"):
                await fit(reach, str(tmp_path / "old"))

    asyncio.run(run())


def test_an_environment_is_made_of_what_is_there_and_goes_with_the_run(sshd: Any, tmp_path: Path) -> None:
    python = bare(tmp_path / "there")
    way = {"user": getpass.getuser(), "key": str(sshd.folder / "id"), "known_hosts": str(sshd.folder / "known_hosts")}
    site = Site("beamline", "ssh", {"host": "127.0.0.1", "port": sshd.node, "python": python, **way})
    made = Workflow("made", sites={"here": Site("here"), "beamline": site})
    made.add("count", toys.count, made.add("camera", toys.camera, frames=20, at="beamline"), at="beamline")
    report = run_workflow(made, folder=tmp_path / "run")
    assert (report.verdict, report.reasons) == ("complete", ())
    told = report.agents["beamline"]
    assert told["python"].endswith("/env/bin/python")
    assert told["differs"] == []
    assert not Path(told["python"]).exists()
    assert list((tmp_path / "there").glob("lib/python*/site-packages/camlink*")) == []
