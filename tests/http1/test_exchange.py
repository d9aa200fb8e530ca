"""The driver over the virtual network: orderly requests, reuse, interim responses, the books."""

from __future__ import annotations

import time
from functools import partial

import anyio
import pytest

from tests.http1.support import (
    OK,
    Seen,
    TestBody,
    TestReader,
    read_head,
    sending,
    serve_h11,
    virtual_connection,
)
from trilane.transport.connections import http1_conversation
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.connections.http1 import WHOLE_BODY_BYTES
from trilane.transport.errors import (
    ClientClosed,
    ConnectionLost,
    InvalidHeader,
    SourceSizeChanged,
    SourceUnavailable,
)
from trilane.transport.net.memory import Link, MemoryStream
from trilane.transport.profile.moments import Moment

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("announce", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [1, 1000, WHOLE_BODY_BYTES, WHOLE_BODY_BYTES + 1, 1_000_000])
@pytest.mark.parametrize("step", [999, 1 << 30])
async def test_bodies_arrive_as_they_are(size: int, announce: bool, step: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    seen: list[Seen] = []
    link = Link(longest_piece_bytes=20_000)
    async with virtual_connection(
        partial(serve_h11, seen=seen), to_server=link, to_client=Link(longest_piece_bytes=7)
    ) as (connection, _):
        body = TestBody(data[:size], announce=announce, step=step)
        one = sending(body, connection=connection)
        with anyio.fail_after(20):
            response = await connection.exchange(one.exchange)
        assert response.body == b"ok"
        assert seen[0].complete
        assert seen[0].body == data[:size]
        assert connection.state is ConnectionState.OPEN
        assert connection.is_alive()
        assert all(reader.closed for reader in body.readers)
        one.check_order()
        profile = one.profile()
        assert profile.upload_complete
        assert not profile.early_response
        assert profile.body_sent_bytes == size
        assert profile.body_acked_bytes == size
        assert profile.request_acked is not None
        assert profile.received_bytes == len(OK)
        assert one.progress[-1].sent == size
        assert [found.status for found in one.heads] == [200]


async def test_a_small_body_leaves_with_the_head_in_one_write() -> None:
    seen: list[Seen] = []
    async with virtual_connection(partial(serve_h11, seen=seen)) as (connection, _):
        stream = connection._stream
        sizes: list[int] = []
        send = stream.send

        async def counted(data: bytes) -> None:
            sizes.append(len(data))
            await send(data)

        stream.send = counted  # type: ignore[method-assign, assignment]
        one = sending(TestBody(b"x" * 5000), connection=connection)
        await connection.exchange(one.exchange)
        assert len(sizes) == 1
        assert one.profile().sent_bytes == sizes[0]


async def test_many_requests_on_one_connection() -> None:
    seen: list[Seen] = []
    async with virtual_connection(partial(serve_h11, seen=seen)) as (connection, _):
        for number in range(12):
            body = TestBody(b"b" * number * 20_000, announce=number % 3 != 0) if number else None
            one = sending(body, connection=connection, method="POST" if number else "GET")
            response = await connection.exchange(one.exchange)
            assert response.head.status == 200
            assert connection.available_requests == 1
            assert one.profile().received_bytes == len(OK)
            one.check_order()
        assert [len(found.body) for found in seen] == [number * 20_000 for number in range(12)]


async def test_a_busy_connection_takes_no_second_request() -> None:
    async with virtual_connection() as (connection, server):
        async with anyio.create_task_group() as tasks:
            first = sending(connection=connection)
            tasks.start_soon(connection.exchange, first.exchange)
            await read_head(server)
            assert connection.active_requests == 1
            assert connection.available_requests == 0
            assert not connection.is_alive()
            with pytest.raises(ConnectionLost) as caught:
                await connection.exchange(sending(connection=connection).exchange)
            assert caught.value.retryable
            await server.send(OK)
        assert connection.available_requests == 1


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_responses_without_a_body(method: str) -> None:
    answer = b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"
    if method == "HEAD":
        answer = answer.replace(b"204 No Content", b"200 OK")

    async def script(server: MemoryStream) -> None:
        await read_head(server)
        await server.send(answer)

    async with virtual_connection(script) as (connection, _):
        one = sending(connection=connection, method=method)
        response = await connection.exchange(one.exchange)
        assert response.body == b""
        assert connection.state is ConnectionState.OPEN
        profile = one.profile()
        assert profile.response_end is not None
        assert profile.response_start == profile.response_head_end == profile.response_end


async def test_a_body_that_ends_with_the_connection() -> None:
    async def script(server: MemoryStream) -> None:
        await read_head(server)
        await server.send(b"HTTP/1.1 200 OK\r\n\r\nuntil ")
        await server.send(b"the end")
        server.close()

    async with virtual_connection(script) as (connection, _):
        response = await connection.exchange(sending(connection=connection).exchange)
        assert response.body == b"until the end"
        assert connection.state is ConnectionState.CLOSED


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"surplus",
        OK.replace(b"Content", b"Connection: close\r\nContent"),
        OK.replace(b"1.1", b"1.0"),
    ],
    ids=["surplus", "close", "http/1.0"],
)
async def test_a_good_response_may_be_the_last(answer: bytes) -> None:
    async def script(server: MemoryStream) -> None:
        await read_head(server)
        await server.send(answer)

    async with virtual_connection(script) as (connection, _):
        response = await connection.exchange(sending(connection=connection).exchange)
        assert response.body == b"ok"
        assert connection.state is ConnectionState.CLOSED
        assert connection.available_requests == 0
        assert not connection.is_alive()


