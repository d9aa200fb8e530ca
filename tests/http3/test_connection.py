"""Requests over a real `Http3Connection` and a loopback socket, on asyncio and trio."""

from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import pytest
from aioquic.h3.connection import ErrorCode, FrameType, encode_frame
from anyio.lowlevel import checkpoint

from tests.http3.pair import ServerSide
from tests.http3.udp_server import UdpServer, serving
from tests.http3.uploads import BytesBody, Dialling, make_exchange
from tests.peers.certificates import Certificates
from trilane.transport.config import QuicOptions, Timeouts
from trilane.transport.connections.connection import ConnectionState
from trilane.transport.connections.exchange import Progress, RawResponse
from trilane.transport.connections.http3 import Http3Connection
from trilane.transport.errors import (
    ClientClosed,
    ConnectionLost,
    ReadTimeout,
    ResponseTooLarge,
    StreamResetError,
    TransportError,
    WriteTimeout,
)
from trilane.transport.profile.moments import Moment
from trilane.transport.protocols.http3_frames import encode_varint

PATIENCE_S = 10.0


@pytest.fixture
def side(certificates: Certificates) -> Callable[[], ServerSide]:
    return lambda: ServerSide(certificates.server)


def head_hook(server: UdpServer, hook: Callable[[ServerSide, int], None]) -> None:
    """Do something whenever a request's head arrives, on connections made from now on."""
    make = server._make_side

    def make_hooked() -> ServerSide:
        made = make()
        made.answer = lambda _stream_id: None
        made.on_head = lambda stream_id: hook(made, stream_id)
        return made

    server._make_side = make_hooked


async def upload(connection: Http3Connection, url: str, body: BytesBody) -> RawResponse:
    exchange = make_exchange(url, body)
    exchange.recorder.use_connection(connection.facts, reused=False)
    return await connection.exchange(exchange)


