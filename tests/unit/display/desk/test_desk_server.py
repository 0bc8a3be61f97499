"""A desk and the pages of its runs, in this process: who may what through it, and what is turned away."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from urllib.parse import quote

import msgspec
import pytest
from openapi_spec_validator import validate
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect as dial

from camlink import connect
from camlink.display.client import LETTER, Letter
from camlink.display.desk.records import AUDIT, STARTED, Started
from camlink.display.desk.runs import Runs
from camlink.display.desk.server import DeskServer
from camlink.display.live import Live
from camlink.display.web.access import Role
from camlink.display.web.ordering import actions_of
from camlink.display.web.server import PageServer
from camlink.errors import InputError, PeerLost
from camlink.runtime.events import Pause
from camlink.runtime.messages import Dashboard
from camlink.runtime.status import RunStatus

pytestmark = pytest.mark.slow  # two real servers

FLOW = """# Counts.
workflow: toys
operators:
  camera: {use: "camlink.testing.toys:camera", frames: 7}
  look: {use: "camlink.testing.toys:look", from: camera}
"""


@pytest.fixture(scope="module")
def given():
    return []


@pytest.fixture(scope="module")
def desk(tmp_path_factory, given):
    """A desk with one run that goes on: its page is in this process too."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "flows").mkdir()
    (folder / "flows/toys.yaml").write_text(FLOW)
    (folder / "secret.yaml").write_text(FLOW)
    log = folder / "runs/one/log"
    log.mkdir(parents=True)
    (log / STARTED).write_bytes(msgspec.json.encode(Started("one", "toys.yaml", "Bo", time.time(), os.getpid())))
    live = Live()
    live.put_status(RunStatus(version=3, workflow="toys", frames={"captured": 5}))
    with PageServer(live) as page, DeskServer([folder / "flows"], {}, folder / "runs", 2) as desk:
        page.actions |= actions_of(given.append)
        page.leave_letter(log / LETTER)
        desk.page = page
        yield desk


def ask(desk, method, path, role=None, body=None, **headers):
    line = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=10)
    if role is not None:
        headers["Authorization"] = f"Bearer {desk.access.invite(role, who='Änne')}"
    line.request(method, path, body, headers)
    answer = line.getresponse()
    data = answer.read()
    line.close()
    return answer, data


def test_the_menu_has_what_is_in_the_folder_and_nothing_else(desk):
    with connect(desk.folder) as client:
        assert [(entry.name, entry.about) for entry in client.workflows()] == [("toys.yaml", "Counts.")]
        form = client.form("toys.yaml")
        assert (form.problem, form.parts[0].operator) == ("", "camera")
        assert {row["name"]: row["value"] for row in form.parts[0].fields}["frames"] == 7
        for name in ("../secret.yaml", "secret.yaml", "/etc/passwd", "..", "", "toys.yaml/", "toys.yaml\0"):
            with pytest.raises(InputError, match="unknown workflow"):
                client.start(name)
        for key in ("camera.frames=1;x", "--report", "a b"):
            with pytest.raises(InputError, match=r"operator\.parameter"):
                client.start("toys.yaml", {key: 1})


def test_a_file_that_is_broken_is_told_and_does_not_hide_the_others(desk, tmp_path):
    (tmp_path / "broken.yaml").write_text("workflow: [")
    (tmp_path / "toys.yaml").write_text(FLOW.replace("frames", "framse"))
    (tmp_path / "latin.yaml").write_bytes("# Zähler.".encode("latin-1"))
    with DeskServer([tmp_path], {}, tmp_path / "runs", 1) as other, connect(other.folder) as client:
        assert [entry.name for entry in client.workflows()] == ["broken.yaml", "latin.yaml", "toys.yaml"]
        assert "not a text in UTF-8" in client.workflows()[1].about
        with pytest.raises(InputError, match="not a text in UTF-8"):
            client.form("latin.yaml")
        assert "line 1" in client.form("broken.yaml").problem
        wrong = client.form("toys.yaml")
        assert "did you mean 'frames'" in wrong.problem
        with pytest.raises(InputError, match="a desk is up for this folder already"):
            DeskServer([tmp_path], {}, tmp_path / "runs", 1)
    with pytest.raises(InputError, match="no folder and no YAML file"):
        DeskServer([tmp_path / "nothing"], {}, tmp_path / "runs", 1)


def test_a_run_is_seen_and_steered_by_its_client_in_the_name_of_who_asks(desk, given):
    given.clear()
    token = desk.access.invite(Role.OPERATOR, who="Änne")
    with connect(desk.url, token) as client:
        run = client.runs()[0]
        assert (run.name, run.state, run.who, run.frames, run.page) == ("one", "running", "Bo", {"captured": 5}, True)
        with client.run("one") as there:
            assert there.status().workflow == "toys"
            assert (there.me().who, there.me().role) == ("Änne", "operator")
            there.pause()
    assert given == [Pause(paused=True, who="Änne")]


