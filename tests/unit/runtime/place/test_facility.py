"""A facility that does not answer for a while, and one whose token is renewed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from camlink.carry.far.keys import write_private
from camlink.errors import PeerLost
from camlink.runtime.place import facility
from camlink.runtime.place.facility import FacilitySubmitter
from camlink.runtime.place.job import JobState

httpx = pytest.importorskip("httpx", reason="httpx is not installed: pip install -e '.[sites]'")
RUNNING = {"output": [{"state": "RUNNING"}]}


def test_a_job_goes_on_while_its_facility_is_silent_and_its_token_is_renewed(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, seen, answers = tmp_path / "token", [], [200, 503, 401, 200, 503, 503]
    write_private(token, b"first")

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(answers.pop(0), json=RUNNING)

    async def follow() -> None:
        submitter = FacilitySubmitter("https://facility.example", "machine", token, poll_s=0.0)
        await submitter.close()
        submitter._client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="https://facility.example")
        for _ in range(3):
            assert (await submitter.status("7")).state is JobState.RUNNING
        token.unlink()
        write_private(token, b"second")
        assert (await submitter.status("7")).state is JobState.RUNNING
        with pytest.raises(PeerLost, match="503"):
            await submitter.status("8")  # of which nothing was ever heard
        monkeypatch.setattr(facility, "SILENCE_S", 0.0)
        with pytest.raises(PeerLost, match="503"):
            await submitter.status("7")
        await submitter.close()

    asyncio.run(follow())
    assert seen[2:4] == ["Bearer first", "Bearer second"]
