"""The driver against peers that break off, stall, refuse or talk nonsense."""

from __future__ import annotations

import anyio
import pytest

from tests.http1.support import (
    OK,
    TestBody,
    TestReader,
    body_of,
    connection_over,
    read_head,
    sending,
    virtual_connection,
)
from trilane.transport.config import Limits
from trilane.transport.connections import http1_conversation
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.errors import (
    ConnectionLost,
    Phase,
    RemoteProtocolError,
    ResponseTooLarge,
    TransportError,
)
from trilane.transport.net.memory import Link, MemoryStream, memory_pair

REFUSED = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch"
BIG = 2_000_000
SIZES = pytest.mark.parametrize("size", [0, 100, BIG], ids=["none", "small", "big"])


@SIZES
async def test_a_peer_that_closes_without_a_word(size: int) -> None:
    async def script(server: MemoryStream) -> None:
        await read_head(server)
        server.close()

    async with virtual_connection(script) as (connection, _):
        one = sending(body_of(size), connection=connection)
        with anyio.fail_after(5), pytest.raises(ConnectionLost) as caught:
            await connection.exchange(one.exchange)
        assert caught.value.before_response
        assert not caught.value.retryable
        assert caught.value.phase is (Phase.SEND if size == BIG else Phase.WAIT)
        assert connection.state is ConnectionState.CLOSED
        profile = one.profile()
        assert profile.upload_complete is (size != BIG)
        assert profile.response_start is None
        one.check_order()


@SIZES
async def test_a_connection_that_was_dead_before_the_request(size: int) -> None:
    async with virtual_connection() as (connection, server):
        server.reset()
        one = sending(body_of(size), connection=connection)
        with anyio.fail_after(5), pytest.raises(ConnectionLost) as caught:
            await connection.exchange(one.exchange)
        assert caught.value.before_response
        assert caught.value.retryable, "not a byte of it was written"
        assert one.profile().request_start is None
        assert one.profile().sent_bytes == 0
        assert not connection.is_alive()


async def test_what_a_dead_connection_said_before_is_no_answer() -> None:
    async with virtual_connection() as (connection, server):
        await server.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        server.close()
        with pytest.raises(ConnectionLost) as caught:
            await connection.exchange(sending(connection=connection).exchange)
        assert caught.value.retryable


@pytest.mark.parametrize(
    ("answer", "kind", "phase"),
    [
        (b"HTTP/1.1 200", RemoteProtocolError, Phase.RECEIVE),
        (OK[:-1], RemoteProtocolError, Phase.RECEIVE),
        (OK[:-1].replace(b"200", b"413"), RemoteProtocolError, Phase.RECEIVE),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok",
            RemoteProtocolError,
            None,
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", RemoteProtocolError, Phase.RECEIVE),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", RemoteProtocolError, None),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, ResponseTooLarge, Phase.RECEIVE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", ResponseTooLarge, Phase.RECEIVE),
    ],
)
@pytest.mark.parametrize("size", [0, 100, 60_000])
async def test_answers_that_are_none(
    size: int, answer: bytes, kind: type[TransportError], phase: Phase | None
) -> None:
    async def script(server: MemoryStream) -> None:
        await read_head(server)
        await server.send(answer)
        server.close()

    async with virtual_connection(script, to_client=Link(buffer_bytes=100_000)) as (connection, _):
        one = sending(body_of(size), connection=connection)
        with anyio.fail_after(5), pytest.raises(kind) as caught:
            await connection.exchange(one.exchange)
        assert phase is None or caught.value.phase is phase
        assert not caught.value.retryable
        assert connection.state is ConnectionState.CLOSED
        one.check_order()


async def test_a_reset_in_the_middle_of_a_good_response_is_an_error() -> None:
    async def script(server: MemoryStream) -> None:
        await read_head(server)
        await server.send(OK[:-1])
        server.reset()

    async with virtual_connection(script) as (connection, _):
        with pytest.raises(ConnectionLost) as caught:
            await connection.exchange(sending(connection=connection).exchange)
        assert not caught.value.before_response
        assert caught.value.phase is Phase.RECEIVE


async def test_a_body_beyond_the_limit_is_refused() -> None:
    async def script(server: MemoryStream) -> None:
        await read_head(server)
        await server.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 1001)

    async with virtual_connection(script) as (connection, _):
        one = sending(connection=connection, limits=Limits(response_body_bytes=1000))
        with pytest.raises(ResponseTooLarge):
            await connection.exchange(one.exchange)
        assert connection.state is ConnectionState.CLOSED


