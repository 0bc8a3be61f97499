"""Encryption: TLS for a page that other machines reach, with a certificate of its own or one that was given."""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from camlink.display.web.peer import is_loopback
from camlink.display.web.self_signed import make_certificate
from camlink.errors import InputError

AUTO: Final = "auto"
OFF: Final = "off"


@dataclass(frozen=True)
class Encryption:
    """What a server needs to speak TLS, and the fingerprint (SHA-256) by which a person or a client knows it again."""

    context: ssl.SSLContext
    fingerprint: str


def encryption_for(host: str, wish: str = AUTO) -> Encryption | None:
    """How a page at `host` is encrypted; None for plain HTTP.

    `auto` is plain on loopback and else a certificate made for this run; `off` is plain everywhere; CERTIFICATE,KEY
    names two PEM files. Raises InputError for files that cannot be used, and when nothing can make a certificate.
    """
    if wish == OFF or (wish == AUTO and is_loopback(host)):
        return None
    if wish != AUTO:
        certificate, comma, key = wish.partition(",")
        if not comma:
            raise InputError(f"--tls {wish}: expected auto, off, or CERTIFICATE,KEY (two PEM files)")
        return _loaded(Path(certificate), Path(key), wish)
    certificate_pem, key_pem = make_certificate(host)
    with tempfile.TemporaryDirectory(prefix="camlink-") as folder:  # mode 0700; Python's ssl reads files only
        paths = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        for path, text in zip(paths, (certificate_pem, key_pem), strict=True):
            path.write_text(text, encoding="ascii")
        return _loaded(*paths, wish)


def _loaded(certificate: Path, key: Path, wish: str) -> Encryption:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
        text = certificate.read_text(encoding="ascii")
        der = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE"):text.index("-----END CERTIFICATE")]
                                       + "-----END CERTIFICATE-----")
    except (OSError, ValueError) as error:
        raise InputError(f"--tls {wish}: {error}; give a certificate, and its key without a password, both as PEM "
                         "files") from None
    return Encryption(context, hashlib.sha256(der).digest().hex(":").upper())


def _no_password() -> str:
    raise ValueError("the key asks for a password")