async def test_an_upload_and_its_profile(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    data = random.Random(1).randbytes(700_000)
    seen: list[Progress] = []
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            dialling = Dialling(certificates)
            async with dialling.connection(server.url()) as connection:
                exchange = make_exchange(server.url(), BytesBody(data), on_progress=seen.append)
                recorder = exchange.recorder
                recorder.use_connection(connection.facts, reused=False)
                response = await connection.exchange(exchange)
                assert connection.is_alive()
                assert (connection.active_requests, connection.available_requests > 0) == (0, True)
            [request] = server.sides[0].requests.values()

    assert (response.head.status, response.body) == (200, b"done")
    assert bytes(request.body) == data
    leg = recorder.leg
    order = [
        Moment.CONNECT_START,
        Moment.CONNECT_END,
        Moment.REQUEST_START,
        Moment.REQUEST_END,
        Moment.RESPONSE_START,
        Moment.RESPONSE_END,
    ]
    times = [leg.times[moment] or 0 for moment in order]
    assert times == sorted(times)
    assert 0 not in times
    assert leg.times[Moment.TLS_START] == leg.times[Moment.CONNECT_START]
    assert leg.times[Moment.TLS_END] == leg.times[Moment.CONNECT_END]
    assert leg.times[Moment.TCP_CONNECTED] is None
    assert leg.upload_complete
    assert leg.body_sent_bytes == len(data)
    assert leg.sent_bytes > len(data)
    assert leg.received_bytes > len(b"done")
    assert leg.sample is not None
    assert leg.sample.rtt_ms is not None
    assert leg.sample.wire_sent_bytes is not None
    assert leg.sample.wire_sent_bytes > leg.sent_bytes
    assert leg.sample.datagrams_sent is not None
    assert leg.sample.datagrams_sent > len(data) // QuicOptions().max_datagram_bytes
    assert seen[-1].sent == len(data)
    assert [each.sent for each in seen] == sorted(each.sent for each in seen)
    assert all((each.acked or 0) <= each.sent <= len(data) for each in seen)
    [attempt] = connection.facts.dial.attempts
    assert (attempt.protocol, attempt.outcome.value) == ("quic", "won")
    assert attempt.address == ("127.0.0.1", server.port)
    tls = connection.facts.tls
    assert tls is not None
    assert (tls.version, tls.alpn, tls.session_resumed) == ("TLSv1.3", "h3", False)
    assert tls.early_data_accepted is None
    assert tls.peer_certificate_der is not None


@pytest.mark.parametrize("known_length", [True, False])
@pytest.mark.parametrize("length", [0, 1, 65_536, 65_537])
async def test_bodies_with_and_without_a_length(
    certificates: Certificates, side: Callable[[], ServerSide], length: int, known_length: bool
) -> None:
    data = random.Random(length).randbytes(length)
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(side) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            response = await upload(connection, server.url(), BytesBody(data, known_length))
            assert response.head.status == 200
            [request] = server.sides[0].requests.values()
            assert bytes(request.body) == data


async def test_an_early_413_stops_the_upload_and_keeps_the_connection(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    def refuse(made: ServerSide, stream_id: int) -> None:
        made.respond(stream_id, [(b":status", b"413")], b"too much")
        made.quic.stop_stream(stream_id, ErrorCode.H3_NO_ERROR)

    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            head_hook(server, refuse)
            async with Dialling(certificates).connection(server.url()) as connection:
                for _ in range(3):
                    # The source never ends: only the response can end this.
                    body = BytesBody(bytes(10_000_000), stall_at=1_000_000)
                    exchange = make_exchange(server.url(), body)
                    exchange.recorder.use_connection(connection.facts, reused=False)
                    response = await connection.exchange(exchange)
                    assert (response.head.status, response.body) == (413, b"too much")
                    assert not exchange.recorder.leg.upload_complete
                assert connection.state is ConnectionState.OPEN
                assert connection.active_requests == 0


@pytest.mark.parametrize("cancel_at", [0, 1, 70_000, 300_000])
async def test_cancelling_one_upload_leaves_the_others(
    certificates: Certificates, side: Callable[[], ServerSide], cancel_at: int
) -> None:
    bodies = [random.Random(n).randbytes(300_000) for n in range(2)]
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(side) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            statuses: list[int] = []

            async def one(n: int) -> None:
                response = await upload(connection, server.url(), BytesBody(bodies[n]))
                statuses.append(response.head.status)

            async def cancelled() -> None:
                with anyio.CancelScope() as scope:

                    def watch(progress: Progress) -> None:
                        if progress.sent >= cancel_at:
                            scope.cancel()

                    exchange = make_exchange(
                        server.url(),
                        BytesBody(bytes(600_000), stall_at=cancel_at),
                        on_progress=watch,
                    )
                    exchange.recorder.use_connection(connection.facts, reused=False)
                    if cancel_at <= 1:
                        scope.deadline = anyio.current_time() + 0.02
                    await connection.exchange(exchange)
                assert scope.cancelled_caught

            async with anyio.create_task_group() as tasks:
                for n in range(2):
                    tasks.start_soon(one, n)
                tasks.start_soon(cancelled)
            assert statuses == [200] * 2
            received = {bytes(r.body) for r in server.sides[0].requests.values()}
            assert received >= set(bodies)
            assert connection.active_requests == 0
            # The peer is told, and a later request works.
            assert (await upload(connection, server.url(), BytesBody(b"x"))).head.status == 200


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 7, 10, 15, 25, 40, 80])
async def test_cancelling_at_any_await_leaves_the_others(
    certificates: Certificates, side: Callable[[], ServerSide], steps: int
) -> None:
    kept_body = random.Random(steps).randbytes(150_000)
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(side) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            statuses: list[int] = []

            async def keep() -> None:
                response = await upload(connection, server.url(), BytesBody(kept_body))
                statuses.append(response.head.status)

            async def give_up(scope: anyio.CancelScope) -> None:
                with scope:
                    await upload(connection, server.url(), BytesBody(bytes(150_000)))

            async with anyio.create_task_group() as tasks:
                scope = anyio.CancelScope()
                tasks.start_soon(keep)
                tasks.start_soon(give_up, scope)
                for _ in range(steps):
                    await checkpoint()
                scope.cancel()
            assert statuses == [200]
            assert kept_body in {bytes(r.body) for r in server.sides[0].requests.values()}
            assert connection.active_requests == 0
            assert connection.is_alive()


