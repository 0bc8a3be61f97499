import os
import socket
import subprocess
import sys

import pytest

from camlink.display.web.peer import is_loopback, is_same_user

DIAL = """import os, socket, sys
os.setuid(65534)
dialled = socket.socket()
dialled.connect(("127.0.0.1", int(sys.argv[1])))
dialled.recv(1)
"""


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_process_of_ours_is_known(family):
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with (socket.create_server((host, 0), family=family) as server,
          socket.create_connection(server.getsockname()[:2]) as client):
        far, _ = server.accept()
        with far:
            assert is_same_user(far.getpeername()[:2], far.getsockname()[:2])
            assert not is_same_user(far.getsockname()[:2], ("203.0.113.9", 1))
            assert client.fileno() >= 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of somebody else")
def test_a_process_of_somebody_else_is_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        stranger = subprocess.Popen([sys.executable, "-c", DIAL, str(server.getsockname()[1])])
        far, _ = server.accept()
        with far, stranger:
            assert not is_same_user(far.getpeername(), far.getsockname())
            far.close()
            stranger.wait(10)


@pytest.mark.parametrize("client", [None, ("testclient", 1), ("192.0.2.1", 80), ("127.0.0.1", 1)])
def test_what_cannot_be_known_is_nobody(client):
    assert not is_same_user(client, ("127.0.0.1", 2))
    assert not is_same_user(client, None)


def test_loopback_is_what_no_other_machine_reaches():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))
