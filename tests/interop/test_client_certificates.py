"""Servers that demand a client certificate: with it, without it, and with one they do not trust."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import trilane
from tests.peers import servers
from tests.peers.certificates import Certificates, Identity
from tests.peers.servers import Endpoints
from tests.peers.started import started
from trilane.api.client_options import ProtocolInput

pytestmark = pytest.mark.interop

CASES: tuple[tuple[str, ProtocolInput], ...] = (
    ("nginx", "http/1.1"),
    ("nginx", "h2"),
    ("caddy", "http/1.1"),
    ("caddy", "h2"),
    ("caddy", "h3"),
)


@pytest.fixture(scope="module")
def demanding_nginx(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, upstream: Endpoints
) -> Iterator[Endpoints]:
    folder = tmp_path_factory.mktemp("nginx")
    assert upstream.http_port
    yield from started(
        servers.nginx(folder, certificates, upstream.http_port, client_ca=certificates.ca)
    )


@pytest.fixture(scope="module")
def demanding_caddy(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, upstream: Endpoints
) -> Iterator[Endpoints]:
    folder = tmp_path_factory.mktemp("caddy")
    assert upstream.http_port
    yield from started(
        servers.caddy(folder, certificates, upstream.http_port, client_ca=certificates.ca)
    )


@pytest.fixture
def server(request: pytest.FixtureRequest, name: str) -> Endpoints:
    found: Endpoints = request.getfixturevalue(f"demanding_{name}")
    return found


async def upload(
    server: Endpoints, protocol: ProtocolInput, identity: Identity | None
) -> trilane.Response:
    cert = None if identity is None else (identity.cert, identity.key)
    async with trilane.AsyncClient(verify=str(server.ca), cert=cert) as client:
        return await client.upload(
            server.url("https", host="localhost"), b"body", protocol=protocol
        )


@pytest.mark.parametrize(("name", "protocol"), CASES)
async def test_with_it(
    certificates: Certificates, server: Endpoints, protocol: ProtocolInput
) -> None:
    response = await upload(server, protocol, certificates.client)
    assert response.status_code == 200


@pytest.mark.parametrize(("name", "protocol"), CASES)
@pytest.mark.parametrize("trusted", [None, False])
async def test_without_one_that_the_server_trusts(
    certificates: Certificates, server: Endpoints, protocol: ProtocolInput, trusted: bool | None
) -> None:
    identity = None if trusted is None else certificates.unknown_ca
    if server.name == "nginx":  # it says so in HTTP
        response = await upload(server, protocol, identity)
        assert response.status_code == 400
        assert "SSL certificate" in response.text
        return
    with pytest.raises(trilane.TransportError) as caught:
        await upload(server, protocol, identity)
    assert "certificate" in str(caught.value)
