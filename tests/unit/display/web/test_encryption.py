"""A page beyond loopback speaks TLS, by a certificate that a client can pin, and goes on when somebody does not."""

import hashlib
import http.client
import socket
import ssl
import stat

import pytest

from camlink.display.live import Live
from camlink.display.web.encryption import encryption_for
from camlink.display.web.self_signed import make_certificate
from camlink.display.web.server import PageServer
from camlink.errors import InputError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    for name, text in zip(("c.pem", "k.pem"), make_certificate("127.0.0.1"), strict=True):
        (folder / name).write_text(text)
    return folder


def pinned(page, path, headers=None, fingerprint=None):
    """Ask as a client that knows nothing but the fingerprint that was printed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", page.port, timeout=5, context=context)
    try:
        connection.connect()
        found = hashlib.sha256(connection.sock.getpeercert(binary_form=True)).digest().hex(":").upper()
        if found != (fingerprint or page.encryption.fingerprint):
            raise ConnectionRefusedError(f"the certificate is {found}")
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_loopback_is_plain_and_the_rest_is_not_unless_asked():
    assert encryption_for("127.0.0.1") is encryption_for("::1") is encryption_for("0.0.0.0", "off") is None
    one, other = encryption_for("0.0.0.0"), encryption_for("0.0.0.0")
    assert one.fingerprint != other.fingerprint  # a key of this run alone
    assert len(one.fingerprint.split(":")) == 32


def test_a_client_that_pins_the_fingerprint_comes_in_and_a_plain_one_does_not():
    with PageServer(Live(), host="0.0.0.0", encryption=encryption_for("0.0.0.0")) as page:
        assert page.url == f"https://127.0.0.1:{page.port}/"
        with socket.create_connection(("127.0.0.1", page.port), timeout=5) as plain:
            plain.sendall(b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP/")
        with pytest.raises(ConnectionRefusedError):
            pinned(page, "/api/status", fingerprint="00")
        assert pinned(page, "/api/status")[0] == 401
        token = page.invitation.partition("token=")[2]
        assert pinned(page, "/api/status", {"Authorization": f"Bearer {token}"})[::2] == (200, b"null")
        status, headers, _ = pinned(page, f"/login?token={token}")
        assert status == 303
        assert "Secure" in headers["set-cookie"]


def test_files_of_ones_own_are_taken_and_hold_for_the_address(files):
    with PageServer(Live(), encryption=encryption_for("127.0.0.1", f"{files / 'c.pem'},{files / 'k.pem'}")) as page:
        trusting = ssl.create_default_context(cafile=files / "c.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", page.port, timeout=5, context=trusting)
        connection.request("GET", "/api/status")
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize("wish", ["on", "{0}/c.pem", "{0}/c.pem,{0}/none.pem", "{0}/k.pem,{0}/c.pem",
                                  "{0}/c.pem,{0}/locked.pem"])
def test_what_is_no_certificate_is_told(wish, files):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((files / "k.pem").read_bytes(), None)
    (files / "locked.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")))
    with pytest.raises(InputError, match="--tls"):
        encryption_for("0.0.0.0", wish.format(files))


def test_the_key_lies_on_no_disk(monkeypatch):
    import camlink.display.web.encryption as module

    seen = []
    made = module.tempfile.TemporaryDirectory

    class Watched(made):
        def __exit__(self, *error):
            seen.append((self.name, stat.S_IMODE(module.Path(self.name).stat().st_mode)))
            super().__exit__(*error)

    monkeypatch.setattr(module.tempfile, "TemporaryDirectory", Watched)
    encryption_for("0.0.0.0")
    [(folder, mode)] = seen
    assert mode == 0o700
    assert not module.Path(folder).exists()
