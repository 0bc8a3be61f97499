"""Certificates of one cluster: an authority that lives in memory, and a short-lived certificate a role, for TLS.

A certificate is looked at when a connection is made. So who serves or dials reads its own from a file at each
handshake, and the file is written anew while the run lives.
"""

from __future__ import annotations

import datetime
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from camlink.errors import InputError

ROLES: Final = ("scheduler", "worker", "client")
LIFE: Final = datetime.timedelta(hours=4)
AUTHORITY_LIFE: Final = datetime.timedelta(days=3650)  # it ends with the process that has its key
_NAME: Final = "camlink run"
_AUTHORITY, _OWN = ".authority", ".pem"  # of who asks at a unix socket, beside it


class Pass(msgspec.Struct, frozen=True):
    """What a part of a cluster needs to talk to the others: its authority, and a certificate of a role."""

    role: str
    authority: str
    certificate: str
    key: str

    def __repr__(self) -> str:
        """Without the key: this may stand in a log."""
        return f"Pass(role={self.role!r})"

    @property
    def pem(self) -> bytes:
        """Certificate and key, as a file has them from which a handshake is made."""
        return (self.certificate + self.key).encode()


class Authority:
    """Signs the certificates of a cluster; its key is nowhere but here. Raises InputError without cryptography."""

    def __init__(self) -> None:
        self._key = _new_key()
        self.certificate = self._sign(_NAME, self._key, AUTHORITY_LIFE, authority=True)

    def issue(self, life: datetime.timedelta = LIFE) -> dict[str, Pass]:
        """A new key for each role, with a certificate of such a life."""
        keys = {role: _new_key() for role in ROLES}
        return {role: Pass(role, self.certificate, self._sign(role, key, life), _pem_key(key))
                for role, key in keys.items()}

    def _sign(self, name: str, key: Any, life: datetime.timedelta, *, authority: bool = False) -> str:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(_name(_NAME), _name(name), key.public_key(), x509.random_serial_number(),
                                          now - datetime.timedelta(minutes=5), now + life)
        builder = builder.add_extension(x509.BasicConstraints(authority, 0 if authority else None), critical=True)
        return _pem(builder.sign(self._key, hashes.SHA256()))


def beside(socket: Path) -> tuple[Path, Path]:
    """Where the authority, and certificate and key, of who asks at a unix socket are."""
    return socket.with_name(socket.name + _AUTHORITY), socket.with_name(socket.name + _OWN)


class Handshakes(ssl.SSLContext):
    """What one side needs for handshakes with others of its cluster, each with the certificate of `own` as it is then.

    Raises OSError when the file is gone: the run is over.
    """

    own: Path

    @classmethod
    def of(cls, authority: str, own: Path, *, serves: bool) -> Handshakes:
        """Those of the side that serves, or of the one that dials."""
        made = cls(ssl.PROTOCOL_TLS_SERVER if serves else ssl.PROTOCOL_TLS_CLIENT)
        made.own, made.minimum_version = own, ssl.TLSVersion.TLSv1_3
        made.check_hostname, made.verify_mode = False, ssl.CERT_REQUIRED  # the authority is of this cluster alone
        made.load_verify_locations(cadata=authority)
        return made

    @classmethod
    def beside(cls, socket: Path) -> Handshakes | None:
        """Those of who asks at a unix socket, by the files beside it; None where there are none."""
        authority, own = beside(socket)
        with suppress(OSError):
            return cls.of(authority.read_text(), own, serves=False)
        return None

    def wrap_socket(self, *arguments: Any, **more: Any) -> ssl.SSLSocket:
        """A socket whose handshake shows the newest certificate."""
        self.load_cert_chain(self.own)
        return super().wrap_socket(*arguments, **more)

    def wrap_bio(self, *arguments: Any, **more: Any) -> ssl.SSLObject:
        """The same for who moves the bytes himself, as asyncio does."""
        self.load_cert_chain(self.own)
        return super().wrap_bio(*arguments, **more)


def security(distributed: Any, authority: str, own: Path) -> Any:
    """The same for Dask, whose own would read the file once."""

    def connecting(*_: Any) -> dict[str, Any]:
        return {"ssl_context": Handshakes.of(authority, own, serves=False), "require_encryption": True,
                "extra_conn_args": {}}

    def listening(*_: Any) -> dict[str, Any]:
        return {"ssl_context": Handshakes.of(authority, own, serves=True), "require_encryption": True}

    kind = type("Security", (distributed.Security,), {"get_connection_args": connecting, "get_listen_args": listening})
    return kind(require_encryption=True)


def _new_key() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise InputError("certificates need the package cryptography: pip install 'camlink[sites]'") from None
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> Any:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


def _pem(certificate: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return str(certificate.public_bytes(Encoding.PEM).decode())


def _pem_key(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
