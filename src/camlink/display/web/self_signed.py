"""Self-signed: the certificate that a page makes for itself, for the names and addresses of this machine."""

from __future__ import annotations

import datetime
import ipaddress
import socket
from typing import Final

import psutil

from camlink.errors import InputError

LIFE: Final = datetime.timedelta(days=7)


def make_certificate(host: str) -> tuple[str, str]:
    """A certificate for a server at `host`, and its key, both PEM; raises InputError without cryptography."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise InputError("a certificate needs the package cryptography: pip install 'camlink[sites]'; or give files "
                         "of your own, or ask for none with --tls off") from None
    names, addresses = _of_this_machine()
    try:
        addresses.add(str(ipaddress.ip_address(host)))
    except ValueError:
        names.add(host)
    key = ec.generate_private_key(ec.SECP256R1())
    page = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "camlink")])
    now = datetime.datetime.now(datetime.UTC)
    holds_for = [*(x509.DNSName(name) for name in sorted(names)),
                 *(x509.IPAddress(ipaddress.ip_address(address)) for address in sorted(addresses))]
    certificate = (x509.CertificateBuilder(page, page, key.public_key(), x509.random_serial_number(),
                                           now - datetime.timedelta(minutes=5), now + LIFE)
                   .add_extension(x509.SubjectAlternativeName(holds_for), critical=False).sign(key, hashes.SHA256()))
    return (certificate.public_bytes(serialization.Encoding.PEM).decode(),
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption()).decode())


def _of_this_machine() -> tuple[set[str], set[str]]:
    """Its names and its addresses."""
    addresses = {found.address.partition("%")[0] for card in psutil.net_if_addrs().values() for found in card
                 if found.family in (socket.AF_INET, socket.AF_INET6)}
    return {"localhost", socket.gethostname()}, addresses
