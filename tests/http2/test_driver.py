"""Uploads through the driver, on both backends, over a virtual network."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
from anyio.lowlevel import checkpoint
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived
from h2.settings import SettingCodes

from tests.http2.scripted_server import H2Server, Upload, connected
from trilane.transport.config import Limits, Timeouts
from trilane.transport.connections import multiplexed
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.connections.http2 import Http2Connection
from trilane.transport.errors import ReadTimeout, ResponseTooLarge, WriteTimeout
from trilane.transport.net.memory import Link
from trilane.transport.profile.moments import Moment


async def assert_usable(connection: Http2Connection, server: H2Server) -> None:
    """The connection carries another upload."""
    server.on_event = server.serve_event
    server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
    await server.flush()
    assert connection.state is ConnectionState.OPEN
    response = await Upload(100_000).run(connection)
    assert response.body == b"100000"


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3_000_000])
@pytest.mark.parametrize("announced", [True, False])
async def test_an_upload_arrives_whole(size: int, *, announced: bool) -> None:
    upload = Upload(size, announced=announced)
    async with connected() as (connection, server):
        response = await upload.run(connection)
    assert (response.head.status, response.body) == (200, str(size).encode())
    assert bytes(server.bodies[1]) == upload.body.content[:size]
    assert upload.body.closed == (1 if size or not announced else 0)
    assert connection.state is ConnectionState.CLOSED


async def test_what_is_recorded_is_what_happened() -> None:
    upload = Upload(1_000_000)
    async with connected() as (connection, _):
        await upload.run(connection)
    leg, times = upload.leg, upload.leg.times
    order = [Moment.REQUEST_START, Moment.REQUEST_END, Moment.RESPONSE_START, Moment.RESPONSE_END]
    marked = [times[moment] for moment in order]
    assert None not in marked
    assert marked == sorted(value for value in marked if value is not None)
    assert times[Moment.REQUEST_ACKED] is not None
    assert leg.upload_complete
    assert leg.body_sent_bytes == leg.body_acked_bytes == 1_000_000
    frames = -(-1_000_000 // 16384)
    assert leg.sent_bytes > 1_000_000 + 9 * frames
    assert leg.sent_bytes < 1_000_000 + 9 * frames + 200
    assert leg.received_bytes > 9 + 9 + 7
    sent = [progress.sent for progress in upload.progress]
    assert sent == sorted(sent)
    assert (sent[-1], upload.progress[-1].total) == (1_000_000, 1_000_000)


@pytest.mark.parametrize("reset", [True, False], ids=["RST_STREAM(NO_ERROR)", "no reset"])
async def test_an_early_413_ends_a_blocked_upload(*, reset: bool) -> None:
    """The peer refuses before it reads, and gives no window at all; httpx hangs here."""
    upload = Upload(10_000_000)
    async with connected(window=0) as (connection, server):

        def refuse(event: Event) -> None:
            if isinstance(event, RequestReceived):
                server.respond(event.stream_id, 413)
                if reset:
                    server.h2.reset_stream(event.stream_id, ErrorCodes.NO_ERROR)

        server.on_event = refuse
        with anyio.fail_after(10):
            response = await upload.run(connection)
        assert response.head.status == 413
        assert not upload.leg.upload_complete
        assert upload.leg.body_sent_bytes == 0
        assert upload.body.closed == 1
        if not reset:
            await server.wait_for(lambda: 1 in server.resets)
            assert server.resets[1] == ErrorCodes.NO_ERROR
        await assert_usable(connection, server)


async def test_a_complete_200_to_a_body_nobody_takes_gives_the_body_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(multiplexed, "LINGER_S", 0.2)
    upload = Upload(10_000_000)
    async with connected(window=0) as (connection, server):

        def accept_unread(event: Event) -> None:
            if isinstance(event, RequestReceived):
                server.respond(event.stream_id, 200, b"enough")

        server.on_event = accept_unread
        with anyio.fail_after(5):
            response = await upload.run(connection)
        assert (response.head.status, response.body) == (200, b"enough")
        assert not upload.leg.upload_complete
        await server.wait_for(lambda: 1 in server.resets)
        assert server.resets[1] == ErrorCodes.NO_ERROR
        await assert_usable(connection, server)


async def test_an_early_413_in_the_middle_stops_the_upload() -> None:
    upload = Upload(50_000_000)
    async with connected() as (connection, server):

        def refuse(event: Event) -> None:
            if isinstance(event, DataReceived) and not server.ended:
                server.ended.append(event.stream_id)
                server.respond(event.stream_id, 413, b"too large")

        server.on_event = refuse
        response = await upload.run(connection)
        assert (response.head.status, response.body) == (413, b"too large")
        assert upload.leg.body_sent_bytes < 3_000_000
        await assert_usable(connection, server)


async def test_a_window_that_shrinks_below_zero_only_delays() -> None:
    upload = Upload(300_000)
    async with connected(window=100_000) as (connection, server):
        shrunk = False

        def shrink(event: Event) -> None:
            nonlocal shrunk
            if isinstance(event, DataReceived) and not shrunk:
                shrunk = True
                server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
            server.serve_event(event)

        server.on_event = shrink
        response = await upload.run(connection)
    assert response.body == b"300000"
    assert bytes(server.bodies[1]) == upload.body.content[:300_000]


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_cancelling_one_upload_leaves_the_others_alone(steps: int) -> None:
    uploads = [Upload(400_000) for _ in range(4)]
    link = Link(longest_piece_bytes=20_000)
    async with connected(window=70_000, to_server=link) as (connection, server):
        scope = anyio.CancelScope()

        async def doomed() -> None:
            with scope:
                await uploads[0].run(connection)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(doomed)
            for upload in uploads[1:]:
                tasks.start_soon(upload.run, connection)
            for _ in range(steps):
                await checkpoint()
            scope.cancel()
        for upload in uploads[1:]:
            assert upload.response is not None
            assert upload.response.body == b"400000"
        whole = [bytes(body) for body in server.bodies.values() if len(body) == 400_000]
        assert whole.count(uploads[0].body.content[:400_000]) >= 3
        assert all(upload.body.closed <= 1 for upload in uploads)
        assert connection.active_requests == 0
        await assert_usable(connection, server)
        assert connection.available_requests == 100


async def test_many_small_uploads_share_the_connection() -> None:
    uploads = [Upload(50_000) for _ in range(60)]
    async with (
        connected(window=65535) as (connection, server),
        anyio.create_task_group() as tasks,
    ):
        for upload in uploads:
            tasks.start_soon(upload.run, connection)
    assert all(upload.response and upload.response.body == b"50000" for upload in uploads)
    assert {bytes(body) for body in server.bodies.values()} == {uploads[0].body.content[:50_000]}


async def test_large_uploads_take_turns() -> None:
    uploads = [Upload(3_000_000) for _ in range(5)]
    async with connected(window=1 << 24) as (connection, server):
        slowest: list[int] = []

        def watch(event: Event) -> None:
            if len(server.bodies) == len(uploads):
                sizes = sorted(len(body) for body in server.bodies.values())
                if sizes[-1] > 2_500_000 and not slowest:
                    slowest.append(sizes[0])
            server.serve_event(event)

        server.on_event = watch
        async with anyio.create_task_group() as tasks:
            for upload in uploads:
                tasks.start_soon(upload.run, connection)
    assert slowest[0] > 500_000


async def test_a_turn_is_long_only_while_nobody_else_waits() -> None:
    first, second = Upload(3_000_000), Upload(3_000_000)
    async with connected(window=1 << 24) as (connection, _), anyio.create_task_group() as tasks:
        tasks.start_soon(first.run, connection)
        while not first.progress:
            await checkpoint()
        tasks.start_soon(second.run, connection)
    assert _steps(first)[0] == 256 * 1024
    assert max(_steps(second)[:20]) == 64 * 1024


def _steps(upload: Upload) -> list[int]:
    """Body bytes of each write, as the progress tells them."""
    sent = [0]
    for progress in upload.progress:
        if progress.sent > sent[-1]:
            sent.append(progress.sent)
    return [after - before for before, after in pairwise(sent)]


async def test_a_peer_that_takes_nothing_times_out_and_the_connection_lives() -> None:
    upload = Upload(10, timeouts=Timeouts(write_idle_s=0.02))
    async with connected(window=0) as (connection, server):
        with pytest.raises(WriteTimeout):
            await upload.run(connection)
        await assert_usable(connection, server)
        assert server.resets[1] == ErrorCodes.CANCEL


async def test_a_peer_that_never_answers_times_out_and_the_connection_lives() -> None:
    upload = Upload(10, timeouts=Timeouts(read_idle_s=0.02))
    async with connected() as (connection, server):
        server.on_event = lambda _event: None
        with pytest.raises(ReadTimeout):
            await upload.run(connection)
        await assert_usable(connection, server)
        assert server.resets[1] == ErrorCodes.CANCEL


async def test_a_response_body_beyond_the_limit_ends_its_stream_only() -> None:
    upload = Upload(10, limits=Limits(response_body_bytes=1000))
    async with connected() as (connection, server):

        def gush(event: Event) -> None:
            if isinstance(event, RequestReceived):
                server.respond(event.stream_id, 200, bytes(1001))

        server.on_event = gush
        with pytest.raises(ResponseTooLarge):
            await upload.run(connection)
        await assert_usable(connection, server)
