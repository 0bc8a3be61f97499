"""Facility: jobs through the HTTP interface of a computing facility (Superfacility style); every call goes outward.

POST  {api}/compute/jobs/{machine}        job script -> {"task_id"}        GET {api}/tasks/{id} -> {"status", "result"}
GET   {api}/compute/jobs/{machine}/{id}   -> {"output": [{"state", ...}]}  DELETE the same: cancel
The bearer token comes from a file of mode 0600, read for every request since it may be renewed while the job runs, and
stands in nothing but the header of a request.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from camlink.carry.far.keys import read_private
from camlink.errors import InputError, PeerLost
from camlink.runtime.place.job import JobSpec, JobState, JobStatus
from camlink.runtime.place.script import script

CALL_S: Final = 30.0
TASK_S: Final = 120.0
SILENCE_S: Final = 120.0
LARGEST_ANSWER_BYTES: Final = 1 << 20
_STATES: Final = {
    "PENDING": JobState.QUEUED, "CONFIGURING": JobState.QUEUED, "REQUEUED": JobState.QUEUED,
    "RUNNING": JobState.RUNNING, "COMPLETING": JobState.RUNNING,
    "COMPLETED": JobState.DONE, "CANCELLED": JobState.CANCELLED}


class Task(msgspec.Struct, frozen=True):
    """A call that the facility works on."""

    status: str
    result: str = ""


class Listed(msgspec.Struct, frozen=True):
    """A job in the answer of the facility."""

    state: str
    reason: str = ""
    exitcode: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What the facility says of a job."""

    output: tuple[Listed, ...] = ()


class FacilitySubmitter:
    """Jobs of one machine of a facility; `api` is https:// (http:// only on loopback)."""

    def __init__(self, api: str, machine: str, token: Path, poll_s: float = 2.0) -> None:
        self._http = _httpx()
        url = self._http.URL(api)
        if url.scheme != "https" and not (url.scheme == "http" and url.host in ("127.0.0.1", "::1", "localhost")):
            raise InputError(f"facility: {api} would carry the token in the clear; use https://")
        read_private(token)
        self._machine, self._token, self._poll_s = machine, token, poll_s
        self._known: dict[str, JobStatus] = {}
        self._asked_s: dict[str, float] = {}
        self._heard_s: dict[str, float] = {}
        self._client = self._http.AsyncClient(base_url=api.rstrip("/"), timeout=CALL_S, follow_redirects=False)

    async def submit(self, spec: JobSpec) -> str:
        """Hand a job over; raises PeerLost with what the facility said."""
        answer = await self._ask("POST", f"/compute/jobs/{self._machine}",
                                 data={"job": script("slurm", spec), "isPath": "false"})
        task = _decode(answer, dict[str, str]).get("task_id", "")
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + TASK_S
        while loop.time() < deadline_s:
            done = _decode(await self._ask("GET", f"/tasks/{task}"), Task)
            if done.status == "completed":
                result: dict[str, str | None] = _decode(done.result.encode(), dict[str, str | None])
                if job := result.get("jobid"):
                    return job
                why = result.get("error") or done.result
                raise PeerLost(f"{self._machine} did not take the job '{spec.name}': {why}")
            if done.status == "failed":
                raise PeerLost(f"{self._machine} did not take the job '{spec.name}': {done.result[:500]}")
            await asyncio.sleep(self._poll_s)
        raise PeerLost(f"{self._machine} did not say in {TASK_S:g} s whether it takes the job '{spec.name}'")

    async def status(self, job: str) -> JobStatus:
        """Where the job is now, asked every `poll_s`; one that the facility does not list any more is lost.

        A facility that does not answer for less than `SILENCE_S` changes nothing: the job goes on without it.
        """
        now_s = asyncio.get_running_loop().time()
        if job in self._known and now_s - self._asked_s[job] < self._poll_s:
            return self._known[job]
        self._asked_s[job] = now_s
        try:
            self._known[job] = await self._ask_status(job)
            self._heard_s[job] = now_s
        except (PeerLost, InputError):
            if now_s - self._heard_s.get(job, -SILENCE_S) >= SILENCE_S:
                raise
        return self._known[job]

    async def _ask_status(self, job: str) -> JobStatus:
        listed = await self._listed(job)
        if listed is None:
            return JobStatus(JobState.LOST, f"{self._machine} does not know the job any more")
        code = listed.exitcode.partition(":")[0]
        return JobStatus(_STATES.get(listed.state.partition(" ")[0], JobState.FAILED), listed.reason or listed.state,
                         int(code) if code.isdecimal() else None)

    async def cancel(self, job: str) -> None:
        """End a job."""
        await self._ask("DELETE", f"/compute/jobs/{self._machine}/{job}", missing=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _listed(self, job: str) -> Listed | None:
        answer = await self._ask("GET", f"/compute/jobs/{self._machine}/{job}", missing=True)
        output = _decode(answer, Answer).output if answer else ()
        return output[0] if output else None

    async def _ask(self, method: str, path: str, *, missing: bool = False, **body: Any) -> bytes:
        """The body of a good answer; with `missing` nothing for 404. Raises PeerLost for the rest."""
        secret = read_private(self._token).decode("utf8", "replace").strip()
        try:
            async with self._client.stream(method, path, headers={"Authorization": f"Bearer {secret}"},
                                           **body) as answer:
                found = b""
                async for part in answer.aiter_bytes():
                    found += part
                    if len(found) > LARGEST_ANSWER_BYTES:
                        raise PeerLost(f"facility: {method} {path}: more than {LARGEST_ANSWER_BYTES} bytes")
        except self._http.HTTPError as error:
            why = str(error) or type(error).__name__
            raise PeerLost(f"facility: {method} {path}: {why}; is the network there?") from None
        if answer.status_code == 404 and missing:
            return b""
        if answer.status_code in (401, 403):
            raise InputError(f"facility: {method} {path}: the token is not accepted; get a new one")
        if not 200 <= answer.status_code < 300:
            raise PeerLost(f"facility: {method} {path}: {answer.status_code} {found[:200].decode('utf8', 'replace')}")
        return found


def _decode(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerLost(f"facility: an answer does not parse: {error}") from None


def _httpx() -> ModuleType:
    try:
        import httpx
    except ImportError:
        raise InputError("facilities need httpx: pip install 'camlink[sites]'") from None
    return httpx
