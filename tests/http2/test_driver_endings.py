"""How connections end, and what the requests on them are told."""

from __future__ import annotations

import anyio
import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, RequestReceived

from tests.http2.frame_factory import FrameFactory
from tests.http2.scripted_server import Upload, connected
from trilane.transport.config import Limits
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.connections.http2 import GOODBYE_S
from trilane.transport.errors import (
    ClientClosed,
    ConnectionLost,
    RemoteProtocolError,
    ResponseTooLarge,
    StreamResetError,
)
from trilane.transport.net.memory import Link


async def test_goaway_lets_the_running_finish_and_refuses_new_ones() -> None:
    upload = Upload(500_000)
    async with connected() as (connection, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload.run, connection)
            await server.wait_for(lambda: bool(server.bodies))
            await server.stream.send(FrameFactory().goaway(1))
            while connection.state is ConnectionState.OPEN:
                await anyio.lowlevel.checkpoint()
            assert not connection.is_alive()
            assert connection.available_requests == 0
            with pytest.raises(ConnectionLost) as caught:
                await Upload(1).run(connection)
            assert caught.value.retryable
        assert upload.response is not None
        assert upload.response.body == b"500000"
        # Draining is over: it closes by itself.
        await server.closed.wait()
        assert connection.state is ConnectionState.CLOSED


async def test_goaway_below_a_request_makes_it_retryable() -> None:
    uploads = [Upload(500_000), Upload(500_000)]
    async with connected(window=1000) as (connection, server):
        server.on_event = lambda _event: None
        async with anyio.create_task_group() as tasks:
            for upload in uploads:
                tasks.start_soon(upload.attempt, connection)
            await server.wait_for(lambda: len(server.bodies) == 2)
            await server.stream.send(FrameFactory().goaway(1))
            while uploads[0].error is uploads[1].error is None:
                await anyio.lowlevel.checkpoint()
            server.stream.reset()
    # Which of them came first is the event loop's choice.
    refused = [upload.error for upload in uploads if isinstance(upload.error, StreamResetError)]
    lost = [upload.error for upload in uploads if isinstance(upload.error, ConnectionLost)]
    assert [error.retryable for error in refused] == [True]
    assert [error.retryable for error in lost] == [False]


async def test_goaway_on_an_idle_connection_closes_it() -> None:
    async with connected() as (connection, server):
        await Upload(10).run(connection)
        server.h2.close_connection()
        await server.flush()
        await server.closed.wait()
        assert connection.state is ConnectionState.CLOSED


async def test_a_refused_stream_is_retryable() -> None:
    upload = Upload(500_000)
    async with connected(window=0) as (connection, server):

        def refuse(event: Event) -> None:
            if isinstance(event, RequestReceived):
                server.h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)

        server.on_event = refuse
        with pytest.raises(StreamResetError) as caught:
            await upload.run(connection)
        assert caught.value.retryable
        assert caught.value.error_code == ErrorCodes.REFUSED_STREAM
        assert connection.state is ConnectionState.OPEN


async def test_a_lost_connection_tells_every_request_with_an_exception_of_its_own() -> None:
    uploads = [Upload(500_000) for _ in range(3)]
    async with connected(window=1000) as (connection, server):
        server.on_event = lambda _event: None
        async with anyio.create_task_group() as tasks:
            for upload in uploads:
                tasks.start_soon(upload.attempt, connection)
            await server.wait_for(lambda: len(server.bodies) == 3)
            server.stream.reset()
        assert connection.state is ConnectionState.CLOSED
    errors = [upload.error for upload in uploads]
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, ConnectionLost)
        assert error.before_response
        assert not error.retryable


async def test_end_of_file_in_the_middle_of_a_response() -> None:
    upload = Upload(10)
    async with connected() as (connection, server):

        def break_off(event: Event) -> None:
            if isinstance(event, RequestReceived):
                server.h2.send_headers(event.stream_id, [(b":status", b"200")])
                server.h2.close_connection(ErrorCodes.INTERNAL_ERROR, b"out of order")

        server.on_event = break_off
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload.attempt, connection)
            await server.wait_for(lambda: bool(server.bodies))
            await server.flush()
            server.stream.close()
    assert isinstance(upload.error, ConnectionLost)
    assert "INTERNAL_ERROR" in str(upload.error)
    assert "out of order" in str(upload.error)
    assert not upload.error.before_response


async def test_a_request_that_was_never_written_is_retryable() -> None:
    # The first upload fills the path; the second's head waits behind it when the peer breaks off.
    first, second = Upload(2_000_000), Upload(10)
    async with connected(window=1 << 24) as (connection, server):
        stuck = anyio.Event()

        async def stop_reading() -> None:
            await stuck.wait()

        def listen(_event: Event) -> None:
            if server.bodies:
                server.flush = stop_reading  # type: ignore[method-assign]

        server.on_event = listen
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.attempt, connection)
            await server.wait_for(lambda: bool(server.bodies))
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(second.attempt, connection)
            await anyio.wait_all_tasks_blocked()
            server.stream.reset()
            stuck.set()
    assert isinstance(first.error, ConnectionLost)
    assert isinstance(second.error, ConnectionLost)
    assert (first.error.retryable, second.error.retryable) == (False, True)


