"""What a link carries where only ssh leads to its sender: through the forward of a run, beside plain sockets in ssh."""

from __future__ import annotations

import asyncio
import getpass
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Self

from camlink.carry.bench.far import DISTINCT, OURS, Ends, Route, direct, direct_route, in_turns, one_by_one, recorded
from camlink.errors import InputError, PeerLost
from camlink.runtime.place.ssh import Hop, Reach

UP_S: Final = 10.0


def measure() -> dict[str, Any]:
    """Case `ssh`: MB/s of a link through a forward by ssh."""
    with tempfile.TemporaryDirectory(prefix="camlink-bench-") as name, _sshd(Path(name)) as hop, _Forward(hop) as lead:
        numbers = count()

        def through(reach: _Forward | _OpenSsh) -> Route:
            lane = f"lane {next(numbers)}"
            port = reach.port(f"{name}/{lane}.out")
            return direct_route()._replace(folder=name, lane=lane, through=f"tcp://127.0.0.1:{port}")

        with _OpenSsh(hop) as stack:
            rates, good = in_turns({"link by ssh": (OURS, lambda: [through(lead)]),
                                    "plain socket by the same ssh": (PLAIN, lambda: [through(lead)]),
                                    "plain socket by ssh -L": (PLAIN, lambda: [through(stack)]),
                                    "direct": (OURS, direct)})
        return recorded("ssh", rates, good, one_by_one(through(lead)))


@contextmanager
def _sshd(folder: Path) -> Iterator[Hop]:
    """An sshd of ours on loopback, with its own host key and a key that it lets in."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    sshd, keygen = shutil.which("sshd", path=path), shutil.which("ssh-keygen")
    if importlib.util.find_spec("asyncssh") is None:
        raise InputError("ssh: asyncssh is not installed: pip install 'camlink[sites]'")
    if sshd is None or keygen is None or not shutil.which("ssh"):
        raise InputError("ssh: no sshd, ssh or ssh-keygen here; install openssh-server and openssh-client")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where a root sshd separates its privileges
    for key in ("id", "host"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "conf").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/id.pub\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n")
    words = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {words[0]} {words[1]}\n")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "conf")], stderr=log)
    try:
        _until_up(port)
        yield Hop(host="127.0.0.1", port=port, user=getpass.getuser(), key=folder / "id", known_hosts=folder / "known")
    finally:
        process.terminate()
        process.wait()


def _until_up(port: int) -> None:
    until_s = time.monotonic() + UP_S
    while time.monotonic() < until_s:
        with socket.socket() as dialled:
            if dialled.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise PeerLost(f"ssh: nobody listens at port {port} of this machine after {UP_S:g} s")


class _Forward:
    """The connection of a run to a site by ssh, in a thread of its own."""

    def __init__(self, hop: Hop) -> None:
        self._reach = Reach((hop,))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def _do(self, asked: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result(2 * UP_S)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._reach.__aenter__())
        return self

    def port(self, path: str) -> int:
        """A port on loopback that leads to a unix socket."""
        return int(self._do(self._reach.lead_out(path)))

    def __exit__(self, *error: object) -> None:
        self._do(self._reach.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _OpenSsh:
    """Forwards by the program ssh."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def port(self, path: str) -> int:
        """A port on loopback that leads to a unix socket."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        hop = self._hop
        self._started.append(subprocess.Popen([
            "ssh", "-N", "-F", "none", "-L", f"127.0.0.1:{port}:{path}", "-p", str(hop.port), "-i", str(hop.key), "-o",
            "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={hop.known_hosts}", "-o",
            "ExitOnForwardFailure=yes", f"{hop.user}@{hop.host}"], stderr=subprocess.DEVNULL))
        _until_up(port)
        return port

    def __exit__(self, *error: object) -> None:
        for process in self._started:
            process.kill()
            process.wait()


def _plain_send(route: Route, there: Connection) -> None:
    path = Path(route.folder) / f"{route.lane}.out"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        there.send("")
        dialled, _ = listener.accept()
        with dialled:
            frames = [bytes([value]) * route.nbytes for value in range(DISTINCT)]
            begun_s = time.process_time()
            for number in range(route.frames):
                dialled.sendall(frames[number % DISTINCT])
            there.send(time.process_time() - begun_s)


def _plain_take(route: Route, here: Connection, answer: Connection) -> None:
    here.recv()
    host, _, port = route.through.removeprefix("tcp://").rpartition(":")
    frame = bytearray(route.nbytes)
    times, good, begun_s = [], True, 0.0
    with socket.create_connection((host, int(port))) as dialled:
        for number in range(route.frames):
            got = 0
            while got < route.nbytes:
                if not (count := dialled.recv_into(memoryview(frame)[got:])):
                    raise PeerLost("ssh: the forward ended before the last frame")
                got += count
            times.append(time.monotonic())
            begun_s = begun_s or time.process_time()
            good = good and frame[0] == frame[-1] == number % DISTINCT
    answer.send((times[0], times[-1], time.process_time() - begun_s + here.recv(), good, 0.0))


PLAIN: Final[Ends] = (_plain_send, _plain_take)
