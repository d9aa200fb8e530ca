"""A short request that is alone is sent by its own task, in as few datagrams as can be."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import anyio
import anyio.lowlevel
import pytest

from tests.http3.conftest import MakePair
from tests.http3.pair import Upload
from tests.http3.scenes import saw
from tests.http3.udp_server import serving
from tests.http3.uploads import BytesBody, Dialling, answers, make_exchange, serve_with
from tests.peers.certificates import Certificates
from trilane.transport.body import Body
from trilane.transport.errors import ConnectionLost, Phase, TotalTimeout
from trilane.transport.net.datagram import DatagramSocket, Outgoing
from trilane.transport.profile.moments import Moment
from trilane.transport.protocols.events import ResponseEnded
from trilane.transport.sources.joined import content_body

PATIENCE_S = 10.0


def test_an_acknowledgement_goes_along_with_the_next_request(make_pair: MakePair) -> None:
    pair = make_pair()
    for _ in range(3):
        pair.events.clear()
        Upload(pair, b"x" * 600).feed()
        pair.datagram_sizes.clear()
        pair.run(lambda: saw(pair, ResponseEnded))
    # The answer asks to be acknowledged, and the next request is at hand.
    assert pair.machine.next_timer_s() is not None
    Upload(pair, b"x" * 600).feed()
    (datagram,) = pair.machine.transmit(pair.now_s)
    assert len(datagram.data) > 600
    later_s = pair.now_s + 0.002
    pair.machine.handle_timer(later_s)
    assert not pair.machine.transmit(later_s)


@pytest.mark.parametrize("size", [0, 1, 1000, 60_000])
async def test_short_bodies_arrive_and_are_told_of(certificates: Certificates, size: int) -> None:
    content = bytes(range(250)) * (size // 250) if size > 1 else bytes(size)
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            for _ in range(3):
                exchange = make_exchange(server.url(), await content_body(content))
                exchange.recorder.use_connection(connection.facts, reused=False)
                response = await connection.exchange(exchange)
                leg = exchange.recorder.leg
                assert response.head.status == 200
                assert (leg.body_sent_bytes, leg.upload_complete) == (len(content), True)
                moments = (Moment.REQUEST_START, Moment.REQUEST_END, Moment.RESPONSE_END)
                times = [leg.times[moment] or 0 for moment in moments]
                assert times == sorted(times)
                assert 0 not in times
            bodies = [bytes(request.body) for request in server.sides[0].requests.values()]
            assert bodies == [content] * 3


async def test_a_full_socket_leaves_the_rest_to_the_sender(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(250)) * 40
    taken: list[int] = []
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            send_nowait = DatagramSocket.send_nowait

            def grudging(
                channel: DatagramSocket, datagrams: Sequence[Outgoing]
            ) -> Sequence[Outgoing]:
                taken.append(len(datagrams) // 2 if len(taken) % 2 == 0 else len(datagrams))
                send_nowait(channel, datagrams[: taken[-1]])
                return datagrams[taken[-1] :]

            monkeypatch.setattr(DatagramSocket, "send_nowait", grudging)
            for _ in range(5):
                exchange = make_exchange(server.url(), await content_body(content))
                exchange.recorder.use_connection(connection.facts, reused=False)
                await connection.exchange(exchange)
                assert exchange.recorder.leg.body_sent_bytes == len(content)
            monkeypatch.undo()
            bodies = [bytes(request.body) for request in server.sides[0].requests.values()]
    assert bodies == [content] * 5
    assert 0 in taken


async def test_nothing_overtakes_what_a_full_socket_has_left(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[bytes] = []
    sent: list[bytes] = []
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            assert await answers(connection, server.url())
            send_nowait = DatagramSocket.send_nowait

            def grudging(
                channel: DatagramSocket, datagrams: Sequence[Outgoing]
            ) -> Sequence[Outgoing]:
                if not refused:
                    refused.extend(each.data for each in datagrams)
                    return datagrams
                sent.extend(each.data for each in datagrams)
                return send_nowait(channel, datagrams)

            link = connection._link
            while link._rests_until_s == -inf:
                await anyio.lowlevel.checkpoint()
            monkeypatch.setattr(DatagramSocket, "send_nowait", grudging)
            for _ in range(2):
                link.machine.keep_alive()
                link.flush_now()
            while len(sent) < 2:
                await anyio.lowlevel.checkpoint()
            monkeypatch.undo()
    assert refused == sent[:1]


async def test_a_socket_that_fails_ends_the_request(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(channel: DatagramSocket, datagrams: Sequence[Outgoing]) -> Sequence[Outgoing]:
        raise ConnectionLost(f"no {len(datagrams)} datagrams for {channel.peer}")

    body: Body = await content_body(b"body")
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            exchange = make_exchange(server.url(), body)
            exchange.recorder.use_connection(connection.facts, reused=False)
            monkeypatch.setattr(DatagramSocket, "send_nowait", failing)
            with pytest.raises(ConnectionLost, match="no 1 datagrams"):
                await connection.exchange(exchange)
            monkeypatch.undo()
            assert not connection.is_alive()


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_deadline_ends_the_request_and_leaves_the_connection(
    certificates: Certificates, *, in_memory: bool
) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            body: Body = await content_body(b"body") if in_memory else BytesBody(b"body")
            answer, server.sides[0].answer = server.sides[0].answer, lambda _stream_id: None
            exchange = make_exchange(server.url(), body)
            exchange.deadline_s = anyio.current_time() + 0.02
            exchange.recorder.use_connection(connection.facts, reused=False)
            with pytest.raises(TotalTimeout) as caught:
                await connection.exchange(exchange)
            assert caught.value.phase is Phase.WAIT
            server.sides[0].answer = answer
            assert await answers(connection, server.url())


async def test_cancelled_at_once_it_takes_nothing_else_down(certificates: Certificates) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            for cancelled in (True, False, True, False):
                exchange = make_exchange(server.url(), await content_body(b"body"))
                exchange.recorder.use_connection(connection.facts, reused=False)
                with anyio.CancelScope() as scope:
                    if cancelled:
                        scope.cancel()
                    assert (await connection.exchange(exchange)).head.status == 200
                assert scope.cancelled_caught == cancelled
                assert connection.active_requests == 0
