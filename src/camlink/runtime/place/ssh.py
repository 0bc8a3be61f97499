"""Ssh: other machines through asyncssh: host keys verified, jump hosts, nothing of ours left there.

The user's own ssh-agent may prove who we are to a host, it is never lent to one. Each hop keeps one command running:
it tells when the hop is gone, and without it sshd delays every small answer of a forwarded port by 40 ms.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from camlink.errors import InputError, PeerLost
from camlink.runtime.place.job import JobSpec, JobState, JobStatus

DIAL_S: Final = 20.0
CALL_S: Final = 60.0
KEEPALIVE_S: Final = 5
CIPHERS: Final = "^aes128-gcm@openssh.com"  # before all others: processors have instructions for it
KNOWN_HOSTS: Final = Path("~/.ssh/known_hosts").expanduser()
MOST_OUTPUT_BYTES: Final = 1 << 20

# what watches the connection ends the group when its own input ends
_BEGIN: Final = """echo $$; cd "$1" && exec 3<&0 </dev/null >>"$2" 2>&1 && shift 2 || exit 1
{ cat <&3; kill -s TERM -- "-$$"; } >/dev/null 2>&1 &
exec 3<&-; exec env "$@"
"""
# what keeps the last hop awake removes our folder when nobody could: the connection broke, or we were killed
_KEEP: Final = """trap '' HUP; cat >/dev/null; [ -d "$1" ] || exit 0; sleep 3; rm -rf -- "$1"
"""
_END: Final = """exec 2>/dev/null; kill -s TERM -- "-$1"
for i in $(seq 30); do kill -s 0 -- "-$1" || exit 0; sleep 0.1; done
kill -s KILL -- "-$1"; true
"""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One host on the way; keys are those of the user's ssh-agent and ~/.ssh unless `key` names one."""

    host: str
    port: int = 22
    user: str = ""
    key: Path | None = None
    known_hosts: Path | None = None


class Reach:
    """A connection through some hops to the last one; as an async context it is made, and everything of it ends."""

    def __init__(self, hops: tuple[Hop, ...]) -> None:
        self._hops, self._stack = hops, AsyncExitStack()
        self._keeping: list[Any] = []
        self._last: Any = None
        self.where = " > ".join(hop.host for hop in hops)

    async def __aenter__(self) -> Self:
        """Connect hop by hop; raises InputError for keys that do not fit, PeerLost for hosts that do not answer."""
        async with self._stack:
            for hop in self._hops:
                self._last = await self._dial(hop, self._last)
                if hop is not self._hops[-1]:
                    self._keeping.append(await self.start(("cat",)))
            self.folder = await self._make_folder()
            self._keeping.append(await self.start(("sh", "-c", _KEEP, "sh", self.folder)))
            self._stack = self._stack.pop_all()  # all went well: they stay until we leave
        return self

    async def __aexit__(self, *error: object) -> None:
        with suppress(PeerLost):
            await self.call("rm", "-rf", "--", self.folder)
        await self._stack.aclose()

    @property
    def lost(self) -> str:
        """Which hop is gone; nothing while all are there."""
        for hop, keeping in zip(self._hops, self._keeping, strict=False):
            if keeping.exit_status is not None or keeping.is_closing():
                return f"the connection to {hop.host} is gone"
        return ""

    async def call(self, *argv: str, given: bytes = b"", patience_s: float = CALL_S) -> str:
        """What a program on the last host says; raises PeerLost when it fails."""
        process = await self.start(argv)
        try:
            said, complained = await asyncio.wait_for(process.communicate(given), patience_s)
        except TimeoutError:
            process.kill()
            raise PeerLost(f"{self.where}: {argv[0]} did not end in {patience_s:g} s") from None
        if process.exit_status != 0:
            text = (complained or said)[-500:].decode("utf8", "replace").strip()
            raise PeerLost(f"{self.where}: {argv[0]} ended with code {process.exit_status}: {text}")
        return bytes(said[:MOST_OUTPUT_BYTES]).decode("utf8", "replace").strip()

    async def start(self, argv: tuple[str, ...]) -> Any:
        """Start a program on the last host; ssh knows only texts for a shell, so every word is quoted."""
        import asyncssh

        try:
            return await asyncio.wait_for(self._last.create_process(shlex.join(argv), encoding=None), DIAL_S)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise PeerLost(f"{self.where}: cannot start {argv[0]}: {error or 'no answer'}") from None

    async def put_private(self, name: str, data: bytes) -> str:
        """Write a file of mode 0600 into our folder there; the data go through the connection, in no argument."""
        path = f"{self.folder}/{name}"
        await self.call("sh", "-c", 'umask 077; set -C; cat > "$1"', "sh", path, given=data)
        return path

    async def lead_back(self, target: int | str) -> int:
        """A port on the loopback of the last host that leads to a port of ours, or to a unix socket here."""
        if isinstance(target, str):
            return await self._lead(self._last.forward_remote_port_to_path("127.0.0.1", 0, target), target)
        return await self._lead(self._last.forward_remote_port("127.0.0.1", 0, "127.0.0.1", target), target)

    async def lead_out(self, socket: str) -> int:
        """A port on our loopback that leads to a unix socket on the last host."""
        return await self._lead(self._last.forward_local_port_to_path("127.0.0.1", 0, socket), socket)

    async def _lead(self, asked: Any, target: int | str) -> int:
        import asyncssh

        try:
            return int((await asyncio.wait_for(asked, DIAL_S)).get_port())
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise PeerLost(f"{self.where}: ssh leads to no {target}: {error or 'no answer'}; does its sshd allow "
                           "forwarding?") from None

    async def _make_folder(self) -> str:
        return await self.call("mktemp", "-d", "-t", "camlink-XXXXXXXX")  # of mode 0700

    async def _dial(self, hop: Hop, through: Any) -> Any:
        import asyncssh

        known = hop.known_hosts or KNOWN_HOSTS
        if not known.is_file():
            raise InputError(f"{hop.host}: there is no {known} that tells its host key; compare the fingerprint with "
                             f"the one that the facility publishes (ssh-keyscan -p {hop.port} {hop.host}), and add it")
        options: dict[str, Any] = {"username": hop.user} if hop.user else {}
        if hop.key is not None:
            options |= {"client_keys": [str(hop.key)], "agent_path": None}
        try:
            return await self._stack.enter_async_context(await asyncio.wait_for(asyncssh.connect(
                hop.host, hop.port, known_hosts=str(known), tunnel=through, agent_forwarding=False, config=None,
                encryption_algs=CIPHERS,
                x509_trusted_certs=None, keepalive_interval=KEEPALIVE_S, keepalive_count_max=3, **options), DIAL_S))
        except asyncssh.HostKeyNotVerifiable:
            raise InputError(f"{hop.host}: its host key is not in {known}; compare its fingerprint with the one that "
                             f"the facility publishes, and add it (ssh-keyscan -p {hop.port} {hop.host})") from None
        except asyncssh.PermissionDenied:
            raise InputError(f"{hop.host}: does not let {hop.user or 'us'} in with "
                             f"{hop.key or 'the keys of the ssh-agent and ~/.ssh'}; name another key") from None
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise PeerLost(f"{hop.host} port {hop.port}: {error or f'no answer in {DIAL_S:g} s'}") from None