def test_a_viewer_of_the_desk_is_a_viewer_of_its_runs_and_an_owner_no_more_than_an_operator(desk, given):
    given.clear()
    for path in ("/api/act/start", "/runs/one/api/act/stop", "/runs/one/api/act/invite"):
        answer, _ = ask(desk, "POST", path, Role.VIEWER, b"{}")
        assert answer.status == 403, path
    assert ask(desk, "POST", "/runs/one/api/act/invite", Role.OWNER, b"{}")[0].status == 403
    assert given == []
    assert "needs the role operator" in (desk.folder / "page.jsonl").read_text()


@pytest.mark.parametrize("said", ["OWNER Eve", "operator x", "", "OPERATOR " + quote("x" * 500), "\x80"])
def test_nobody_outside_says_for_whom_a_desk_asks(desk, said):
    headers = {"Camlink-For": said, "Authorization": "Bearer " + desk.access.invite(Role.VIEWER, who="Vi")}
    for page, path in ((desk, "/runs/one/api/me"), (desk.page, "/api/me")):
        if page is desk.page:
            headers["Authorization"] = "Bearer " + page.access.invite(Role.VIEWER, who="Vi")
        line = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
        line.request("GET", path, headers=headers)
        me = json.loads(line.getresponse().read())
        line.close()
        assert (me["who"], me["role"]) == ("Vi", "viewer")


@pytest.mark.parametrize("path", [
    "/runs/..%2f..%2fetc/", "/runs/../api/runs", "/runs/two/", "/runs//", "/runs/%6fne/", "/runs/one%00/", "/runs/.",
    "/runs/one/../../etc/passwd", "/runs/one/report.json", "/runs/log/page.json", "/runs/one/log/started.json",
    "/runs/one/log/page.json", "/page.jsonl", "/runs/one/%2e%2e/log/page.json"])
def test_no_path_leads_to_a_file_of_the_folder(desk, path):
    answer, data = ask(desk, "GET", path, Role.OWNER)
    assert answer.status in (303, 404, 400), (path, answer.status)
    assert b"token" not in data
    assert b"started" not in data


def test_who_brings_nothing_is_led_to_the_login_and_other_sites_are_turned_away(desk, given):
    given.clear()
    cookie = {"Cookie": f"camlink-{desk.port}={desk.access.enter(desk.access.invite(Role.OWNER))}"}
    for path in ("/api/act/start", "/runs/one/api/act/stop"):
        for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            assert ask(desk, "POST", path, None, b"{}", **cookie, **origin)[0].status == 403
    assert ask(desk, "GET", "/runs/one/api/status", None, None, **cookie, **{
        "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"})[0].status == 403
    assert ask(desk, "GET", "/api/runs", None, None, Host="evil.example")[0].status == 421
    assert given == []
    way = f"ws://127.0.0.1:{desk.port}/runs/one/live"
    with pytest.raises(InvalidStatus):
        dial(way, origin="http://evil.example", additional_headers=cookie, proxy=None)
    with dial(way, origin=desk.url.rstrip("/"), additional_headers=cookie, proxy=None) as page:
        assert '"workflow":"toys"' in "".join(str(page.recv(10)) for _ in range(2))
    ended = f"ws://127.0.0.1:{desk.port}/runs/two/live"
    with pytest.raises(WebSocketException):
        dial(ended, origin=desk.url.rstrip("/"), additional_headers=cookie, proxy=None)


def test_the_login_leads_to_the_page_of_the_run_that_was_wanted_and_nowhere_else(desk, monkeypatch):
    monkeypatch.setattr("camlink.display.web.server.is_same_user", lambda there, here: False)
    answer, _ = ask(desk, "GET", "/runs/one/", None, None, **{"Sec-Fetch-Mode": "navigate"})
    assert (answer.status, answer.headers["Location"]) == (303, "/login?to=/runs/one/")
    assert b'value="/runs/one/"' in ask(desk, "GET", "/login?to=/runs/one/")[1]
    for to, then in (("/runs/one/", "/runs/one/"), ("https://evil.example/", "/"), ("//evil.example/", "/"),
                     ('"><script>', "/"), ("/runs/../x/", "/"), ("/runs/one/api/act/stop", "/"), ("/runs//evil/", "/")):
        token = desk.access.invite(Role.VIEWER)
        assert ask(desk, "GET", f"/login?token={token}&to={quote(to)}")[0].headers["Location"] == then
        assert b"evil" not in ask(desk, "GET", f"/login?to={quote(to)}")[1]
    assert ask(desk, "GET", "/runs/one/login", Role.VIEWER)[0].headers["Location"] == "/login?to=/runs/one/"


def test_the_answer_of_a_process_of_another_user_goes_nowhere(desk, monkeypatch):
    """The port of a run that was killed may be anybody's by now."""
    monkeypatch.setattr("camlink.display.web.proxy.is_same_user", lambda there, here: False)
    answer, data = ask(desk, "GET", "/runs/one/api/status", Role.VIEWER)
    assert (answer.status, b"another user" in data, b"toys" in data) == (502, True, False)
    cookie = {"Cookie": f"camlink-{desk.port}={desk.access.enter(desk.access.invite(Role.OWNER))}"}
    with pytest.raises(WebSocketException):
        dial(f"ws://127.0.0.1:{desk.port}/runs/one/live", origin=desk.url.rstrip("/"), additional_headers=cookie,
             proxy=None)


