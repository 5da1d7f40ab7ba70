"""The way to a server that speaks TLS: Debian's, since the embedded one does not."""

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.redis_link import RedisLink

Linked = Callable[..., RedisLink]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1, signed by itself; its key lies beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "redis.crt"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    file.with_suffix(".key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return file


@pytest.fixture
def tls_server(debian_binary: Path, server_with: Callable[..., Any], certificate: Path) -> Any:
    """A server that speaks TLS and nothing else, and asks for a password."""
    cert, key = str(certificate), str(certificate.with_suffix(".key"))
    tls = ("--port", "0", "--tls-port", "{port}", "--tls-cert-file", cert, "--tls-key-file", key)
    more = ("--tls-ca-cert-file", cert, "--tls-auth-clients", "no", "--requirepass", "secret")
    beside = f"rediss://:secret@127.0.0.1:{{port}}?ssl_ca_certs={cert}"
    return server_with(debian_binary, *tls, *more, client=beside)


async def test_a_server_whose_certificate_is_known(tls_server: Any, certificate: Path, linked: Linked) -> None:
    """All that is said goes through TLS, the password first."""
    link = linked(f"rediss://:secret@127.0.0.1:{tls_server.port}/1?ssl_ca_certs={certificate}")
    assert await link.ask(lambda redis: redis.set("k", "v")) == (True, True)
    assert await link.ask(lambda redis: redis.get("k")) == (True, b"v")


@pytest.mark.parametrize(
    ("url", "works"),
    [
        ("rediss://:secret@127.0.0.1:{port}", False),
        ("rediss://:secret@localhost:{port}?ssl_ca_certs={cert}", False),
        ("redis://:secret@127.0.0.1:{port}", False),
        ("rediss://:secret@localhost:{port}?ssl_ca_certs={cert}&ssl_check_hostname=false", True),
        ("rediss://:secret@127.0.0.1:{port}?ssl_cert_reqs=none", True),
    ],
)
async def test_whom_nobody_vouches_for_is_not_trusted(
    tls_server: Any, certificate: Path, linked: Linked, url: str, works: bool
) -> None:
    """Unless the URL says so: else neither a stranger, nor another host's certificate, nor a server without TLS."""
    link = linked(url.format(port=tls_server.port, cert=certificate))
    for _ in range(2):
        answered, _value = await link.ask(lambda redis: redis.get("k"))
        assert answered == works
    assert link.state == ("on" if works else "down")