async def test_interim_and_final_heads_have_their_own_moments() -> None:
    marks: list[int] = []

    async def script(server: MemoryStream) -> None:
        await read_head(server)
        # The final head begins in the read that ends the interim one, and ends in a third.
        for piece in (b"HTTP/1.1 103 Early", b" Hints\r\n\r\nHTTP/1.1 2", OK[len(b"HTTP/1.1 2") :]):
            await anyio.sleep(0.01)
            marks.append(time.monotonic_ns())
            await server.send(piece)

    async with virtual_connection(script) as (connection, _):
        one = sending(connection=connection)
        await connection.exchange(one.exchange)
        times = one.recorder.leg.times
        interim, start = times[Moment.INTERIM_START], times[Moment.RESPONSE_START]
        end = times[Moment.RESPONSE_HEAD_END]
        assert interim is not None
        assert start is not None
        assert end is not None
        assert marks[0] <= interim <= marks[1] <= start <= marks[2] <= end
        one.check_order()


async def test_trailers_are_delivered() -> None:
    async def script(server: MemoryStream) -> None:
        await read_head(server)
        await server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await server.send(b"2\r\nok\r\n0\r\nDigest: 42\r\n\r\n")

    async with virtual_connection(script) as (connection, _):
        response = await connection.exchange(sending(connection=connection).exchange)
        assert response.trailers["digest"] == "42"
        assert connection.state is ConnectionState.OPEN


class TestExpectContinue:
    async def test_the_body_waits_for_100(self) -> None:
        seen: list[Seen] = []
        async with virtual_connection(partial(serve_h11, seen=seen)) as (connection, _):
            body = TestBody(b"x" * 100)
            one = sending(body, connection=connection, expect_continue=True)
            await connection.exchange(one.exchange)
            assert (b"expect", b"100-continue") in seen[0].headers
            assert seen[0].body == b"x" * 100
            profile = one.profile()
            assert profile.interim_start is not None
            assert connection.state is ConnectionState.OPEN
            one.check_order()

    async def test_another_interim_response_is_not_leave_to_send(self) -> None:
        order: list[str] = []

        async def script(server: MemoryStream) -> None:
            assert (await read_head(server)).endswith(b"\r\n\r\n")
            await server.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            with anyio.move_on_after(0.1):
                await server.receive()
                order.append("body")
            order.append("continue")
            await server.send(CONTINUE)
            assert await server.receive() == b"abc"
            await server.send(OK)

        async with virtual_connection(script) as (connection, _):
            one = sending(TestBody(b"abc"), connection=connection, expect_continue=True)
            await connection.exchange(one.exchange)
        assert order == ["continue"]

    async def test_a_silent_server_gets_the_body_after_a_while(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http1_conversation, "EXPECT_WAIT_S", 0.05)

        async def script(server: MemoryStream) -> None:
            await read_head(server)
            assert await server.receive() == b"abc"
            await server.send(OK)

        async with virtual_connection(script) as (connection, _):
            one = sending(TestBody(b"abc"), connection=connection, expect_continue=True)
            response = await connection.exchange(one.exchange)
        assert response.head.status == 200
        assert one.profile().upload_complete

    async def test_417_is_delivered_without_sending_the_body(self) -> None:
        async def script(server: MemoryStream) -> None:
            await read_head(server)
            await server.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")

        async with virtual_connection(script) as (connection, _):
            one = sending(TestBody(b"abc"), connection=connection, expect_continue=True)
            response = await connection.exchange(one.exchange)
            assert response.head.status == 417
            profile = one.profile()
            assert profile.body_sent_bytes == 0
            assert not profile.upload_complete
            # A body was announced and not sent: what comes next would be taken for it.
            assert connection.state is ConnectionState.CLOSED
            one.check_order()

    async def test_no_body_no_expectation(self) -> None:
        seen: list[Seen] = []
        async with virtual_connection(partial(serve_h11, seen=seen)) as (connection, _):
            await connection.exchange(sending(connection=connection, expect_continue=True).exchange)
            assert b"expect" not in dict(seen[0].headers)