def test_the_dashboards_of_a_run_are_led_to_under_the_same_path(desk):
    desk.page.dashboards["here"] = Dashboard("/nothing/dask-0", "/runs/one/dask/here")
    for way, role, status in (("here/status", Role.OPERATOR, 502), ("here/status", Role.VIEWER, 403),
                              ("there/status", Role.OWNER, 404)):
        assert ask(desk, "GET", f"/runs/one/dask/{way}", role)[0].status == status
    assert json.loads(ask(desk, "GET", "/runs/one/api/dashboards", Role.OPERATOR)[1]) == [
        {"site": "here", "path": "/runs/one/dask/here/status"}]


def test_a_page_that_does_not_answer_holds_nobody_up_and_one_of_another_address_is_told(desk, monkeypatch):
    monkeypatch.setattr("camlink.display.desk.runs.ASK_S", 0.2)
    log = desk.folder / "stopped/log"
    log.mkdir(parents=True)
    (log / AUDIT).touch()
    (log.parent / "events.jsonl").write_text('{"at":1.5,"event":{}}')
    with socket.create_server(("127.0.0.1", 0)) as deaf, connect(desk.folder) as client:
        (log / LETTER).write_bytes(msgspec.json.encode(Letter(f"http://127.0.0.1:{deaf.getsockname()[1]}/", "t")))
        stopped = next(run for run in client.runs() if run.name == "stopped")
        assert (stopped.state, stopped.page) == ("silent", False)
    for url in ("https://127.0.0.1:9/", "http://10.0.0.7:9/"):
        (log / LETTER).write_bytes(msgspec.json.encode(Letter(url, "t")))
        answer, data = ask(desk, "GET", "/runs/stopped/api/status", Role.VIEWER)
        assert (answer.status, url.encode() in data) == (404, True)


def test_a_run_that_was_killed_is_lost_and_its_page_leads_nowhere(desk):
    log = desk.folder / "gone/log"
    log.mkdir(parents=True)
    (log / AUDIT).touch()
    (log.parent / "events.jsonl").write_text('{"at":1764000000.5,"event":{}}')
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        letter = Letter(f"http://127.0.0.1:{stranger.getsockname()[1]}/", "old token")
        (log / LETTER).write_bytes(msgspec.json.encode(letter))
    with connect(desk.folder) as client:
        gone = next(run for run in client.runs() if run.name == "gone")
        assert (gone.name, gone.state, gone.page, gone.began) == ("gone", "lost", False, 1764000000.5)
        with pytest.raises(InputError, match="has it ended"):
            client.run("gone").status()
    (log / LETTER).unlink()
    answer, _ = ask(desk, "GET", "/runs/gone/", Role.VIEWER)
    assert (answer.status, answer.headers["Location"]) == (303, "/#gone")
    assert ask(desk, "GET", "/runs/gone/api/status", Role.VIEWER)[0].status == 410


@pytest.mark.parametrize(("ended", "at"), [(True, 0.0), (False, -3600.0)])
def test_a_run_whose_process_has_ended_or_whose_number_is_another_process_by_now_does_not_start(tmp_path, ended, at):
    log = tmp_path / "one/log"
    log.mkdir(parents=True)
    runs = Runs(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "" if ended else "input()"], stdin=subprocess.PIPE) as child:
        if ended:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not reaped
        started = Started("one", "toys.yaml", "Bo", time.time() + at, child.pid)
        (log / STARTED).write_bytes(msgspec.json.encode(started))
        states, going = [run.state for run in runs.list()], runs.going()
        child.communicate(b"\n")
    runs.close()
    assert (states, going) == (["lost"], 0)


def test_a_desk_that_does_not_answer_keeps_its_folder_and_one_that_is_gone_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr("camlink.display.desk.server.ASK_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        letter = msgspec.json.encode(Letter(f"http://127.0.0.1:{deaf.getsockname()[1]}/", "t"))
        (tmp_path / LETTER).write_bytes(letter)
        with pytest.raises(InputError, match="a desk is up for this folder already"):
            DeskServer([], {}, tmp_path, 1)
        assert (tmp_path / LETTER).read_bytes() == letter
    with DeskServer([], {}, tmp_path, 1), connect(tmp_path) as client:
        assert client.me().who == "command line"


def test_a_client_of_a_run_waits_as_long_as_that_of_its_desk():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        far = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        with connect(far, timeout_s=0.1).run("one") as run, pytest.raises(PeerLost, match="timed out"):
            run.me()


def test_the_desk_describes_itself(desk):
    with connect(desk.folder) as client:
        told = client.schema()
        validate(told)
        assert {"/api/act/start", "/api/runs", "/api/workflow/{name}", "/runs/{name}/report.json"} <= set(told["paths"])
        validate(client.run("one").schema())
