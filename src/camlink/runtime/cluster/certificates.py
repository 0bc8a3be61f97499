"""Certificates of one run: an authority that lives in memory, and a short-lived certificate a role, for TLS."""

from __future__ import annotations

import datetime
from typing import Any, Final

import msgspec

from camlink.errors import InputError

LIFE: Final = datetime.timedelta(hours=24)


class Pass(msgspec.Struct, frozen=True):
    """What a part of a cluster needs to talk to the others: the authority of the run, and a certificate of its role."""

    role: str
    authority: str
    certificate: str
    key: str

    def __repr__(self) -> str:
        """Without the key: this may stand in a log."""
        return f"Pass(role={self.role!r})"

    def security(self, distributed: Any) -> Any:
        """The same for Dask."""
        return distributed.Security(require_encryption=True, tls_ca_file=self.authority, **{
            f"tls_{self.role}_cert": self.certificate, f"tls_{self.role}_key": self.key})


def make_certificates(roles: tuple[str, ...], life: datetime.timedelta = LIFE) -> tuple[str, dict[str, Pass]]:
    """The certificate of a new authority (PEM), and one for each role that it has signed; its key is forgotten."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise InputError("certificates need the package cryptography: pip install 'camlink[sites]'") from None

    def sign(name: str, key: Any, issuer: str, issuer_key: Any, authority: bool) -> Any:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            _name(issuer), _name(name), key.public_key(), x509.random_serial_number(),
            now - datetime.timedelta(minutes=5), now + life)
        builder = builder.add_extension(x509.BasicConstraints(authority, 0 if authority else None), critical=True)
        return builder.sign(issuer_key, hashes.SHA256())

    root_key = ec.generate_private_key(ec.SECP256R1())
    root = sign("camlink run", root_key, "camlink run", root_key, True)
    authority = _pem(root)
    made = {}
    for role in roles:
        key = ec.generate_private_key(ec.SECP256R1())
        made[role] = Pass(role, authority, _pem(sign(role, key, "camlink run", root_key, False)), _pem_key(key))
    return authority, made


def _name(text: str) -> Any:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


def _pem(certificate: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return str(certificate.public_bytes(Encoding.PEM).decode())


def _pem_key(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
