"""Whole uploads to other people's QUIC: ngtcp2 under stress, and quic-go."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import anyio
import pytest

from tests.http3.uploads import BytesBody, Dialling, make_exchange
from tests.interop.cases import FULL_SIZES, MIB
from tests.peers import servers
from tests.peers.certificates import Certificates
from tests.peers.receipt import Receipt
from tests.peers.receivers import LogFollower, requests_in_gtlsserver_log
from tests.peers.servers import Endpoints
from trilane.transport.connections.exchange import RawResponse
from trilane.transport.protocols import http3
from trilane.transport.protocols.aioquic_private import next_packet_number

pytestmark = pytest.mark.interop

#: ngtcp2's example writes a few MiB a second.
EASY_BYTES = 16 * MIB if FULL_SIZES else 4 * MIB
PATIENCE_S = 60.0
OPEN = {"content-type": "application/octet-stream"}

Start = Callable[[AbstractContextManager[Endpoints]], Endpoints]

SMALL_WINDOWS = (
    "--max-data=40000",
    "--max-stream-data-bidi-remote=20000",
    "--max-window=40000",
    "--max-stream-window=20000",
)


async def upload(dialling: Dialling, url: str, data: bytes) -> RawResponse:
    with anyio.fail_after(PATIENCE_S):
        async with dialling.connection(url) as connection:
            exchange = make_exchange(url, BytesBody(data), headers=OPEN)
            exchange.recorder.use_connection(connection.facts, reused=False)
            return await connection.exchange(exchange)


@pytest.mark.parametrize(
    ("flags", "size", "anyio_backend"),
    [
        (("--tx-loss=0.05", "--rx-loss=0.05"), 16 * MIB, "asyncio"),
        (("--validate-addr",), EASY_BYTES, "trio"),
        (SMALL_WINDOWS, EASY_BYTES, "asyncio"),
        (("--max-udp-payload-size=1200", "--cc=bbr"), EASY_BYTES, "trio"),
    ],
    ids=["loss", "retry", "small-windows", "small-datagrams"],
)
async def test_mebibytes_arrive_at_ngtcp2(
    certificates: Certificates,
    tmp_path: Path,
    start_server: Start,
    flags: tuple[str, ...],
    size: int,
) -> None:
    server = start_server(servers.gtlsserver(tmp_path, certificates, flags))
    follower = LogFollower(server.server.log)
    data = random.Random(16).randbytes(size)
    response = await upload(Dialling(certificates), server.url("https"), data)

    assert response.head.status == 200
    [request] = requests_in_gtlsserver_log(follower)
    assert len(request.body) == len(data)
    assert hashlib.sha256(request.body).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_16_mib_arrive_at_ngtcp2_with_key_updates(
    certificates: Certificates,
    tmp_path: Path,
    start_server: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http3, "KEY_UPDATE_PACKETS", 1000)
    server = start_server(servers.gtlsserver(tmp_path, certificates))
    follower = LogFollower(server.server.log)
    data = random.Random(17).randbytes(16 * MIB)
    url = server.url("https")
    with anyio.fail_after(PATIENCE_S):
        async with Dialling(certificates).connection(url) as connection:
            exchange = make_exchange(url, BytesBody(data), headers=OPEN)
            exchange.recorder.use_connection(connection.facts, reused=False)
            assert (await connection.exchange(exchange)).head.status == 200
            packets = next_packet_number(connection.machine.quic)
            assert connection.machine._key_since_packet > packets - 3000 > 5000

    [request] = requests_in_gtlsserver_log(follower)
    assert hashlib.sha256(request.body).digest() == hashlib.sha256(data).digest()


async def test_ngtcp2_answers_early_and_the_upload_stops(
    certificates: Certificates, tmp_path: Path, start_server: Start
) -> None:
    server = start_server(servers.gtlsserver(tmp_path, certificates, ("--early-response",)))
    url = server.url("https")
    with anyio.fail_after(PATIENCE_S):
        async with Dialling(certificates).connection(url) as connection:
            for _ in range(2):
                # The source waits forever: only STOP_SENDING ends the upload.
                body = BytesBody(bytes(64 * MIB), stall_at=MIB)
                exchange = make_exchange(url, body, headers=OPEN)
                exchange.recorder.use_connection(connection.facts, reused=False)
                response = await connection.exchange(exchange)
                assert (response.head.status, response.body) == (200, b"received\n")
                assert not exchange.recorder.leg.upload_complete
            assert connection.is_alive()


async def test_a_session_is_resumed_at_ngtcp2(
    certificates: Certificates, tmp_path: Path, start_server: Start
) -> None:
    server = start_server(servers.gtlsserver(tmp_path, certificates))
    dialling = Dialling(certificates)
    for resumed in (False, True):
        with anyio.fail_after(PATIENCE_S):
            async with dialling.connection(server.url("https")) as connection:
                exchange = make_exchange(server.url("https"), BytesBody(b"x"), headers=OPEN)
                exchange.recorder.use_connection(connection.facts, reused=False)
                await connection.exchange(exchange)
                assert connection.facts.tls is not None
                assert connection.facts.tls.session_resumed is resumed


async def test_uploads_share_a_connection_to_quic_go(
    certificates: Certificates, caddy: Endpoints
) -> None:
    bodies = [random.Random(n).randbytes(MIB // 2 + n) for n in range(6)]
    url = caddy.url("https")
    digests: list[str] = []
    with anyio.fail_after(PATIENCE_S):
        async with Dialling(certificates).connection(url) as connection:

            async def one(data: bytes) -> None:
                exchange = make_exchange(url, BytesBody(data), headers=OPEN)
                exchange.recorder.use_connection(connection.facts, reused=True)
                receipt = Receipt.from_json((await connection.exchange(exchange)).body)
                assert receipt.content_length == len(data)
                digests.append(receipt.body_sha256)

            async with anyio.create_task_group() as tasks:
                for body in bodies:
                    tasks.start_soon(one, body)

    assert sorted(digests) == sorted(hashlib.sha256(body).hexdigest() for body in bodies)
