"""A facility's HTTP interface, played by a small server in front of a real Slurm."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from camlink.carry.far.keys import write_private
from camlink.errors import InputError, PeerLost
from camlink.runtime.place.facility import FacilitySubmitter
from camlink.runtime.place.job import JobSpec, JobState
from camlink.runtime.place.script import script
from camlink.runtime.run import run
from camlink.testing import toys
from camlink.workflow.graph import Site, Workflow

pytest.importorskip("httpx", reason="httpx is not installed: pip install -e '.[sites]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
TOKEN = "facility-secret"


class Facility:
    """Takes scripts for sbatch, gives task numbers, tells of jobs as scontrol does."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, str]] = []
        self.answer: Response | None = None
        app = Starlette(routes=[
            Route("/compute/jobs/slurm", self.submit, methods=["POST"]), Route("/tasks/{number:int}", self.task),
            Route("/compute/jobs/slurm/{job}", self.job),
            Route("/compute/jobs/slurm/{job}", self.end, methods=["DELETE"])])
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def refused(self, request: Request) -> Response | None:
        if self.answer is not None:
            return self.answer
        good = request.headers.get("authorization") == f"Bearer {TOKEN}"
        return None if good else JSONResponse({"error": "who are you"}, 401)

    async def submit(self, request: Request) -> Response:
        if refused := self.refused(request):
            return refused
        form = dict(re.findall(r"(\w+)=([^&]*)", (await request.body()).decode()))
        from urllib.parse import unquote_plus

        done = await asyncio.to_thread(subprocess.run, ["sbatch", "--parsable"], input=unquote_plus(form["job"]),
                                       capture_output=True, text=True)
        result = json.dumps({"status": "ok", "jobid": done.stdout.strip()})
        if done.returncode:
            result = json.dumps({"status": "error", "jobid": None, "error": done.stderr.strip()})
        self.tasks.append({"id": str(len(self.tasks)), "status": "completed", "result": result})
        return JSONResponse({"task_id": str(len(self.tasks) - 1), "status": "OK"})

    def task(self, request: Request) -> Response:
        return self.refused(request) or JSONResponse(self.tasks[request.path_params["number"]])

    def job(self, request: Request) -> Response:
        if refused := self.refused(request):
            return refused
        job = request.path_params["job"]
        done = subprocess.run(["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True)
        if done.returncode:
            return JSONResponse({"output": []}, 404)
        found = dict(re.findall(r"(\w+)=(\S*)", done.stdout))
        return JSONResponse({"status": "OK", "output": [{
            "jobid": job, "state": found["JobState"], "reason": found["Reason"],
            "exitcode": found["ExitCode"]}]})

    def end(self, request: Request) -> Response:
        subprocess.run(["scancel", request.path_params["job"]], check=True)
        return JSONResponse({"task_id": "0"})

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture
def facility(slurm: Path) -> Iterator[Facility]:
    facility = Facility()
    yield facility
    facility.close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    write_private(tmp_path / "token", TOKEN.encode())
    return tmp_path / "token"


def spec(folder: Path, *argv: str, **more: Any) -> JobSpec:
    return JobSpec(argv=argv, name="camlink-test", folder=folder, output=folder / "out.txt", **more)


async def until(submitter: Any, job: str, *states: JobState) -> Any:
    for _ in range(300):
        status = await submitter.status(job)
        if status.state in states:
            return status
        await asyncio.sleep(0.1)
    raise AssertionError(status)


def test_a_job_goes_through_and_another_is_cancelled(facility: Facility, token: Path, tmp_path: Path) -> None:
    async def run() -> None:
        submitter = FacilitySubmitter(facility.url, "slurm", token, poll_s=0.1)
        words = ("a b", "$HOME", "it's", "`id`")
        job = await submitter.submit(spec(tmp_path, "printf", "%s|", *words))
        status = await until(submitter, job, JobState.DONE, JobState.FAILED)
        assert (status.state, status.code) == (JobState.DONE, 0)
        assert (tmp_path / "out.txt").read_text() == "a b|$HOME|it's|`id`|"
        long = await submitter.submit(spec(tmp_path, "sleep", "600"))
        await until(submitter, long, JobState.RUNNING)
        await submitter.cancel(long)
        await until(submitter, long, JobState.CANCELLED)
        assert (await submitter.status("999999")).state is JobState.LOST
        with pytest.raises(PeerLost, match="invalid partition"):
            await submitter.submit(spec(tmp_path, "true", queue="nowhere"))
        await submitter.close()

    asyncio.run(run())


def test_the_agent_of_a_site_is_a_job_of_the_facility(facility: Facility, token: Path, tmp_path: Path) -> None:
    options = {"api": facility.url, "machine": "slurm", "token": str(token), "walltime_s": 600}
    made = Workflow("far", sites={"cluster": Site("cluster", "facility", options)})
    made.add("add", toys.add, made.add("count", toys.count, made.add("camera", toys.camera, at="cluster", frames=20),
                                       at="cluster"), at="cluster")
    report = run(made, folder=tmp_path / "run")
    assert (report.verdict, report.reasons) == ("complete", ())
    assert report.operators["add"]["total"] == sum(range(20))
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file() and TOKEN in path.read_text("latin1")]


def test_a_wrong_token_and_strange_answers_are_said(facility: Facility, tmp_path: Path, token: Path) -> None:
    write_private(tmp_path / "wrong", b"x")

    async def ask(path: Path) -> Any:
        submitter = FacilitySubmitter(facility.url, "slurm", path, poll_s=0.1)
        try:
            return await submitter.submit(spec(tmp_path, "true"))
        finally:
            await submitter.close()

    with pytest.raises(InputError, match="not accepted"):
        asyncio.run(ask(tmp_path / "wrong"))
    for answer, says in (
            (Response("no", 500), "500 no"), (Response(b"[" * 1000), "does not parse"),
            (Response(b"1" * (2 << 20)), "more than"), (Response("", 302, {"location": "http://x/"}), "302")):
        facility.answer = answer
        with pytest.raises(PeerLost, match=says):
            asyncio.run(ask(token))


def test_the_token_goes_to_nobody_in_the_clear_or_in_a_script(token: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="https"):
        FacilitySubmitter("http://facility.example", "slurm", token)
    token.chmod(0o644)
    with pytest.raises(InputError, match="0600"):
        FacilitySubmitter("https://facility.example", "slurm", token)
    text = script("slurm", spec(tmp_path, "run", "a\nb; rm -rf /", environment={"A": "$(id)"}))
    assert "export A='$(id)'" in text
    assert "exec srun --cpus-per-task=1 run 'a\nb; rm -rf /'" in text
    with pytest.raises(InputError, match="no name of a variable"):
        spec(tmp_path, "run", environment={"A;id": "1"})
    assert os.environ.get("SECRET_TOKEN") is None