async def test_an_answer_before_a_reset_is_heard_although_writing_failed() -> None:
    upload = Upload(50_000_000)
    async with connected(window=1 << 24) as (connection, server):

        def refuse(event: Event) -> None:
            if isinstance(event, DataReceived) and not server.ended:
                server.ended.append(event.stream_id)
                server.respond(event.stream_id, 413, b"too large")

        async def flush_then_break() -> None:
            await server.stream.send(server.h2.data_to_send())
            if server.ended:
                server.stream.reset()

        server.on_event = refuse
        server.flush = flush_then_break  # type: ignore[method-assign]
        response = await upload.run(connection)
        assert (response.head.status, response.body) == (413, b"too large")
        await server.closed.wait()
        assert connection.state is not ConnectionState.OPEN


async def test_a_violation_ends_every_request_and_the_peer_is_told_why() -> None:
    upload = Upload(10)
    async with connected() as (connection, server):
        goaways: list[ConnectionTerminated] = []

        def misbehave(event: Event) -> None:
            if isinstance(event, ConnectionTerminated):
                goaways.append(event)

        server.on_event = misbehave
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload.attempt, connection)
            await server.wait_for(lambda: bool(server.bodies))
            await server.stream.send(FrameFactory().raw(6, 0, 0, b"short"))
        assert isinstance(upload.error, RemoteProtocolError)
        await server.closed.wait()
    assert goaways[0].error_code == ErrorCodes.FRAME_SIZE_ERROR
    assert connection.state is ConnectionState.CLOSED


async def test_a_head_beyond_the_limit() -> None:
    upload = Upload(10)
    async with connected(limits=Limits(response_head_bytes=1000)) as (connection, server):

        def boast(event: Event) -> None:
            if isinstance(event, RequestReceived):
                fields = [(b":status", b"200"), (b"x", b"y" * 1000)]
                server.h2.send_headers(event.stream_id, fields)

        server.on_event = boast
        with pytest.raises(ResponseTooLarge):
            await upload.run(connection)


async def test_closing_ends_what_runs_and_says_goodbye() -> None:
    upload = Upload(500_000)
    async with connected(window=1000) as (connection, server):
        goodbyes: list[Event] = []
        server.on_event = goodbyes.append
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload.attempt, connection)
            await server.wait_for(lambda: bool(server.bodies))
            await connection.aclose()
        await connection.aclose()
        await server.closed.wait()
    assert isinstance(upload.error, ClientClosed)
    assert isinstance(goodbyes[-1], ConnectionTerminated)
    assert goodbyes[-1].error_code == ErrorCodes.NO_ERROR


async def test_closing_is_bounded_when_the_peer_does_not_read() -> None:
    upload = Upload(5_000_000)
    async with (
        connected(window=1 << 24, to_server=Link(stall_after_bytes=1000)) as (connection, _server),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(upload.attempt, connection)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(GOODBYE_S + 1):
            await connection.aclose()
    assert isinstance(upload.error, ClientClosed)
    assert connection.state is ConnectionState.CLOSED


async def test_the_end_of_a_connection_that_is_over_already_is_heard() -> None:
    upload = Upload(5_000_000)
    async with (
        connected(window=1 << 24, to_server=Link(stall_after_bytes=1000)) as (connection, server),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(upload.attempt, connection)
        await anyio.wait_all_tasks_blocked()
        # The reason cannot be told to a peer that does not read, and then it goes.
        await server.stream.send(FrameFactory().raw(6, 0, 0, b"short"))
        await anyio.wait_all_tasks_blocked()
        server.stream.close()
        await anyio.wait_all_tasks_blocked()
        assert connection.state is ConnectionState.CLOSED
    assert isinstance(upload.error, RemoteProtocolError)


async def test_cancelling_the_connections_task_ends_what_runs() -> None:
    upload = Upload(500_000)
    async with connected(window=1000) as (connection, server):
        server.on_event = lambda _event: None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload.attempt, connection)
            await server.wait_for(lambda: bool(server.bodies))
            server.cancel_client()
        await server.closed.wait()
        assert connection.state is ConnectionState.CLOSED
    assert isinstance(upload.error, ClientClosed)


async def test_retiring_waits_for_the_running() -> None:
    upload = Upload(500_000)
    async with connected() as (connection, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload.run, connection)
            await server.wait_for(lambda: bool(server.bodies))
            connection.retire()
            assert connection.state is ConnectionState.DRAINING
        await server.closed.wait()
        connection.retire()
        assert connection.state is ConnectionState.CLOSED
    assert upload.response is not None


async def test_retiring_an_idle_connection_closes_it() -> None:
    async with connected() as (connection, server):
        await Upload(10).run(connection)
        connection.retire()
        await server.closed.wait()


async def test_pings_are_answered_while_uploading() -> None:
    upload = Upload(500_000)
    async with connected() as (connection, server):
        server.h2.ping(b"12345678")
        await server.flush()
        await upload.run(connection)
        await server.wait_for(lambda: server.pongs == 1)
