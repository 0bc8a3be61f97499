import json
import math
import stat

import pytest

from camlink.display.web.access import LONGEST_NAME, MOST_PASSES, Access, Role
from camlink.display.web.audit import MOST_REFUSED, REST_S, Audit
from camlink.errors import StorageError


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def access(clock):
    return Access(lambda: clock[0])


def test_a_token_lets_in_and_a_cookie_keeps(access):
    cookie = access.enter(access.invite(Role.OPERATOR), "Anna")
    held = access.by_cookie(cookie)
    assert (held.who, held.role) == ("Anna", Role.OPERATOR)
    access.leave(cookie)
    assert access.by_cookie(cookie) is None


def test_tokens_and_cookies_are_not_each_other(access):
    token = access.invite(Role.OWNER)
    cookie = access.enter(token)
    assert access.by_cookie(token) is None
    assert access.by_token(cookie) is None
    assert access.enter(cookie) == ""


@pytest.mark.parametrize("wrong", ["", "x", "a" * 10_000_000, "\ud800", "\0"])
def test_nobody_else_gets_in(access, wrong):
    access.invite(Role.OWNER)
    assert access.enter(wrong) == ""
    assert access.by_token(wrong) is None
    assert access.by_cookie(wrong) is None


def test_time_ends_tokens_and_the_passes_made_of_them(access, clock):
    token = access.invite(Role.VIEWER, 60)
    cookie = access.enter(token)
    clock[0] = 59.9
    assert access.by_cookie(cookie) is not None
    clock[0] = 60
    assert access.by_cookie(cookie) is None
    assert access.enter(token) == ""


def test_names_are_short_and_printable(access):
    token = access.invite(Role.VIEWER)
    held = access.by_cookie(access.enter(token, "a\n\x1b[31mb" + "c" * 100))
    assert held.who == ("a[31mb" + "c" * 100)[:LONGEST_NAME]
    assert access.by_cookie(access.enter(token, "\n")).who == "viewer"


def test_who_was_invited_by_name_comes_in_by_no_other(access):
    token = access.invite(Role.OPERATOR, who="Anna\n")
    assert access.by_token(token).who == "Anna"
    assert access.by_cookie(access.enter(token, "Bo")).who == "Anna"


def test_passes_are_bounded_and_those_without_an_end_stay(access):
    owner, letter = access.invite(Role.OWNER, math.inf), access.invite(Role.OPERATOR, math.inf)
    for _ in range(MOST_PASSES + 5):
        access.invite(Role.VIEWER)
    assert access.by_token(owner).role is Role.OWNER
    assert access.by_token(letter).role is Role.OPERATOR
    assert len(access._tokens) == MOST_PASSES


def test_a_viewer_who_comes_in_again_and_again_pushes_out_nobody_who_may_do_more(access):
    owner = access.enter(access.invite(Role.OWNER))
    viewer = access.invite(Role.VIEWER)
    last = [access.enter(viewer) for _ in range(MOST_PASSES + 5)][-1]
    assert access.by_cookie(owner).role is Role.OWNER
    assert access.by_cookie(last).role is Role.VIEWER
    assert len(access._passes) == MOST_PASSES


def test_the_audit_keeps_what_came_before_its_file_and_is_private(tmp_path):
    audit, path = Audit(), tmp_path / "page.jsonl"
    audit.ended("127.0.0.1:1", "Anna", "login as owner")
    audit.keep(path)
    audit.turned_away("10.0.0.1:2", "POST /api/act/stop", "foreign origin")
    audit.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["who"], line["action"], line["outcome"]) for line in lines] == [
        ("Anna", "login as owner", "done"), ("", "POST /api/act/stop", "refused (1): foreign origin")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_flood_of_refusals_does_not_fill_the_disk_and_hides_nobody_who_comes_later(tmp_path):
    now_s, path = [1000.0], tmp_path / "page.jsonl"
    audit = Audit(clock=lambda: now_s[0])
    audit.keep(path)
    for _ in range(MOST_REFUSED + 2500):
        audit.turned_away("1.2.3.4:5", "x" * 10_000, "no")
    now_s[0] += REST_S + 1
    for peer in ("6.7.8.9:1", "6.7.8.9:2"):
        audit.turned_away(peer, "login", "wrong token")
    audit.close()
    assert audit.refused == MOST_REFUSED + 2502
    lines = path.read_text().splitlines()
    assert len(lines) == MOST_REFUSED + 1
    assert json.loads(lines[-1])["peer"] == "6.7.8.9:1"
    assert path.stat().st_size < MOST_REFUSED * 400


def test_what_cannot_be_noted_is_said(tmp_path):
    with pytest.raises(StorageError, match="audit"):
        Audit().keep(tmp_path)
    full = Audit()
    full.keep(tmp_path / "a")
    import os

    os.close(full._file)
    full._file = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(StorageError, match="nothing was done"):
        full.asked("p", "w", "stop")
    full.turned_away("p", "stop", "no")  # still refused, without a word
    full.close()
