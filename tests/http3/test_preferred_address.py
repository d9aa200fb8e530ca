"""A server that would rather be spoken to at another address (RFC 9000 §9.6)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import anyio
import pytest

from tests.http3.uploads import BytesBody, Dialling, make_exchange
from tests.peers import servers
from tests.peers.certificates import Certificates
from tests.peers.nat import HOST, OTHER_HOST
from tests.peers.process import free_port
from tests.peers.receivers import LogFollower, requests_in_gtlsserver_log
from tests.peers.servers import Endpoints
from trilane.transport.config import AddressRule, QuicOptions
from trilane.transport.errors import UsageError

pytestmark = pytest.mark.interop

PATIENCE_S = 30.0
DATA = random.Random(9).randbytes(2 << 20)

Start = Callable[[AbstractContextManager[Endpoints]], Endpoints]


def only_the_first(address: IPv4Address | IPv6Address) -> bool:
    return str(address) == HOST


@pytest.mark.parametrize(
    ("options", "follows", "anyio_backend"),
    [
        ((QuicOptions(), None), True, "asyncio"),
        ((QuicOptions(preferred_address="ignore"), None), False, "trio"),
        ((QuicOptions(), only_the_first), False, "trio"),
    ],
    ids=["follow", "ignore", "refused by allow_address"],
)
async def test_a_preferred_address(
    certificates: Certificates,
    tmp_path: Path,
    start_server: Start,
    options: tuple[QuicOptions, AddressRule | None],
    follows: bool,
) -> None:
    preferred = (OTHER_HOST, free_port())
    flag = f"--preferred-ipv4-addr={preferred[0]}:{preferred[1]}"
    server = start_server(servers.gtlsserver(tmp_path, certificates, (flag,)))
    follower = LogFollower(server.server.log)
    url = server.url("https")
    quic, allow = options
    dialling = Dialling(certificates, quic=quic, allow=allow)
    with anyio.fail_after(PATIENCE_S):
        async with dialling.connection(url) as connection:
            first = connection.facts.peer
            exchange = make_exchange(
                url, BytesBody(DATA), headers={"content-type": "application/octet-stream"}
            )
            exchange.recorder.use_connection(connection.facts, reused=False)
            assert (await connection.exchange(exchange)).head.status == 200
            last = connection.facts.peer

    assert first == (HOST, server.https_port)
    assert last == (preferred if follows else first)
    facts = exchange.recorder.leg.connection
    assert facts is not None
    assert facts.peer == last
    assert exchange.recorder.leg.high_performance
    [request] = requests_in_gtlsserver_log(follower)
    assert hashlib.sha256(request.body).digest() == hashlib.sha256(DATA).digest()


async def test_a_rule_that_fails_is_the_callers_error(
    certificates: Certificates, tmp_path: Path, start_server: Start
) -> None:
    def fails_on_others(address: IPv4Address | IPv6Address) -> bool:
        if str(address) != HOST:
            raise RuntimeError("a bug")
        return True

    flag = f"--preferred-ipv4-addr={OTHER_HOST}:{free_port()}"
    server = start_server(servers.gtlsserver(tmp_path, certificates, (flag,)))
    dialling = Dialling(certificates, allow=fails_on_others)
    with anyio.fail_after(PATIENCE_S), pytest.raises(UsageError, match="a bug"):
        async with dialling.connection(server.url("https")):
            pass
