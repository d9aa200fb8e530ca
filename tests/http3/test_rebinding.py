"""A NAT gives the client another port and address in the middle of an upload."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import anyio
import pytest

import trilane
from tests.http3.uploads import BytesBody, Dialling, make_exchange
from tests.interop.cases import FULL_SIZES, MIB
from tests.peers import servers
from tests.peers.certificates import Certificates
from tests.peers.nat import HOST, OTHER_HOST, Nat, nat
from tests.peers.receipt import Receipt
from tests.peers.receivers import LogFollower, requests_in_gtlsserver_log
from tests.peers.servers import Endpoints
from trilane.transport.connections.exchange import Exchange, Progress, RawResponse

pytestmark = pytest.mark.interop

PATIENCE_S = 100.0
NGTCP2_BYTES = 64 * MIB if FULL_SIZES else 6 * MIB
"""It writes out what it gets, 6 MB a second."""

Start = Callable[[AbstractContextManager[Endpoints]], Endpoints]


async def upload_through(
    gate: Nat, certificates: Certificates, data: bytes
) -> tuple[RawResponse, Exchange]:
    """Upload in one go; the port changes after a third, port and address after two thirds."""
    changes = [(len(data) // 3, HOST), (2 * len(data) // 3, OTHER_HOST)]

    def rebind(progress: Progress) -> None:
        if changes and progress.sent >= changes[0][0]:
            gate.rebind(changes.pop(0)[1])

    url = gate.url()
    with anyio.fail_after(PATIENCE_S):
        async with Dialling(certificates).connection(url) as connection:
            exchange = make_exchange(
                url,
                BytesBody(data),
                headers={"content-type": "application/octet-stream"},
                on_progress=rebind,
            )
            exchange.recorder.use_connection(connection.facts, reused=False)
            response = await connection.exchange(exchange)
    assert len(gate.public_ports) == 2
    return response, exchange


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_upload_to_ngtcp2_goes_on(
    certificates: Certificates, tmp_path: Path, start_server: Start
) -> None:
    data = random.Random(21).randbytes(NGTCP2_BYTES)
    server = start_server(servers.gtlsserver(tmp_path, certificates))
    follower = LogFollower(server.server.log)
    assert server.https_port is not None
    with nat(server.https_port) as gate:
        response, exchange = await upload_through(gate, certificates, data)

    assert response.head.status == 200
    assert exchange.recorder.leg.high_performance
    [request] = requests_in_gtlsserver_log(follower)
    assert hashlib.sha256(request.body).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_an_upload_to_quic_go_goes_on(certificates: Certificates, caddy: Endpoints) -> None:
    # This quic-go sends to where the client was at first, whatever happens.
    data = random.Random(22).randbytes(32 * MIB)
    assert caddy.https_port is not None
    with nat(caddy.https_port, old_answers=True) as gate:
        response, exchange = await upload_through(gate, certificates, data)

    receipt = Receipt.from_json(response.body)
    assert exchange.recorder.leg.high_performance
    assert receipt.body_bytes == len(data)
    assert receipt.body_sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_where_the_server_does_not_follow_the_upload_is_sent_again(
    certificates: Certificates, caddy: Endpoints
) -> None:
    data = random.Random(23).randbytes(16 * MIB)
    assert caddy.https_port is not None
    with nat(caddy.https_port) as gate:

        def rebind(progress: trilane.Progress) -> None:
            if not gate.public_ports and progress.sent >= len(data) // 2:
                gate.rebind()

        # Whatever is lost for so long is taken to be lost for good.
        quic = trilane.QuicOptions(idle_timeout_s=1.0)
        async with trilane.AsyncClient(verify=str(certificates.ca), quic=quic) as client:
            response = await client.request(
                "POST", gate.url(), content=data, protocol="h3", on_progress=rebind
            )

    receipt = Receipt.from_json(response.content)
    assert receipt.body_sha256 == hashlib.sha256(data).hexdigest()
    assert response.profile is not None
    first, second = response.profile.legs
    assert "nothing was heard" in str(first.error)
    assert second.error is None