class SshSubmitter:
    """Programs on the machine that a Reach leads to, as jobs (job.Submitter)."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._jobs: dict[str, Any] = {}
        self._cancelled: set[str] = set()

    async def submit(self, spec: JobSpec) -> str:
        """Start the program at once, as the leader of its own process group, and give its process id."""
        setting = [f"{name}={value}" for name, value in spec.environment.items()]
        process = await self._reach.start(("setsid", "--wait", "sh", "-c", _BEGIN, "sh", str(spec.folder),
                                           str(spec.output), *setting, *spec.argv))
        try:
            line = await asyncio.wait_for(process.stdout.readline(), DIAL_S)
        except TimeoutError:
            line = b""
        if not line.strip().isdigit():
            raise PeerLost(f"{self._reach.where}: the job '{spec.name}' did not start: {line[:200]!r}")
        job = str(line.decode().strip())
        self._jobs[job] = process
        return job

    async def status(self, job: str) -> JobStatus:
        """Where the program is now."""
        process = self._jobs[job]
        if process.exit_status is None and process.exit_signal is None:
            lost = self._reach.lost
            return JobStatus(JobState.LOST, lost) if lost else JobStatus(JobState.RUNNING)
        code = process.returncode
        if job in self._cancelled:
            return JobStatus(JobState.CANCELLED, "cancelled by us", code)
        return JobStatus(JobState.DONE if code == 0 else JobState.FAILED, f"ended with code {code}", code)

    async def cancel(self, job: str) -> None:
        """SIGTERM to the whole group, after three seconds SIGKILL."""
        if (await self.status(job)).state is not JobState.RUNNING:
            return
        self._cancelled.add(job)
        await self._reach.call("sh", "-c", _END, "sh", job)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._jobs[job].wait(), 5)

    async def close(self) -> None:
        """End what still runs."""
        for job in self._jobs:
            with suppress(PeerLost):
                await self.cancel(job)
        self._jobs.clear()
