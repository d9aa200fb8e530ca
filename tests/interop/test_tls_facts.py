"""What the profile says of TLS, and pins, at foreign servers: the same over TCP and QUIC."""

from __future__ import annotations

import ssl

import pytest

import trilane
from tests.peers.certificates import Certificates
from tests.peers.servers import Endpoints
from trilane.api.client_options import ProtocolInput
from trilane.transport.pins import pin_of

pytestmark = pytest.mark.interop

CASES: tuple[tuple[str, ProtocolInput, str], ...] = (
    ("nginx", "http/1.1", "http/1.1"),
    ("nginx", "h2", "h2"),
    ("caddy", "http/1.1", "http/1.1"),
    ("caddy", "h2", "h2"),
    ("caddy", "h3", "h3"),
    ("gtlsserver", "h3", "h3"),
)
#: TLS 1.3's (RFC 8446 §B.4), as OpenSSL writes them.
CIPHERS = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
OTHER_PIN = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.fixture(scope="module")
def leaf(certificates: Certificates) -> bytes:
    first, end, _ = certificates.server.cert.read_text().partition("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(first + end)


@pytest.fixture
def server(request: pytest.FixtureRequest, name: str) -> Endpoints:
    found: Endpoints = request.getfixturevalue(name)
    return found


async def upload(server: Endpoints, protocol: ProtocolInput, *pins: str) -> trilane.Response:
    async with trilane.AsyncClient(
        verify=str(server.ca), pins={"localhost": set(pins)} if pins else None
    ) as client:
        url = server.url("https", host="localhost")
        return await client.upload(url, b"body", protocol=protocol)


@pytest.mark.parametrize(("name", "protocol", "alpn"), CASES)
async def test_what_was_agreed_on(
    server: Endpoints, protocol: ProtocolInput, alpn: str, leaf: bytes
) -> None:
    response = await upload(server, protocol, OTHER_PIN, pin_of(leaf))
    assert response.profile is not None
    tls = response.profile.tls
    assert tls is not None
    assert tls.alpn == alpn
    if tls.version == "TLSv1.3":
        assert tls.cipher in CIPHERS
    else:  # older nginx stops there
        assert (server.name, tls.version) == ("nginx", "TLSv1.2")
        assert tls.cipher.startswith("ECDHE-")
    assert tls.peer_certificate_der == leaf
    assert tls.pin == pin_of(leaf)
    assert (tls.session_resumed, tls.early_data_accepted) == (False, None)


@pytest.mark.parametrize(("name", "protocol", "alpn"), CASES)
async def test_a_key_that_is_not_pinned(
    server: Endpoints, protocol: ProtocolInput, alpn: str, leaf: bytes
) -> None:
    del alpn
    with pytest.raises(trilane.CertificateError) as caught:
        await upload(server, protocol, OTHER_PIN)
    assert pin_of(leaf) in str(caught.value)
    assert caught.value.profile is not None
    assert caught.value.profile.request_start is None
    assert caught.value.bytes_sent == 0