class TestEarlyRefusal:
    """A final status of 300 or above while the body is being sent."""

    @pytest.mark.parametrize("status", [b"301", b"401", b"413", b"500"])
    async def test_stops_the_body_and_is_delivered(self, status: bytes) -> None:
        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(REFUSED.replace(b"413", status))

        async with virtual_connection(script) as (connection, _):
            one = sending(body_of(BIG), connection=connection)
            with anyio.fail_after(5):
                response = await connection.exchange(one.exchange)
            assert response.head.status == int(status)
            assert response.body == b"much"
            assert connection.state is ConnectionState.CLOSED
            profile = one.profile()
            assert profile.early_response
            assert not profile.upload_complete
            assert 0 < profile.body_sent_bytes < BIG
            assert profile.sent_bytes > profile.body_sent_bytes
            one.check_order()

    async def test_is_read_to_its_end_before_the_connection_is_closed(self) -> None:
        closed_early = False

        async def script(server: MemoryStream) -> None:
            nonlocal closed_early
            await read_head(server)
            for byte in REFUSED:
                await anyio.sleep(0.001)
                # Looked at before a byte, not after it: after the last one it may close.
                closed_early = closed_early or server._outgoing.unread
                await server.send(bytes((byte,)))

        async with virtual_connection(script) as (connection, _):
            response = await connection.exchange(
                sending(body_of(BIG), connection=connection).exchange
            )
            assert response.body == b"much"
        assert not closed_early

    async def test_is_not_hidden_by_a_reset(self) -> None:
        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(REFUSED)
            server.reset()

        async with virtual_connection(script) as (connection, _):
            one = sending(body_of(BIG), connection=connection)
            response = await connection.exchange(one.exchange)
            assert response.head.status == 413
            assert response.body == b"much"

    @pytest.mark.parametrize("cut", [1, 3])
    async def test_is_delivered_even_when_a_reset_cuts_its_body(self, cut: int) -> None:
        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(REFUSED[:-cut])
            server.reset()

        async with virtual_connection(script) as (connection, _):
            one = sending(body_of(BIG), connection=connection)
            response = await connection.exchange(one.exchange)
            assert response.head.status == 413
            assert response.body == b"much"[:-cut]
            one.check_order()

    async def test_whose_head_is_cut_is_the_failed_write(self) -> None:
        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(b"HTTP/1.1 413 Conte")
            server.reset()

        async with virtual_connection(script) as (connection, _):
            with pytest.raises(ConnectionLost) as caught:
                await connection.exchange(sending(body_of(BIG), connection=connection).exchange)
            assert caught.value.phase is Phase.SEND
            assert not caught.value.before_response

    async def test_that_never_ends_is_taken_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http1_conversation, "REFUSAL_IDLE_S", 0.05)

        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(b"HTTP/1.1 413 No\r\n\r\nsorry")

        async with virtual_connection(script) as (connection, _):
            one = sending(body_of(BIG), connection=connection)
            with anyio.fail_after(5):
                response = await connection.exchange(one.exchange)
            assert response.body == b"sorry"

    async def test_stops_a_source_that_gives_nothing(self) -> None:
        class Stuck(TestBody):
            async def open(self) -> TestReader:
                return StuckReader(self)

        class StuckReader(TestReader):
            async def readinto(self, buffer: memoryview) -> int:
                await anyio.sleep_forever()
                return 0

        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(REFUSED)

        async with virtual_connection(script) as (connection, _):
            one = sending(Stuck(b"x" * BIG), connection=connection)
            with anyio.fail_after(5):
                response = await connection.exchange(one.exchange)
            assert response.head.status == 413
            assert one.profile().body_sent_bytes == 0


class TestEarlySuccess:
    """A complete 2xx while the body is being sent."""

    async def test_does_not_stop_the_body(self) -> None:
        received = 0

        async def script(server: MemoryStream) -> None:
            nonlocal received
            start = await read_head(server)
            await server.send(OK)
            received = len(start.partition(b"\r\n\r\n")[2])
            while received < BIG:
                received += len(await server.receive())

        async with virtual_connection(script) as (connection, _):
            one = sending(body_of(BIG), connection=connection)
            response = await connection.exchange(one.exchange)
            assert response.body == b"ok"
            assert received == BIG
            profile = one.profile()
            assert profile.upload_complete
            assert profile.early_response
            assert connection.state is ConnectionState.OPEN
            one.check_order()

    async def test_ends_the_request_once_the_peer_takes_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http1_conversation, "LINGER_S", 0.05)

        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(OK)

        async with virtual_connection(script) as (connection, _):
            one = sending(body_of(BIG), connection=connection)
            with anyio.fail_after(5):
                response = await connection.exchange(one.exchange)
            assert response.head.status == 200
            assert not one.profile().upload_complete
            assert connection.state is ConnectionState.CLOSED
            one.check_order()

    async def test_survives_a_reset_of_the_rest(self) -> None:
        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(OK)
            server.reset()

        async with virtual_connection(script) as (connection, _):
            one = sending(body_of(BIG), connection=connection)
            response = await connection.exchange(one.exchange)
            assert response.body == b"ok"
            assert not one.profile().upload_complete

    async def test_cut_short_by_a_reset_is_no_success(self) -> None:
        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(OK[:-1])
            server.reset()

        async with virtual_connection(script) as (connection, _):
            with pytest.raises(ConnectionLost):
                await connection.exchange(sending(body_of(BIG), connection=connection).exchange)


async def test_tls_that_ends_without_close_notify_ends_no_body() -> None:
    client, server = memory_pair()
    client.truncated = True
    connection = connection_over(client)
    await server.send(b"HTTP/1.1 200 OK\r\n\r\nhalf a tru")
    server._outgoing.end()
    with pytest.raises(RemoteProtocolError, match="close_notify"):
        await connection.exchange(sending(connection=connection).exchange)
    assert connection.state is ConnectionState.CLOSED


async def test_tls_that_ends_without_close_notify_after_a_counted_body_does_no_harm() -> None:
    client, server = memory_pair()
    client.truncated = True
    connection = connection_over(client)
    await server.send(OK)
    server._outgoing.end()
    response = await connection.exchange(sending(connection=connection).exchange)
    assert response.body == b"ok"
