"""Dask's pages behind the login: a page, a server on a unix socket in the place of Dask's, and who may come through."""

import http.client
import threading
from contextlib import closing
from pathlib import Path

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import connect as dial
from websockets.sync.server import unix_serve

from camlink.display.live import Live
from camlink.display.web.access import Role
from camlink.display.web.server import PageServer
from camlink.runtime.cluster.certificates import Authority, Handshakes
from camlink.runtime.cluster.clusters import leave
from camlink.runtime.messages import Dashboard

pytestmark = pytest.mark.slow  # two real servers
BELOW = "/runs/mine/dask/here"


def answer(line, request):
    """Web pages and redirects; None where a web socket is asked for."""
    line.asked.append(request)
    if request.path.endswith("/ws"):
        return None
    told = {"Location": f"{BELOW}/status"} if request.path == f"{BELOW}/" else {}
    size = "100" if request.path.endswith("/cut") else "4"
    made = Headers({"Content-Type": "text/html", "Set-Cookie": "a=b", "Content-Length": size, **told})
    return Response(302 if told else 200, "", made, b"task")


def echo(line):
    for message in line:
        if message == "bye":
            with line.send_context():
                line.protocol.send_close()  # without a code, as Dask's server does
            return
        line.send(message * 100)


@pytest.fixture
def asked():
    return []


@pytest.fixture
def page(tmp_path, asked):
    path = str(tmp_path / "dask-0")

    def process(line, request):
        line.asked = asked
        return answer(line, request)

    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install -e '.[sites]'")
    passes = Authority().issue()
    leave(passes["client"], Path(path))
    (tmp_path / "server.pem").write_bytes(passes["scheduler"].pem)
    secure = Handshakes.of(passes["scheduler"].authority, tmp_path / "server.pem", serves=True)
    with unix_serve(echo, path, process_request=process, subprotocols=["bokeh"], compression=None,
                    ssl=secure) as dask, PageServer(Live()) as page:
        thread = threading.Thread(target=dask.serve_forever)
        thread.start()
        page.dashboards["here"] = Dashboard(path, BELOW)
        yield page
        dask.shutdown()
        thread.join(5)


def ask(page, path, role=None, method="GET"):
    token = {"Authorization": f"Bearer {page.access.invite(role)}"} if role else {}
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)) as line:
        line.request(method, path, headers={"Cookie": "secret=1", "X-Other": "y", **token})
        with line.getresponse() as got:
            return got, got.read()


def test_an_answer_that_breaks_off_does_so_here_too_and_leaves_no_trace(page, caplog):
    with pytest.raises(http.client.IncompleteRead):
        ask(page, f"{BELOW}/cut", Role.OPERATOR)
    assert [record.exc_info for record in caplog.records if record.name == "uvicorn.error"] == [None]


def test_an_operator_is_led_on_with_a_policy_of_its_own_and_without_secrets(page, asked):
    got, data = ask(page, f"{BELOW}/status?theme=dark", Role.OPERATOR)
    assert (got.status, data) == (200, b"task")
    assert "unsafe-inline" in got.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in got.headers["content-security-policy"]
    assert (got.headers["set-cookie"], got.headers["x-content-type-options"]) == (None, "nosniff")
    assert asked[-1].path == f"{BELOW}/status?theme=dark"
    assert {"cookie", "authorization", "x-other"}.isdisjoint(name.lower() for name in asked[-1].headers)
    assert ask(page, f"{BELOW}/", Role.OWNER)[0].headers["location"] == f"{BELOW}/status"
    assert b"/runs/mine/dask/here/status" in ask(page, "/api/dashboards", Role.OPERATOR)[1]


def test_who_may_not_act_may_not_look_and_nobody_may_send(page, asked):
    assert ask(page, "/api/dashboards", Role.VIEWER)[1] == b"[]"
    for role, method in ((None, "GET"), (Role.VIEWER, "GET"), (Role.OPERATOR, "POST"), (Role.OWNER, "DELETE")):
        assert ask(page, f"{BELOW}/status", role, method)[0].status == 403
    for path in ("/runs/other/dask/here/status", "/runs/mine/dask/there/status", "/runs/mine/dask/here", "/runs/mine",
                 "/runs/mine/dask/../../api/me"):
        assert ask(page, path, Role.OWNER)[0].status == 404
    assert asked == []


def test_a_web_socket_is_carried_both_ways_with_its_protocol_for_an_operator_of_this_page(page):
    way, ours = f"ws://127.0.0.1:{page.port}{BELOW}/status/ws", page.url.rstrip("/")
    cookies = [{"Cookie": f"camlink-{page.port}={page.access.enter(page.access.invite(role))}"}
               for role in (Role.VIEWER, Role.OPERATOR)]
    for cookie, origin in ((cookies[0], ours), (cookies[1], "http://evil.example"), ({}, ours)):
        with pytest.raises(InvalidStatus):
            dial(way, origin=origin, additional_headers=cookie, subprotocols=["bokeh"], proxy=None)
    with dial(way, origin=ours, additional_headers=cookies[1], subprotocols=["bokeh", "token"], proxy=None) as line:
        assert line.subprotocol == "bokeh"
        for message in ("text", b"bytes", "x" * 10_000):
            line.send(message)
            assert line.recv(10) == message * 100
        line.send("bye")
        with pytest.raises(ConnectionClosedOK):
            line.recv(10)


def test_a_dashboard_of_another_cluster_is_not_taken_for_it(page, asked):
    """One that came anew at the same place, before its certificates lie there; or somebody on the way."""
    leave(Authority().issue()["client"], Path(page.dashboards["here"].socket))
    got, data = ask(page, f"{BELOW}/status", Role.OPERATOR)
    assert (got.status, b"is away" in data, asked) == (502, True, [])


def test_a_dashboard_that_is_not_up_is_said_so(page):
    Path(page.dashboards["here"].socket).unlink()
    got, data = ask(page, f"{BELOW}/status", Role.OPERATOR)
    assert (got.status, b"is away" in data) == (502, True)
