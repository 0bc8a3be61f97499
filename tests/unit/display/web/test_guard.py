"""Attacks on the page, through the whole app: who may look, who may act, and what is turned away."""

import json
import warnings

import pytest
from starlette.websockets import WebSocketDisconnect

from camlink.display.live import Live
from camlink.display.web.access import Access, Role
from camlink.display.web.action import Action
from camlink.display.web.app import build_app
from camlink.display.web.audit import Audit
from camlink.display.web.door import Door
from camlink.display.web.guard import ANY_HOST, LARGEST_BODY_BYTES
from camlink.errors import ParameterError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

HOME = "http://localhost"
OURS = {"origin": HOME}


class Page:
    """A page with an audit that can be read, and one action a role."""

    def __init__(self, static, trusts=False, hosts=("localhost",)):
        self.access, self.audit, self.done = Access(), Audit(), []
        self.actions = {role.name.lower(): Action(role, lambda who, given: self.done.append((who, given)))
                        for role in Role}
        door = Door(self.access, self.audit, lambda scope: trusts)
        self.app = build_app(Live(), static=static, hosts=hosts, door=door, actions=self.actions,
                             dashboards={})

    def client(self, role=None):
        client = TestClient(self.app, base_url=HOME, follow_redirects=False)
        if role:
            answer = client.get(f"/login?token={self.access.invite(role)}&who=Anna")
            assert answer.status_code == 303
        return client

    @property
    def notes(self):
        return b"".join(self.audit._waiting).decode()


