"""A long file in trains, whole and once, to other people's QUIC; to one over a bad network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import anyio
import pytest

from tests.http3.uploads import Dialling, make_exchange
from tests.interop.cases import FULL_SIZES, HUGE_TIMEOUT_S, MIB, HugeFile, make_huge_file
from tests.peers import servers
from tests.peers.certificates import Certificates
from tests.peers.receipt import Receipt
from tests.peers.receivers import LogFollower, requests_in_gtlsserver_log
from tests.peers.servers import Endpoints
from trilane.transport.connections.exchange import RawResponse
from trilane.transport.sources.joined import content_body

pytestmark = [pytest.mark.interop, pytest.mark.huge, pytest.mark.timeout(HUGE_TIMEOUT_S)]

LOSS = ("--tx-loss=0.02", "--rx-loss=0.02")
#: Both take a few MiB a second.
SLOW_BYTES = 256 * MIB if FULL_SIZES else 8 * MIB

Start = Callable[[AbstractContextManager[Endpoints]], Endpoints]


async def upload(certificates: Certificates, url: str, file: HugeFile) -> RawResponse:
    with anyio.fail_after(HUGE_TIMEOUT_S - 20.0):
        async with Dialling(certificates).connection(url) as connection:
            body = await content_body(file.path)
            exchange = make_exchange(
                url, body, headers={"content-type": "application/octet-stream"}
            )
            exchange.recorder.use_connection(connection.facts, reused=False)
            response = await connection.exchange(exchange)
    assert exchange.recorder.leg.high_performance
    return response


def check(receipt: Receipt, file: HugeFile) -> None:
    assert receipt.content_length == receipt.body_bytes == file.size
    assert receipt.body_sha256 == file.sha256


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_quic_go(certificates: Certificates, caddy: Endpoints, tmp_path: Path) -> None:
    file = make_huge_file(tmp_path, 256 * MIB)
    response = await upload(certificates, caddy.url("https"), file)

    check(Receipt.from_json(response.body), file)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_ngtcp2_behind_losses(
    certificates: Certificates, tmp_path: Path, start_server: Start
) -> None:
    file = make_huge_file(tmp_path, SLOW_BYTES)
    server = start_server(servers.gtlsserver(tmp_path, certificates, LOSS))
    follower = LogFollower(server.server.log)
    await upload(certificates, server.url("https"), file)

    [request] = requests_in_gtlsserver_log(follower)
    check(request.receipt(), file)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_hypercorn(certificates: Certificates, hypercorn: Endpoints, tmp_path: Path) -> None:
    file = make_huge_file(tmp_path, SLOW_BYTES)
    response = await upload(certificates, hypercorn.url("https"), file)

    check(Receipt.from_json(response.body), file)
