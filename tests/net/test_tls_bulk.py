"""Long bodies over TLS: records sealed beside OpenSSL, on real connections."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.net.support import pattern
from tests.net.tls_support import both_ends, connect_tls, over_loopback, trusting
from tests.peers.certificates import Certificates
from tests.peers.scripted import Peer, scripted_server
from trilane.transport.config import TlsOptions
from trilane.transport.errors import ConnectionLost
from trilane.transport.net import tls_secrets
from trilane.transport.net.memory import Link, memory_pair
from trilane.transport.net.tls import TlsStream
from trilane.transport.net.tls_context import tls_setup

pytestmark = pytest.mark.usefixtures("each_sealer")

MIB = 1024 * 1024
CONTENT = pattern(MIB + 12_345)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


async def receive(stream: TlsStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await stream.receive()
    return data


async def exchange(client: TlsStream, server: TlsStream, expected: bytes, fd: int = -1) -> None:
    """Send something, or a file's range of that content, and see it arrive."""
    async with anyio.create_task_group() as tasks:
        if fd < 0:
            tasks.start_soon(client.send, expected)
        else:
            tasks.start_soon(client.send_file, fd, CONTENT.index(expected), len(expected))
        assert await receive(server, len(expected)) == expected


async def test_small_and_long_bodies_take_turns(certificates: Certificates, fd: int) -> None:
    async with over_loopback(certificates) as (client, server):
        await exchange(client, server, b"first")
        assert client.begin_bulk()
        await exchange(client, server, CONTENT, fd)
        assert client.begin_bulk()
        await exchange(client, server, b"between")
        await exchange(server, client, b"answer")
        await exchange(client, server, CONTENT[5 : MIB - 7], fd)
        await exchange(client, server, CONTENT)
        assert client.accepted_bytes == 5 + 7 + 2 * len(CONTENT) + MIB - 12
        assert client.is_idle_and_alive()
        client.close()
        assert await server.receive() == b""
        assert not server.truncated


async def test_a_file_that_ends_early_is_told(certificates: Certificates, fd: int) -> None:
    async with over_loopback(certificates) as (client, server):
        await exchange(client, server, b"first")
        assert client.begin_bulk()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, server, 100)
            assert await client.send_file(fd, len(CONTENT) - 100, 200) == 100


async def test_a_cancelled_file_breaks_the_stream(certificates: Certificates, fd: int) -> None:
    pair = memory_pair(to_server=Link(buffer_bytes=50_000))
    async with both_ends(certificates, *pair) as (client, server):
        await exchange(client, server, b"first")
        assert client.begin_bulk()
        with anyio.move_on_after(0.05) as scope:
            await client.send_file(fd, 0, MIB)
        assert scope.cancelled_caught
        assert client.broken
        for again in (client.send(b"more"), client.send_file(fd, 0, 1)):
            with pytest.raises(ConnectionLost, match="did not complete"):
                await again
        client.close()
        while await server.receive():
            pass
        assert server.truncated


async def test_what_the_network_does_not_take_at_once_leaves_later(
    certificates: Certificates,
) -> None:
    pair = memory_pair(to_server=Link(buffer_bytes=5000))
    async with both_ends(certificates, *pair) as (client, server):
        await exchange(client, server, b"first")
        assert client.begin_bulk()
        for _ in range(3):
            client.send_nowait(CONTENT[:40_000])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, b"last")
            assert await receive(server, 120_004) == CONTENT[:40_000] * 3 + b"last"


async def test_openssl_seals_where_its_numbers_are_not_known(certificates: Certificates) -> None:
    for name, change in (("TLSv1.2", True), ("TLSv1.3", False)):
        server_context = certificates.server.server_context()
        if change:
            server_context.maximum_version = ssl.TLSVersion.TLSv1_2
        user = ssl.create_default_context(cafile=str(certificates.ca))
        options = trusting(certificates) if change else TlsOptions(verify=user)
        with scripted_server(_swallow, tls=server_context) as server:
            stream = await connect_tls(server.port, options)
            assert stream.tls is not None
            assert stream.tls.version == name
            await stream.send(b"data")
            assert not stream.begin_bulk()
            with pytest.raises(RuntimeError, match="begin_bulk"):
                await stream.send_file(0, 0, 1)
            await stream.send(b"data")
            stream.close()


def _swallow(peer: Peer) -> None:
    peer.hold()


async def test_without_proc_the_users_key_log_goes_on(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_secrets, "_DESCRIPTORS", "/nonexistent")
    keys = tmp_path / "keys"
    options = TlsOptions(verify=str(certificates.ca), keylog_path=str(keys))
    with scripted_server(_swallow, tls=certificates.server.server_context()) as server:
        stream = await connect_tls(server.port, options)
        await stream.send(b"data")
        assert not stream.begin_bulk()
        stream.close()
    assert "CLIENT_TRAFFIC_SECRET_0" in keys.read_text()


async def test_contexts_tell_their_secrets_only_during_a_handshake(
    certificates: Certificates, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    for path in (None, str(keys)):
        options = TlsOptions(verify=str(certificates.ca), keylog_path=path)
        context = (await tls_setup(options, ())).context
        with scripted_server(_swallow, tls=certificates.server.server_context()) as server:
            stream = await connect_tls(server.port, options)
            assert context.keylog_filename == path
            await stream.send(b"data")
            assert stream.begin_bulk()
            stream.close()
    labels = [line.split()[0] for line in keys.read_text().splitlines()]
    assert labels.count("CLIENT_TRAFFIC_SECRET_0") == 1
    assert labels.count("EXPORTER_SECRET") == 1