class TestSources:
    @pytest.mark.parametrize("size", [100, 500_000])
    async def test_a_body_that_ends_early_is_never_completed(self, size: int) -> None:
        seen: list[Seen] = []
        async with virtual_connection(partial(serve_h11, seen=seen)) as (connection, _):
            body = TestBody(b"x" * size, missing=1)
            one = sending(body, connection=connection)
            with pytest.raises(SourceSizeChanged) as caught:
                await connection.exchange(one.exchange)
            assert caught.value.declared_bytes == size + 1
            assert caught.value.actual_bytes == size
            # A small one was noticed before anything was sent.
            small = size == 100
            assert connection.state is (ConnectionState.OPEN if small else ConnectionState.CLOSED)
            assert body.readers[0].closed
            one.check_order()
        assert not any(found.complete for found in seen)

    async def test_whatever_a_callers_body_raises_comes_out_as_it_is(self) -> None:
        class Broken(TestBody):
            async def open(self) -> TestReader:
                return BrokenReader(self)

        class BrokenReader(TestReader):
            async def readinto(self, buffer: memoryview) -> int:
                await anyio.lowlevel.checkpoint()
                raise ZeroDivisionError("the caller's own")

        async with virtual_connection() as (connection, _):
            one = sending(Broken(b"x" * 500_000), connection=connection)
            with pytest.raises(ZeroDivisionError):
                await connection.exchange(one.exchange)
            assert connection.state is ConnectionState.CLOSED

    async def test_a_body_that_cannot_be_opened_costs_no_connection(self) -> None:
        class Missing(TestBody):
            async def open(self) -> TestReader:
                raise SourceUnavailable("gone")

        async with virtual_connection() as (connection, _):
            one = sending(Missing(b"x"), connection=connection)
            with pytest.raises(SourceUnavailable):
                await connection.exchange(one.exchange)
            assert connection.available_requests == 1

    async def test_a_head_that_cannot_be_sent_costs_no_connection(self) -> None:
        seen: list[Seen] = []
        async with virtual_connection(partial(serve_h11, seen=seen)) as (connection, _):
            one = sending(connection=connection, headers={"Upgrade": "h2c"})
            with pytest.raises(InvalidHeader):
                await connection.exchange(one.exchange)
            await connection.exchange(sending(connection=connection).exchange)
            assert len(seen) == 1


class TestClosing:
    async def test_retire_waits_for_the_running_request(self) -> None:
        async with virtual_connection() as (connection, server), anyio.create_task_group() as tasks:
            one = sending(connection=connection)
            tasks.start_soon(connection.exchange, one.exchange)
            await read_head(server)
            connection.retire()
            connection.retire()
            states = [connection.state]
            await server.send(OK)
            assert await server.receive() == b""
            states.append(connection.state)
            assert states == [ConnectionState.DRAINING, ConnectionState.CLOSED]
            assert one.recorder.leg.status == 200

    async def test_retire_closes_an_idle_connection(self) -> None:
        async with virtual_connection() as (connection, server):
            connection.retire()
            assert connection.state is ConnectionState.CLOSED
            assert await server.receive() == b""

    @pytest.mark.parametrize("size", [0, 100, 500_000])
    async def test_aclose_fails_the_pending_request(self, size: int) -> None:
        async with virtual_connection() as (connection, server), anyio.create_task_group() as tasks:
            await server.send(b"HTTP/1.1 100 Continue\r\n")
            body = TestBody(b"x" * size) if size else None
            one = sending(body, connection=connection)

            async def expect_closed() -> None:
                with pytest.raises(ClientClosed):
                    await connection.exchange(one.exchange)

            tasks.start_soon(expect_closed)
            await read_head(server)
            await connection.aclose()
            await connection.aclose()
            assert connection.state is ConnectionState.CLOSED

    async def test_run_has_nothing_to_do(self) -> None:
        async with virtual_connection() as (connection, _):
            with anyio.fail_after(5):
                await connection.run()