@pytest.fixture
def static(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>camlink</title>")
    return tmp_path


@pytest.fixture
def page(static):
    return Page(static)


PATHS = ["/api/status", "/api/graph", "/api/pictures", "/api/colours", "/api/me", "/api/value", "/assets/x.js",
         "/api/picture/a.png", "/%2e%2e/etc/passwd", "/login/", "/login/../api/status", "/LOGIN"]


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_nothing_is_seen(page, path):
    assert page.client().get(path).status_code == 401


def test_the_page_leads_to_the_login_and_the_login_shows_nothing(page):
    answer = page.client().get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    form = page.client().get("/login")
    assert "token" in form.text
    assert "form-action 'self'" in form.headers["content-security-policy"]


def test_a_token_becomes_a_cookie_that_scripts_do_not_see(page):
    client = page.client(Role.OWNER)
    assert client.get("/").status_code == 200
    me = client.get("/api/me").json()
    assert me == {"who": "Anna", "role": "owner", "actions": ["operator", "owner", "viewer"],
                  "choices": {}}
    answer = page.client().get(f"/login?token={page.access.invite(Role.VIEWER)}")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "token" not in answer.headers["location"]


def test_the_form_takes_the_token_too(page):
    client = page.client()
    token = page.access.invite(Role.OPERATOR)
    assert client.post("/login", data={"token": token, "who": "Bo"}, headers=OURS).status_code == 303
    assert client.get("/api/me").json()["who"] == "Bo"
    assert client.post("/logout", headers=OURS).status_code == 303
    assert client.get("/api/me").status_code == 401


@pytest.mark.parametrize("token", ["", "wr0ng", "x" * 5000, "<script>alert(1)</script>"])
def test_a_wrong_token_is_refused_and_noted_without_itself(page, token, monkeypatch):
    monkeypatch.setattr("camlink.display.web.door.WRONG_TOKEN_S", 0.0)
    answer = page.client().post("/login", data={"token": token}, headers=OURS)
    assert answer.status_code == 401
    assert "script" not in answer.text
    assert "wrong token" in page.notes
    assert not token or token not in page.notes


def test_a_form_of_many_fields_is_refused_with_the_reason(page):
    answer = page.client().post("/login", content="a=1&" * 9, headers=OURS)
    assert answer.status_code == 400
    assert "at most 8" in answer.text


def test_no_secret_stands_in_the_audit(page):
    token = page.access.invite(Role.OWNER)
    client = page.client()
    client.get(f"/login?token={token}")
    client.post("/api/act/owner", headers=OURS, json={})
    assert "login as owner" in page.notes
    assert token not in page.notes
    assert all(value not in page.notes for value in client.cookies.values())


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_do_what_it_may_and_no_more(page, role):
    client = page.client(role)
    for needed in Role:
        answer = client.post(f"/api/act/{needed.name.lower()}", headers=OURS, json={"a": 1})
        assert answer.status_code == (200 if role >= needed else 403)
    assert page.done == [("Anna", {"a": 1})] * int(role)
    assert page.notes.count('"outcome":"done"') == 1 + int(role)


def test_what_is_refused_is_noted_as_asked_and_refused_with_the_reason(page):
    def refuse(who, given):
        raise ParameterError("the run is over")

    page.actions["late"] = Action(Role.OPERATOR, refuse, dict[str, int])
    client = page.client(Role.OPERATOR)
    for body, reason in (({"a": 1}, "the run is over"), ({"a": "x"}, "Expected `int`")):
        assert client.post("/api/act/late", headers=OURS, json=body).status_code == 400
        asked, ended = [json.loads(line) for line in page.notes.splitlines()[-2:]]
        assert (asked["outcome"], asked["who"], asked["action"]) == ("asked", "Anna", ended["action"])
        assert ended["outcome"].startswith("refused: ")
        assert reason in ended["outcome"]


def test_a_neighbour_may_look_and_not_act(static):
    page = Page(static, trusts=True)
    client = page.client()
    assert client.get("/api/status").status_code == 200
    assert client.get("/api/me").json()["role"] == "viewer"
    assert client.post("/api/act/operator", headers=OURS, json={}).status_code == 403
    assert page.done == []


CROSS = [{}, {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:81"},
         {"origin": "http://localhost.evil.example"}, {"origin": "http://localhost@evil.example"},
         {"origin": "", "authorization": "Basic eDp5"}, {"referer": HOME}]


@pytest.mark.parametrize("headers", CROSS)
def test_another_site_cannot_act_with_the_cookie_of_its_victim(page, headers):
    client = page.client(Role.OWNER)
    assert client.post("/api/act/owner", headers=headers, json={}).status_code == 403
    assert page.done == []
    assert "foreign origin" in page.notes


def test_another_site_cannot_read_but_may_link_to_the_page(page):
    client = page.client(Role.OWNER)
    for site in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        assert client.get("/api/status", headers=headers).status_code == 403
    answer = client.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert answer.status_code == 200


def test_a_rebound_name_is_turned_away_before_anything_else(page):
    client = page.client(Role.OWNER)
    evil = {"host": "evil.example", "origin": "http://evil.example"}
    assert client.post("/api/act/owner", headers=evil, json={}).status_code == 421
    assert client.get("/login", headers=evil).status_code == 421


def test_a_page_for_every_host_still_asks_for_the_token(static):
    page = Page(static, hosts=(ANY_HOST,))
    assert page.client().get("/api/status", headers={"host": "evil.example"}).status_code == 401


def test_a_program_acts_with_its_token_and_no_cookie(page):
    bearer = {"authorization": f"Bearer {page.access.invite(Role.OPERATOR)}"}
    assert page.client().post("/api/act/operator", headers=bearer, json={}).status_code == 200
    assert page.client().post("/api/act/owner", headers=bearer, json={}).status_code == 403
    wrong = {"authorization": "Bearer wrong"}
    assert page.client().post("/api/act/viewer", headers=wrong, json={}).status_code == 401


def test_bodies_are_bounded_whatever_their_header_says(page):
    client = page.client(Role.OWNER)
    large = b"[" * (LARGEST_BODY_BYTES + 1)
    assert client.post("/api/act/owner", headers=OURS, content=large).status_code == 413
    parts = iter([large[:40_000], large[:40_000]])
    assert client.post("/api/act/owner", headers=OURS, content=parts).status_code == 413
    for length in ("99999999999999999999999", "-1", "x"):
        answer = client.post("/api/act/owner", headers={**OURS, "content-length": length}, content=b"")
        assert answer.status_code in (400, 413)
    assert page.done == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"1", b'"a"', b"[" * 50_000, b"\xff", b"{" + b'"a":' * 9000])
def test_arguments_that_do_not_parse_do_nothing(page, body):
    client = page.client(Role.OWNER)
    assert client.post("/api/act/owner", headers=OURS, content=body).status_code == 400
    assert page.done == []


def test_an_unknown_action_names_the_known(page):
    answer = page.client(Role.OWNER).post("/api/act/ownr", headers=OURS, json={})
    assert answer.status_code == 404
    assert "owner" in answer.json()["error"]


@pytest.mark.parametrize("headers", [OURS, {"origin": "http://evil.example"}])
def test_a_socket_needs_a_pass_and_our_page(page, headers):
    with pytest.raises(WebSocketDisconnect), page.client().websocket_connect("ws://localhost/live", headers=headers):
        pass
    client = page.client(Role.VIEWER)
    if headers is OURS:
        with client.websocket_connect("ws://localhost/live", headers=headers) as socket:
            assert socket.receive_json()["type"]
    else:
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://localhost/live", headers=headers):
            pass