async def test_every_waiter_gets_the_reason_of_a_close(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    def close(made: ServerSide, _stream_id: int) -> None:
        if len(made.requests) == 3:
            made.quic.close(error_code=ErrorCode.H3_INTERNAL_ERROR, reason_phrase="disk full")

    errors: list[TransportError] = []
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            head_hook(server, close)
            async with Dialling(certificates).connection(server.url()) as connection:

                async def one() -> None:
                    try:
                        await upload(connection, server.url(), BytesBody(bytes(3_000_000)))
                    except TransportError as error:
                        errors.append(error)

                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        tasks.start_soon(one)
                assert connection.state is ConnectionState.CLOSED
                assert not connection.is_alive()
                with pytest.raises(ConnectionLost) as refused:
                    await upload(connection, server.url(), BytesBody(b"late"))
                assert refused.value.retryable

    assert [type(error) for error in errors] == [ConnectionLost] * 3
    assert all("disk full" in str(error) for error in errors)
    assert len({id(error) for error in errors}) == 3


async def test_a_rejected_request_may_be_resent(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            head_hook(
                server,
                lambda made, stream_id: made.quic.reset_stream(
                    stream_id, ErrorCode.H3_REQUEST_REJECTED
                ),
            )
            async with Dialling(certificates).connection(server.url()) as connection:
                with pytest.raises(StreamResetError) as caught:
                    await upload(connection, server.url(), BytesBody(bytes(100_000)))

    assert caught.value.retryable
    assert caught.value.error_code == ErrorCode.H3_REQUEST_REJECTED


async def test_goaway_drains_the_connection(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    def go_away(made: ServerSide, stream_id: int) -> None:
        control = made.h3._local_control_stream_id
        assert control is not None
        frame = encode_frame(FrameType.GOAWAY, encode_varint(stream_id + 4))
        made.quic.send_stream_data(control, frame)
        made.answer = made.respond

    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            head_hook(server, go_away)
            connection = await Dialling(certificates).dial(server.url())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.run)
                response = await upload(connection, server.url(), BytesBody(bytes(200_000)))
                assert response.head.status == 200
                # Drained: the last request has left, and `run` ends by itself.
    assert connection.state is ConnectionState.CLOSED


async def test_retiring_waits_for_the_running_request(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            connection = await Dialling(certificates).dial(server.url())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.run)
                exchange = make_exchange(
                    server.url(),
                    BytesBody(bytes(200_000)),
                    on_progress=lambda _: connection.retire(),
                )
                exchange.recorder.use_connection(connection.facts, reused=False)
                assert (await connection.exchange(exchange)).head.status == 200
    assert connection.state is ConnectionState.CLOSED


async def test_closing_fails_what_is_running(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(side) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            async with anyio.create_task_group() as tasks:

                async def run() -> None:
                    with pytest.raises(ClientClosed):
                        await upload(
                            connection, server.url(), BytesBody(bytes(9_000_000), stall_at=1)
                        )

                tasks.start_soon(run)
                await anyio.wait_all_tasks_blocked()
                await connection.aclose()
            await connection.aclose()
            # The server was told.
            while server.sides[0].quic._close_event is None:
                await anyio.sleep(0.001)
            assert server.sides[0].quic._close_event.error_code == ErrorCode.H3_NO_ERROR


async def test_a_connection_that_never_ran_says_goodbye_too(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            connection = await Dialling(certificates).dial(server.url())
            connection.retire()
            assert connection.state is ConnectionState.CLOSED
            await connection.run()
            await connection.aclose()
            while server.sides[0].quic._close_event is None:
                await anyio.sleep(0.001)


async def test_a_server_that_vanishes_is_noticed_by_icmp(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(side) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            began_s = anyio.current_time()
            server.close()
            with pytest.raises(ConnectionLost, match="refused"):
                await upload(connection, server.url(), BytesBody(bytes(1_000_000)))
            assert anyio.current_time() - began_s < 5.0


async def test_pings_keep_a_waiting_request_alive(
    certificates: Certificates,
    side: Callable[[], ServerSide],
) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server, anyio.create_task_group() as tasks:

            async def answer_late(made: ServerSide, stream_id: int) -> None:
                await anyio.sleep(1.2)
                made.respond(stream_id)
                server.kick()

            def answer(made: ServerSide, stream_id: int) -> None:
                tasks.start_soon(answer_late, made, stream_id)

            head_hook(server, answer)
            dialling = Dialling(certificates, quic=QuicOptions(idle_timeout_s=0.6))
            async with dialling.connection(server.url()) as connection:
                response = await upload(connection, server.url(), BytesBody(b"x"))
                assert response.head.status == 200
                # Without requests nothing is kept alive: the connection ends by itself.
                while connection.is_alive():
                    await anyio.sleep(0.01)
    cause = connection.machine.close_cause
    assert cause is not None
    assert "idle timeout" in cause.reason


async def test_idle_timeouts_of_a_request(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            head_hook(server, lambda _made, _stream_id: None)
            async with Dialling(certificates).connection(server.url()) as connection:
                exchange = make_exchange(
                    server.url(), BytesBody(b"x"), timeouts=Timeouts(read_idle_s=0.05)
                )
                exchange.recorder.use_connection(connection.facts, reused=False)
                with pytest.raises(ReadTimeout):
                    await connection.exchange(exchange)
                server.deaf = True
                exchange = make_exchange(
                    server.url(), BytesBody(bytes(9_000_000)), timeouts=Timeouts(write_idle_s=0.05)
                )
                exchange.recorder.use_connection(connection.facts, reused=False)
                with pytest.raises(WriteTimeout):
                    await connection.exchange(exchange)


async def test_too_large_a_response_ends_its_request_only(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    def flood(made: ServerSide, stream_id: int) -> None:
        made.respond(
            stream_id, [(b":status", b"200"), (b"x", b"y" * 40_000), (b"z", b"y" * 40_000)]
        )

    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            head_hook(server, flood)
            async with Dialling(certificates).connection(server.url()) as connection:
                with pytest.raises(ResponseTooLarge, match="head"):
                    await upload(connection, server.url(), BytesBody(b"x"))
                assert connection.is_alive()


async def test_a_large_response_arrives_whole(
    certificates: Certificates, side: Callable[[], ServerSide]
) -> None:
    data = random.Random(5).randbytes(3_000_000)
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            head_hook(server, lambda made, stream_id: made.respond(stream_id, body=data))
            async with Dialling(certificates).connection(server.url()) as connection:
                response = await upload(connection, server.url(), BytesBody(b""))
                assert response.body == data
