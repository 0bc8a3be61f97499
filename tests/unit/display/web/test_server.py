import resource
import socket
import threading
import urllib.request

import pytest

from camlink.display.live import Live
from camlink.display.web.server import PageServer
from camlink.errors import AddressInUse, InputError, StorageError
from camlink.runtime.status import RunStatus


def test_it_serves_on_a_free_port_and_closes():
    live = Live()
    live.put_status(RunStatus(version=3, workflow="w"))
    with PageServer(live) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/"
        with urllib.request.urlopen(f"{server.url}api/status", timeout=5) as answer:
            assert b'"workflow":"w"' in answer.read()
    assert not any(thread.name == "camlink-page" for thread in threading.enumerate())
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
        pass


def test_a_port_that_is_taken_is_said_so():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressInUse, match=str(port)):
            PageServer(Live(), port=port)


@pytest.mark.parametrize(("host", "port"), [("203.0.113.7", 0), ("no such host.invalid", 0), ("127.0.0.1", 70_000)])
def test_an_address_that_cannot_be_is_an_input_error(host, port):
    with pytest.raises(InputError):
        PageServer(Live(), host=host, port=port)


def test_the_address_for_other_programs_is_there_whole_or_not_at_all(tmp_path):
    """Who finds half of it takes the page for gone; a full disk would leave that half."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with PageServer(Live()) as page:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            with pytest.raises(StorageError):
                page.leave_letter(tmp_path / "page.json")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not (tmp_path / "page.json").exists()
        page.leave_letter(tmp_path / "page.json")
        assert (tmp_path / "page.json").stat().st_mode & 0o777 == 0o600


def test_nonsense_at_the_port_is_refused_and_says_nothing_on_the_terminal(caplog):
    with PageServer(Live()) as server, socket.create_connection(("127.0.0.1", server.port), timeout=5) as line:
        line.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 400")
    assert caplog.records == []
