"""The driver over real sockets, with and without TLS, against scripted peers."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.http1.support import OK, Sending, TestBody, connection_over, sending
from tests.peers.certificates import Certificates
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.scripted import Peer, Script, scripted_server
from trilane.transport.body import Body
from trilane.transport.config import Limits, Timeouts, TlsOptions
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.connections.exchange import RawResponse
from trilane.transport.connections.http1 import Http1Connection
from trilane.transport.errors import (
    ConnectionLost,
    RemoteProtocolError,
    ResponseTooLarge,
    SourceSizeChanged,
    TransportError,
)
from trilane.transport.message import parse_url
from trilane.transport.multipart import Part, multipart_body
from trilane.transport.net.tcp import connect_tcp
from trilane.transport.net.tls import start_tls
from trilane.transport.net.tls_context import tls_setup
from trilane.transport.sources import content_body

MIB = 1024 * 1024
REFUSED = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch"
SCHEMES = pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])


@asynccontextmanager
async def connected(
    *scripts: Script, certificates: Certificates | None = None
) -> AsyncIterator[Http1Connection]:
    """A connection to a peer that follows a script; with certificates, over TLS."""
    context = certificates.server.server_context() if certificates else None
    with no_leaked_descriptors(), scripted_server(*scripts, tls=context) as server:
        port = parse_url(server.url()).origin.port
        stream = await connect_tcp("127.0.0.1", port)
        connection = connection_over(
            stream
            if certificates is None
            else await start_tls(
                stream, await tls_setup(TlsOptions(verify=str(certificates.ca)), ()), "localhost"
            )
        )
        try:
            yield connection
        finally:
            await connection.aclose()


async def carry(one: Sending, connection: Http1Connection) -> RawResponse:
    try:
        with anyio.fail_after(30):
            return await connection.exchange(one.exchange)
    finally:
        one.check_order()


def hash_requests(peer: Peer) -> None:
    """Answer each request with the SHA-256 of its body."""
    while True:
        digest = hashlib.sha256(peer.read_request()).hexdigest().encode()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(digest), digest))


class Counted:
    """How much a peer read until the client closed."""

    def __init__(self) -> None:
        self._count = 0
        self._done = threading.Event()

    def drain(self, peer: Peer) -> None:
        self._count = peer.drain()
        self._done.set()

    async def read_bytes(self) -> int:
        assert await anyio.to_thread.run_sync(self._done.wait, 20)
        return self._count


def trusted(certificates: Certificates, *, secure: bool) -> Certificates | None:
    return certificates if secure else None


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(5 * MIB + 321))
    return path


@SCHEMES
async def test_requests_of_all_kinds_on_one_connection(
    certificates: Certificates, big_file: Path, secure: bool
) -> None:
    content = await anyio.Path(big_file).read_bytes()
    bodies: list[tuple[Body, bytes]] = [
        (TestBody(content[:100]), content[:100]),
        (TestBody(content), content),
        (await content_body(big_file), content),
        (TestBody(content[: 64 * 1024]), content[: 64 * 1024]),
    ]
    async with connected(hash_requests, certificates=trusted(certificates, secure=secure)) as on:
        for body, expected in bodies:
            assert on.is_alive()
            one = sending(body, connection=on)
            response = await carry(one, on)
            assert response.body.decode() == hashlib.sha256(expected).hexdigest()
            profile = one.profile()
            assert profile.body_sent_bytes == profile.body_acked_bytes == len(expected)
            assert profile.upload_complete
            assert profile.request_acked is not None
            assert profile.rtt_ms
            assert profile.transport is not None
            assert (profile.transport.wire_sent_bytes or 0) > len(expected)
            assert one.progress[-1].acked is not None
        assert on.state is ConnectionState.OPEN


@SCHEMES
async def test_a_file_takes_the_fast_way_when_allowed(
    certificates: Certificates, big_file: Path, secure: bool
) -> None:
    async with connected(hash_requests, certificates=trusted(certificates, secure=secure)) as on:
        for allowed in (True, False):
            body = await content_body(big_file)
            one = sending(body, connection=on, high_performance=allowed)
            await carry(one, on)
            assert one.profile().high_performance is allowed


async def test_files_in_a_form_arrive_as_they_are(big_file: Path) -> None:
    small = big_file.with_name("small.bin")
    small.write_bytes(b"tiny")
    parts = [
        Part("a", big_file),
        Part("b", small),
        Part("c", b"bytes"),
        Part("d", big_file),
    ]
    form = await multipart_body([("field", "value")], parts)
    expected = bytearray()
    reader = await form.open()
    buffer = memoryview(bytearray(MIB))
    while count := await reader.readinto(buffer):
        expected += buffer[:count]
    await reader.aclose()
    async with connected(hash_requests) as on:
        one = sending(form, connection=on)
        response = await carry(one, on)
        assert response.body.decode() == hashlib.sha256(expected).hexdigest()
        assert one.profile().high_performance


@pytest.mark.parametrize("high_performance", [True, False])
@pytest.mark.parametrize("change", [-1, 1, -4 * MIB, 100])
async def test_a_file_that_changes_its_size_is_never_completed(
    big_file: Path, change: int, high_performance: bool
) -> None:
    size = 5 * MIB + 321
    counted = Counted()

    def script(peer: Peer) -> None:
        peer.read_head()
        os.truncate(big_file, size + change)
        counted.drain(peer)

    async with connected(script) as on:
        body = await content_body(big_file)
        one = sending(body, connection=on, high_performance=high_performance)
        with pytest.raises(SourceSizeChanged):
            await carry(one, on)
        assert on.state is ConnectionState.CLOSED
        read_bytes = await counted.read_bytes()
    assert read_bytes < size
    assert one.profile().body_sent_bytes == read_bytes


async def test_chunks_are_what_an_h11_server_reads() -> None:
    received = b""

    def script(peer: Peer) -> None:
        nonlocal received
        assert b"\r\nTransfer-Encoding: chunked\r\n" in peer.read_head()
        while True:
            size = b""
            while not size.endswith(b"\r\n"):
                size += peer.read_body(1)
            received += peer.read_body(int(size, 16))
            assert peer.read_body(2) == b"\r\n"
            if int(size, 16) == 0:
                break
        peer.send(OK)

    data = os.urandom(700_000)
    async with connected(script) as on:
        one = sending(TestBody(data, announce=False, step=99_999), connection=on)
        await carry(one, on)
        assert on.state is ConnectionState.OPEN
    assert received == data
    assert one.profile().body_acked_bytes == len(data)


class TestEarlyRefusal:
    @SCHEMES
    @pytest.mark.parametrize("ending", ["hold", "close", "reset", "finish", "drain"])
    async def test_is_delivered_whatever_the_peer_does_next(
        self, certificates: Certificates, ending: str, secure: bool
    ) -> None:
        def script(peer: Peer) -> None:
            # Otherwise the answer may wait for the ACK of the session tickets, until it is reset.
            peer._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.read_head()
            peer.send(REFUSED)
            match ending:
                case "hold":
                    peer.drain()
                case "close":  # with bytes unread, so that the kernel resets
                    peer.close()
                case "reset":
                    peer.reset()
                case "finish":
                    peer.finish_sending()
                    peer.drain()
                case "drain":
                    peer.drain()

        async with connected(script, certificates=trusted(certificates, secure=secure)) as on:
            one = sending(TestBody(b"x" * 30 * MIB), connection=on)
            response = await carry(one, on)
            assert response.head.status == 413
            assert response.body == b"much"
            assert on.state is ConnectionState.CLOSED
            profile = one.profile()
            assert not profile.upload_complete
            assert profile.early_response

    @pytest.mark.parametrize("ending", ["close", "reset"])
    async def test_without_a_length_is_delivered_too(self, ending: str) -> None:
        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(b"HTTP/1.1 413 No\r\nConnection: close\r\n\r\nno")
            if ending == "reset":
                peer.reset()

        async with connected(script) as on:
            one = sending(TestBody(b"x" * 30 * MIB), connection=on)
            response = await carry(one, on)
            assert response.head.status == 413
            assert response.body == b"no"

    async def test_of_a_small_body_that_was_not_read(self) -> None:
        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(REFUSED)
            peer.close()

        async with connected(script) as on:
            response = await carry(sending(TestBody(b"x" * 60_000), connection=on), on)
            assert response.head.status == 413

    async def test_while_the_system_sends_a_file(self, big_file: Path) -> None:
        os.truncate(big_file, 60 * MIB)

        def script(peer: Peer) -> None:
            peer.read_head()
            peer.read_body(MIB)
            peer.send(REFUSED)
            peer.hold()

        async with connected(script) as on:
            one = sending(await content_body(big_file), connection=on)
            response = await carry(one, on)
            assert response.head.status == 413
            assert MIB <= one.profile().body_sent_bytes < 60 * MIB
            assert one.profile().high_performance


class TestBreaks:
    @SCHEMES
    @pytest.mark.parametrize("size", [0, 1000, 30 * MIB])
    @pytest.mark.parametrize("ending", ["close", "reset"])
    async def test_without_an_answer(
        self, certificates: Certificates, size: int, ending: str, secure: bool
    ) -> None:
        def script(peer: Peer) -> None:
            peer.read_head()
            if ending == "reset":
                peer.reset()

        async with connected(script, certificates=trusted(certificates, secure=secure)) as on:
            one = sending(TestBody(b"x" * size) if size else None, connection=on)
            with pytest.raises(ConnectionLost) as caught:
                await carry(one, on)
            assert caught.value.before_response
            assert not caught.value.retryable
            assert on.state is ConnectionState.CLOSED

    async def test_what_was_sent_is_counted_exactly(self) -> None:
        counted = Counted()
        may_read = threading.Event()

        def script(peer: Peer) -> None:
            may_read.wait(20)
            counted.drain(peer)

        async with connected(script) as on:
            one = sending(TestBody(b"x" * 50 * MIB), connection=on)
            # Long enough for all buffers to be full, in the middle of a write.
            with anyio.move_on_after(0.2) as scope:
                await on.exchange(one.exchange)
            assert scope.cancelled_caught
            assert on.state is ConnectionState.CLOSED
            may_read.set()
            read_bytes = await counted.read_bytes()
        profile = one.profile()
        assert profile.sent_bytes == read_bytes
        assert 0 < profile.body_sent_bytes < profile.sent_bytes < 50 * MIB
        assert profile.request_end is not None
        one.check_order()

    async def test_a_server_that_closed_while_idle_is_noticed(self) -> None:
        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(OK)
            peer.finish_sending()
            peer.drain()

        async with connected(script) as on:
            await carry(sending(connection=on), on)
            with anyio.fail_after(5):
                while on.is_alive():
                    await anyio.sleep(0.001)
            with pytest.raises(ConnectionLost) as caught:
                await carry(sending(connection=on), on)
            assert caught.value.before_response

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (b"\x15\x03\x01\x00\x02\x02\x16", RemoteProtocolError),
            (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, ResponseTooLarge),
            (OK[:-1], RemoteProtocolError),
        ],
    )
    async def test_answers_that_are_none(self, answer: bytes, kind: type[TransportError]) -> None:
        def script(peer: Peer) -> None:
            peer.read_head()
            peer.send(answer)

        async with connected(script) as on:
            with pytest.raises(kind):
                await carry(sending(connection=on), on)

    async def test_a_slow_drip(self) -> None:
        def script(peer: Peer) -> None:
            peer.read_head()
            peer.drip(OK, 0.002)

        async with connected(script) as on:
            one = sending(connection=on, timeouts=Timeouts(read_idle_s=2))
            assert (await carry(one, on)).body == b"ok"
            profile = one.profile()
            assert profile.response_start is not None
            assert profile.response_head_end is not None
            assert profile.response_end is not None
            assert profile.response_start < profile.response_head_end < profile.response_end


@pytest.mark.parametrize("orderly", [True, False])
async def test_a_tls_body_ends_with_the_connection_only_if_the_peer_says_so(
    certificates: Certificates, orderly: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        if orderly:
            peer._socket.unwrap()  # type: ignore[attr-defined]

    async with connected(script, certificates=certificates) as on:
        one = sending(connection=on, limits=Limits())
        if orderly:
            assert (await carry(one, on)).body == b"all of it"
        else:
            with pytest.raises(RemoteProtocolError, match="close_notify"):
                await carry(one, on)


@SCHEMES
async def test_a_short_body_that_does_not_fit_the_send_buffer_is_counted_once(
    certificates: Certificates, secure: bool
) -> None:
    body = bytes(60_000)
    async with connected(
        hash_requests, certificates=certificates if secure else None
    ) as connection:
        stream = connection._stream
        tcp: Any = getattr(stream, "_inner", stream)
        tcp._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for _ in range(2):
            one = sending(await content_body(body), connection=connection)
            response = await carry(one, connection)
            assert response.body.decode() == hashlib.sha256(body).hexdigest()
            profile = one.profile()
            assert profile.body_sent_bytes == len(body)
            assert len(body) < profile.sent_bytes < len(body) + 200
            assert [p.sent for p in one.progress] == sorted(p.sent for p in one.progress)
            assert one.progress[-1].sent == one.progress[-1].acked == len(body)
