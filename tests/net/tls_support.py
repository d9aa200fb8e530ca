"""TLS connections between streams of ours, or to a scripted server."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from tests.net.support import ServerSide, connected
from tests.peers.certificates import Certificates
from trilane.transport.config import TlsOptions
from trilane.transport.net.stream import LayerableStream
from trilane.transport.net.tcp import TcpStream, connect_tcp
from trilane.transport.net.tls import TlsStream, start_tls
from trilane.transport.net.tls_context import tls_setup


async def connect_tls(
    port: int, options: TlsOptions, host: str = "localhost", alpn: tuple[str, ...] = ()
) -> TlsStream:
    return await start_tls(
        await connect_tcp("127.0.0.1", port), await tls_setup(options, alpn), host
    )


def trusting(certificates: Certificates) -> TlsOptions:
    return TlsOptions(verify=str(certificates.ca))


@asynccontextmanager
async def both_ends(
    certificates: Certificates, client_side: LayerableStream, server_side: LayerableStream
) -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    """TLS from one stream to the other, client first."""
    setup = await tls_setup(trusting(certificates), ("h2",))
    client = TlsStream(client_side, setup, "localhost")
    server = TlsStream(
        server_side, ServerSide(certificates.server.server_context("h2"), ()), "localhost"
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.handshake)
        await client.handshake()
    try:
        yield client, server
    finally:
        client.close()
        server.close()


@asynccontextmanager
async def over_loopback(certificates: Certificates) -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    with connected() as (ours, peer):
        peer.setblocking(False)
        theirs = TcpStream(peer, peer.getpeername())
        async with both_ends(certificates, ours, theirs) as ends:
            yield ends


def socket_below(stream: TlsStream) -> socket.socket:
    assert isinstance(stream._inner, TcpStream)
    return stream._inner._sock


async def until_readable(stream: TlsStream) -> None:
    """Wait, boundedly, until the peer's last bytes have crossed the loopback."""
    with anyio.fail_after(5):
        await anyio.wait_readable(socket_below(stream))
