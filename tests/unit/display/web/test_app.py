import struct
import threading
import warnings

import msgspec
import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect

from camlink.block import Header, Result, Scan
from camlink.display.live import Live
from camlink.display.web.access import Access
from camlink.display.web.app import LOOPBACK, build_app
from camlink.display.web.audit import Audit
from camlink.display.web.door import Door
from camlink.display.web.guard import host_name
from camlink.display.web.message import LARGEST_MESSAGE_BYTES
from camlink.display.web.viewer import MOST_FAULTS, WINDOW
from camlink.runtime.status import RunStatus

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer versions of Starlette prefer another client library to httpx
    from starlette.testclient import TestClient

SCAN = Scan(id="s", expected=1, shape=(8, 8), pixel_m=(1.0, 1.0), distance_m=1.0, energy_eV=1.0, span_m=(0, 0, 1, 1))
ORIGIN = {"origin": "http://localhost"}


def show(live, value=1.0):
    arrays = {"object": np.full((8, 6), value * 1j), "map": np.arange(48.0).reshape(8, 6)}
    live.show(Result(Header(scan=SCAN, made_s=2.0, source="solve", facts={"iteration": 1}), arrays))


def app_of(live, static):
    """A page at which everybody may look."""
    return build_app(live, hosts=LOOPBACK, static=static, door=Door(Access(), Audit(), lambda _: True), actions={},
                     dashboards={})


@pytest.fixture
def live():
    live = Live()
    show(live)
    live.put_status(RunStatus(version=1, workflow="ptychography"))
    return live


