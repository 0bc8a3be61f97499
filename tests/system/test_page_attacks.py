"""The real page server under attack: floods, half requests, strangers; the page is served all the time."""

import contextlib
import functools
import os
import resource
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from camlink.display.live import Live
from camlink.display.web.patience import Patient
from camlink.display.web.server import PageServer
from camlink.runtime.status import RunStatus
from camlink.testing.hostile import PAYLOADS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def page():
    live = Live()
    live.put_status(RunStatus(version=3, workflow="w"))
    with PageServer(live) as server:
        yield server


def ask(page, path="api/status", **headers):
    request = urllib.request.Request(f"{page.url}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def test_a_thousand_silent_connections_do_not_keep_others_out(page):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            dialled = stack.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=10))
            if number % 2:
                with contextlib.suppress(OSError):  # it may be turned away already
                    dialled.sendall(b"GET /api/status HTTP/1.1\r\nHost: 127")
        assert b'"workflow":"w"' in ask(page)
        assert page.viewers < 500
        noted(page, 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_half_a_request_is_closed_in_time(page, monkeypatch):
    monkeypatch.setattr(Patient, "ask_s", 0.2)
    dial = functools.partial(socket.create_connection, ("127.0.0.1", page.port), timeout=10)
    with contextlib.suppress(ConnectionError), dial() as dialled:  # it may be closed before anything was said
        dialled.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert dialled.recv(100) == b""
    with contextlib.suppress(ConnectionError), dial() as dialled:
        dialled.sendall(b"GET /api/colours HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /api")
        while dialled.recv(65536):
            pass


def noted(page, least):
    """The audit has so many of those who were turned away, and soon."""
    deadline = time.monotonic() + 20
    while page.audit.refused < least:
        assert time.monotonic() < deadline, page.audit.refused
        time.sleep(0.01)


@pytest.mark.parametrize("name", list(PAYLOADS))
def test_garbage_is_answered_or_closed_and_harms_nothing(page, name):
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as dialled:
        dialled.sendall(PAYLOADS[name])
        dialled.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            dialled.recv(65536)
    assert b'"workflow":"w"' in ask(page)
    noted(page, int(name not in ("nothing", "text")))


def test_a_head_without_end_is_cut_off(page):
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as dialled:
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 50 << 20:
                sent += dialled.send(b"X-A: " + b"a" * 65536 + b"\r\n" if sent else b"GET / HTTP/1.1\r\n")
        assert sent < 50 << 20
    assert b'"workflow":"w"' in ask(page)
    noted(page, 1)


def test_the_page_is_read_through_raw_paths_only_where_it_should(page):
    for path in (b"/assets/../../../../../etc/passwd", b"/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
                 b"/..%2f..%2fetc/passwd", b"/assets//etc/passwd", b"/assets/..\\..\\etc\\passwd",
                 b"http://evil.example/api/status"):
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as dialled:
            dialled.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda d=dialled: d.recv(65536), b""))
        assert b"root:" not in answer, path
        assert answer.split(b" ")[1] in (b"404", b"400"), (path, answer[:100])


STRANGER = """import os, sys, urllib.request, urllib.error
"a".encode("idna")  # loaded before the rights to read it are gone
os.setuid(65534)
for path, headers in (("api/status", {}), ("api/status", {"Authorization": "Bearer " + sys.stdin.read().strip()})):
    try:
        print(urllib.request.urlopen(urllib.request.Request(sys.argv[1] + path, headers=headers), timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of somebody else")
def test_another_user_of_this_machine_needs_the_token(page):
    token = page.invitation.partition("token=")[2]
    done = subprocess.run([sys.executable, "-c", STRANGER, page.url], input=token, capture_output=True, text=True,
                          timeout=30)
    assert done.stdout.split() == ["401", "200"], done.stderr


def test_a_page_for_other_machines_asks_everybody(page):
    with PageServer(Live(), host="0.0.0.0") as wide:
        with pytest.raises(urllib.error.HTTPError) as error:
            ask(wide)
        assert error.value.code == 401
        error.value.close()
        token = wide.invitation.partition("token=")[2]
        assert ask(wide, Authorization=f"Bearer {token}") == b"null"


def test_the_token_stands_in_no_argument_and_no_log(tmp_path):
    run = subprocess.Popen([sys.executable, "-m", "camlink", "demo", "ptychography", "--no-browser", "--exit",
                            "--folder", str(tmp_path / "run"), "--set", "beamline.points_y=6",
                            "--set", "beamline.points_x=6"], stdout=subprocess.PIPE, text=True,
                           stdin=subprocess.DEVNULL)
    token, seen = "", set()
    while run.poll() is None and not token:
        token = run.stdout.readline().partition("token=")[2].strip()
    assert token
    while run.poll() is None:
        for arguments in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                seen.add(token.encode() in arguments.read_bytes())
        time.sleep(0.2)
    said = run.stdout.read()
    run.stdout.close()
    assert seen == {False}
    assert token not in said
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path
    assert (tmp_path / "run/log/page.jsonl").stat().st_mode & 0o777 == 0o600
