"""A server whose key is not the pinned one gets no byte of a request, over TCP and QUIC."""

from __future__ import annotations

import ssl

import anyio
import pytest

from tests.http3.udp_server import serving
from tests.http3.uploads import PATIENCE_S, Dialling, answers, serve_with
from tests.net.support import ServerSide
from tests.peers.certificates import Certificates, Identity
from trilane.transport.config import TlsOptions
from trilane.transport.errors import CertificateError, TransportError
from trilane.transport.facts import TlsFacts
from trilane.transport.net.memory import memory_pair
from trilane.transport.net.tls import TlsStream
from trilane.transport.net.tls_context import tls_setup
from trilane.transport.pins import pin_of, pin_problem, pins_of, read_pins

OTHER = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.fixture(scope="module")
def pin(certificates: Certificates) -> str:
    first = certificates.server.cert.read_text().partition("-----END CERTIFICATE-----")
    return pin_of(ssl.PEM_cert_to_DER_cert("".join(first[:2])))


def options(certificates: Certificates, *pins: str, verify: bool = True) -> TlsOptions:
    trusted = str(certificates.ca) if verify else False
    return TlsOptions(verify=trusted, pins=read_pins({"localhost": pins} if pins else {}))


async def over_tcp(tls: TlsOptions, identity: Identity) -> bytes:
    """Shake hands in memory and send; what the server got of it."""
    client_end, server_end = memory_pair()
    client = TlsStream(client_end, await tls_setup(tls, ()), "localhost")
    server = TlsStream(server_end, ServerSide(identity.server_context(), ()), "")
    received = b""

    async def serve() -> None:
        nonlocal received
        try:
            await server.handshake()
            received = await server.receive()
        except TransportError:
            server_end.close()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                await client.handshake()
                await client.send(b"request")
            except CertificateError as error:
                refused: CertificateError | None = error
                client.close()
            else:
                refused = None
        if refused is not None:
            assert received == b""
            raise refused
    finally:
        client.close()
        server.close()
    return received


async def over_quic(tls: TlsOptions, certificates: Certificates) -> bytes:
    """Upload over QUIC; what the server got of it."""
    dialling = Dialling(certificates, tls=tls)
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server)) as server:
            url = server.url(host="localhost")
            try:
                async with dialling.connection(url) as connection:
                    assert await answers(connection, url)
            except CertificateError:
                assert not any(side.requests for side in server.sides)
                raise
            requests = [each for side in server.sides for each in side.requests.values()]
    return b"".join(bytes(request.body) for request in requests)


def test_a_certificate_that_cannot_be_read_fits_no_pin() -> None:
    problem = pin_problem(read_pins({"localhost": [OTHER]}), "localhost", b"\x30\x00")
    assert problem is not None
    assert "cannot be read" in problem
    facts = TlsFacts(
        version="TLSv1.3",
        cipher="",
        alpn=None,
        session_resumed=False,
        peer_certificate_der=b"\x30\x00",
    )
    assert facts.pin is None


@pytest.mark.parametrize("verify", [True, False])
async def test_the_pinned_key(certificates: Certificates, pin: str, verify: bool) -> None:
    tls = options(certificates, OTHER, pin, verify=verify)
    assert await over_tcp(tls, certificates.server) == b"request"
    assert await over_quic(tls, certificates) == b"body"


@pytest.mark.parametrize("verify", [True, False])
async def test_another_key(certificates: Certificates, pin: str, verify: bool) -> None:
    tls = options(certificates, OTHER, verify=verify)
    with pytest.raises(CertificateError, match=pin.replace("+", r"\+")):
        await over_tcp(tls, certificates.server)
    with pytest.raises(CertificateError, match=pin.replace("+", r"\+")):
        await over_quic(tls, certificates)


async def test_a_pin_does_not_replace_verification(certificates: Certificates, pin: str) -> None:
    tls = TlsOptions(pins=read_pins({"localhost": [pin]}))
    with pytest.raises(CertificateError, match="certificate authority"):
        await over_tcp(tls, certificates.server)
    with pytest.raises(CertificateError, match="certificate authority"):
        await over_quic(tls, certificates)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", {"exact"}),
        ("EXAMPLE.com.", {"exact"}),
        ("www.example.com", {"wild", "both"}),
        ("a.www.example.com", set()),
        ("example.org", set()),
    ],
)
def test_whom_a_pin_is_for(host: str, expected: set[str]) -> None:
    pins = frozenset(
        {
            ("example.com", "exact"),
            ("*.example.com", "wild"),
            ("www.example.com", "both"),
        }
    )
    assert pins_of(pins, host) == expected
