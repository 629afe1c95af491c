"""TLS for a link whose ends are known by their node keys.

The listener's certificate is made at its start and says nothing: the handshake
signs its hash, and that is what makes it trusted. No authority is asked.
"""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ALPN = "shoal/1"

#: Nobody looks at a certificate's dates here, so they need no clock; the last is how X.509 writes "never".
_NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def fingerprint(certificate_der: bytes) -> bytes:
    """The SHA-256 of a certificate: what both ends of a handshake sign."""
    return hashlib.sha256(certificate_der).digest()


def listener_tls() -> tuple[ssl.SSLContext, bytes]:
    """A context with a new self-signed certificate, and the certificate's fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shoal")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    # Each link is made once and kept: tickets for resuming it would be sent and never used.
    context.num_tickets = 0
    # OpenSSL takes keys from files only; this one lives in a private folder for a moment.
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        path = Path(folder, "certificate.pem")
        path.write_bytes(pem)
        context.load_cert_chain(path)
    return context, fingerprint(certificate.public_bytes(serialization.Encoding.DER))


def dialler_tls() -> ssl.SSLContext:
    """A context that takes any certificate: who it belongs to is for the handshake to prove."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    return context