@pytest.fixture
def static(tmp_path):
    (tmp_path / "static/assets").mkdir(parents=True)
    (tmp_path / "static/index.html").write_text("<!doctype html><title>camlink</title>")
    (tmp_path / "static/assets/index-abc.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "static"


@pytest.fixture
def client(live, static):
    with TestClient(app_of(live, static), base_url="http://localhost") as client:
        yield client


def test_the_page_is_served_with_its_security_headers(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "camlink" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/assets/index-abc.js").status_code == 200


def test_a_page_that_is_not_built_says_how_to_build_it(live, tmp_path):
    with TestClient(app_of(live, tmp_path), base_url="http://localhost") as client:
        answer = client.get("/")
    assert answer.status_code == 503
    assert "npm run build" in answer.text


@pytest.mark.parametrize("path", ["/assets/../../secret.txt", "/assets/%2e%2e/%2e%2e/secret.txt", "/assets//etc/passwd",
                                  "/assets/..%2f..%2fsecret.txt", "/assets/%00", "/../secret.txt", "/assets/"])
def test_nothing_outside_of_the_assets_is_served(client, path):
    answer = client.get(path)
    assert answer.status_code in (400, 404)
    assert "secret" not in answer.text


def test_a_link_in_the_assets_leads_nowhere(client, static):
    (static / "assets/link.txt").symlink_to(static.parent / "secret.txt")
    assert client.get("/assets/link.txt").status_code == 404


def test_a_foreign_host_is_turned_away(client):
    assert client.get("/api/status", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/api/status", headers={"host": "127.0.0.1:8000"}).status_code == 200
    assert client.get("/api/status", headers={"host": "[::1"}).status_code == 421
    assert host_name("[::1]:80") == "::1"


def test_status_graph_pictures_and_colours_are_json(client):
    assert client.get("/api/status").json()["workflow"] == "ptychography"
    assert client.get("/api/graph").json() == {"workflow": "ptychography", "nodes": [], "edges": []}
    assert [p["name"] for p in client.get("/api/pictures").json()] == ["solve/map", "solve/object"]
    assert "viridis" in client.get("/api/colours").json()


def test_before_the_first_status_there_is_null(static):
    with TestClient(app_of(Live(), static), base_url="http://localhost") as client:
        assert client.get("/api/status").json() is None
        assert client.get("/api/graph").json()["nodes"] == []


@pytest.mark.parametrize("query", ["", "?part=phase&map=twilight", "?log=1", "?part=complex&size=4", "?low=-1&high=1.5",
                                   "?region=1,1,5,5", "?region=-9,-9,999,999"])
def test_a_picture_is_a_png(client, query):
    answer = client.get(f"/api/picture/solve/object.png{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")


@pytest.mark.parametrize(("query", "status"), [
    ("?part=all", 400), ("?map=rainbow", 404), ("?size=1000000", 400), ("?size=0", 400), ("?low=nan", 400),
    ("?high=inf", 400), ("?region=1,2,3", 400), ("?region=a,b,c,d", 400), ("?scale=cubic", 400)])
def test_a_wrong_question_gets_a_clear_answer(client, query, status):
    answer = client.get(f"/api/picture/solve/object.png{query}")
    assert answer.status_code == status
    assert answer.json()["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_however_many_ask_few_threads_make_pictures(client, live, monkeypatch):
    made, here = [], threading.current_thread
    for name in ("image", "value"):
        make = getattr(live, name)
        monkeypatch.setattr(live, name, lambda *given, make=make: made.append(here().name) or make(*given))
    for path in ("/picture.png", "/api/picture/solve/map.png", "/api/value?name=solve/map&y=1&x=2"):
        assert client.get(path).status_code == 200
    assert len(made) == 3
    assert all(name.startswith("camlink-picture") for name in made)


def test_an_unknown_picture_is_404(client):
    assert client.get("/api/picture/../../etc/passwd.png").status_code == 404
    assert client.get("/api/picture/solve/nothing.png").status_code == 404


def test_values_under_the_cursor(client):
    assert client.get("/api/value?name=solve/map&y=1&x=2").json()["value"] == 8.0
    answer = client.get("/api/value?name=solve/object&y=0&x=0").json()
    assert answer["value"] == 1.0
    assert answer["phase_rad"] == pytest.approx(np.pi / 2)
    assert client.get("/api/value?name=solve/map&y=99&x=0").json()["value"] is None
    for query in ("name=solve/map", "name=solve/map&y=a&x=1", f"name=solve/map&y={'9' * 5000}&x=x"):
        assert client.get(f"/api/value?{query}").status_code == 400


@pytest.mark.parametrize("headers", [{}, {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://["},
                                     {"origin": "http://localhost:81"}, {"origin": "file://localhost"}])
def test_a_socket_from_elsewhere_is_refused(client, headers):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://localhost/live", headers=headers) as socket:
        socket.receive()


def subscribe(socket, panel=0, name="solve/object", **lens):
    socket.send_text(msgspec.json.encode({"type": "subscribe", "panel": panel, "name": name, "lens": lens}).decode())


def next_picture(socket):
    """The next picture, its header and the JSON messages before it."""
    said = []
    while True:
        event = socket.receive()
        if event.get("bytes") is not None:
            return struct.unpack_from("<IIIIdII", event["bytes"]), event["bytes"][32:], said
        said.append(msgspec.json.decode(event["text"]))


def test_a_subscription_brings_the_picture_and_its_domain(client):
    with client.websocket_connect("ws://localhost/live", headers=ORIGIN) as socket:
        subscribe(socket, panel=5, name="solve/map")
        head, pixels, said = next_picture(socket)
    (domain,) = [m for m in said if m["type"] == "domain"]
    assert {m["type"] for m in said} >= {"status", "pictures", "curves", "points", "tick"}
    assert (head[1], head[2], head[5]) == (8, 6, 5)
    assert head[3] >> 16 == domain["id"]
    assert head[4] == 2000.0
    assert domain["shape"] == [8, 6]
    assert len(pixels) == 48


def wait_error(socket):
    while True:
        event = socket.receive()
        if event["type"] == "websocket.close":
            raise WebSocketDisconnect(event["code"])
        if event.get("text") and (message := msgspec.json.decode(event["text"]))["type"] == "error":
            return message


HOSTILE = ["", "{", "null", "[]", '{"type":"shutdown"}', '{"type":"subscribe"}', "[" * 5000,
           '{"type":"subscribe","panel":-1,"name":"x"}', '{"type":"subscribe","panel":999,"name":"x"}',
           '{"type":"subscribe","panel":0,"name":"x","lens":{"height":1000000000}}',
           '{"type":"subscribe","panel":0,"name":"x","lens":{"low":1e999}}',
           '{"type":"subscribe","panel":0,"name":"x","extra":1}', "x" * (LARGEST_MESSAGE_BYTES + 1), b"", b"\0" * 5]


def test_hostile_messages_are_answered_and_counted(client):
    with client.websocket_connect("ws://localhost/live", headers=ORIGIN) as socket:
        for count, message in enumerate(HOSTILE, 1):
            (socket.send_bytes if isinstance(message, bytes) else socket.send_text)(message)
            answer = wait_error(socket)
            assert answer["count"] == count
        subscribe(socket)
        next_picture(socket)


def test_too_much_garbage_closes_the_socket(client):
    with client.websocket_connect("ws://localhost/live", headers=ORIGIN) as socket:
        for _ in range(MOST_FAULTS):
            socket.send_text("{")
            wait_error(socket)
        socket.send_text("{")
        with pytest.raises(WebSocketDisconnect):
            wait_error(socket)


def wait_version(socket, live, seconds_of_ticks=2):
    """Read until two ticks have passed; the pictures that came meanwhile."""
    ticks, pictures = 0, []
    while ticks < seconds_of_ticks:
        event = socket.receive()
        if event.get("bytes") is not None:
            pictures.append(struct.unpack_from("<I", event["bytes"])[0])
            show(live, value=len(pictures) + 1.0)
        elif msgspec.json.decode(event["text"])["type"] == "tick":
            ticks += 1
    return pictures


def test_a_page_that_does_not_draw_gets_two_pictures_then_the_newest(client, live, monkeypatch):
    monkeypatch.setattr("camlink.display.web.viewer.TICK_S", 0.2)
    with client.websocket_connect("ws://localhost/live", headers=ORIGIN) as socket:
        subscribe(socket)
        pictures = wait_version(socket, live)
        assert len(pictures) == WINDOW
        for value in range(5):
            show(live, value=10.0 + value)
        socket.send_bytes(struct.pack("<I", pictures[0]))
        socket.send_bytes(struct.pack("<I", 4_000_000_000))  # never sent: no credit
        _, _, said = next_picture(socket)
        dropped = [m["dropped"] for m in said if m["type"] == "domain"]
        assert dropped[-1] == 5
        assert wait_version(socket, live, 1) == []


def test_a_picture_that_is_not_there_yet_comes_later(client, live):
    with client.websocket_connect("ws://localhost/live", headers=ORIGIN) as socket:
        subscribe(socket, name="stxm/map")
        live.show(Result(Header(scan=SCAN, made_s=2.0, source="stxm"), {"map": np.ones((4, 4))}))
        head, _, _ = next_picture(socket)
        assert head[1:3] == (4, 4)
