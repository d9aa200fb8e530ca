"""TLS streams: bytes, ends, liveness and housekeeping, over loopback sockets and in memory."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import anyio
import pytest

from tests.net.support import ServerSide, pattern, reset
from tests.net.tls_support import (
    both_ends,
    connect_tls,
    over_loopback,
    socket_below,
    trusting,
    until_readable,
)
from tests.peers.certificates import Certificates
from tests.peers.scripted import Peer, scripted_server
from trilane.transport.errors import ConnectionLost
from trilane.transport.net.memory import Link, MemoryStream, memory_pair
from trilane.transport.net.tls import TlsStream

MIB = 1024 * 1024


# --- bytes ---------------------------------------------------------------------------------------


async def test_both_directions_at_once_carry_everything(certificates: Certificates) -> None:
    count = 16 * MIB
    data = memoryview(pattern(MIB))

    async def send(stream: TlsStream) -> None:
        for _ in range(count // MIB):
            await stream.send(data)

    async def check(stream: TlsStream) -> None:
        received = 0
        while received < count:
            piece = await stream.receive()
            start = received % MIB
            end = min(start + len(piece), MIB)
            assert piece[: end - start] == data[start:end]
            assert piece[end - start :] == data[: len(piece) - (end - start)]
            received += len(piece)
        assert received == count

    async with over_loopback(certificates) as ends, anyio.create_task_group() as tasks:
        for stream in ends:
            tasks.start_soon(send, stream)
            tasks.start_soon(check, stream)
    for stream in ends:
        assert stream.accepted_bytes == count
        assert count < stream.wire.sent_bytes < count * 1.01
        assert count < stream.wire.received_bytes < count * 1.01


@pytest.mark.parametrize("seed", range(3))
async def test_records_may_arrive_in_any_pieces(certificates: Certificates, seed: int) -> None:
    link = Link(longest_piece_bytes=700, buffer_bytes=4000)
    data = pattern(100_000)
    pair = memory_pair(seed=seed, to_server=link, to_client=link)
    async with both_ends(certificates, *pair) as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, data)
            received = b""
            while len(received) < len(data):
                received += await server.receive()
        assert received == data


async def test_tls_goes_through_tls(certificates: Certificates) -> None:
    link = Link(longest_piece_bytes=3000, buffer_bytes=8000)
    data = pattern(200_000)
    pair = memory_pair(to_server=link, to_client=link)
    async with (
        both_ends(certificates, *pair) as outer,
        both_ends(certificates, *outer) as (client, server),
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, data)
            received = b""
            while len(received) < len(data):
                received += await server.receive()
        assert received == data
        assert client.is_idle_and_alive()
        server.close()
        assert await client.receive() == b""
        assert not client.truncated


async def test_a_part_that_left_at_once_has_its_moments(certificates: Certificates) -> None:
    pair = memory_pair(to_server=Link(buffer_bytes=3000))
    async with both_ends(certificates, *pair) as (ours, theirs):
        assert ours.send_whole(b"x")
        assert await theirs.receive() == b"x"
        await anyio.sleep(0.001)
        assert not ours.send_whole(bytes(20_000))
        assert ours.accepted_bytes == 1
        assert ours.write_started_ns <= ours.write_ended_ns
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ours.send_rest)
            received = 0
            while received < 20_000:
                received += len(await theirs.receive())
        assert ours.accepted_bytes == 20_001


async def test_a_cancelled_send_breaks_the_stream(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, server):
        await until_readable(client)
        assert client.is_idle_and_alive()  # has read the tickets, so that the close is no RST
        with anyio.move_on_after(0.05) as scope:
            await client.send(bytes(64 * MIB))
        assert scope.cancelled_caught
        assert client.broken
        assert client.write_started_ns > 0
        with pytest.raises(ConnectionLost, match="did not complete"):
            await client.send(b"more")
        accepted = client.accepted_bytes
        client.close()
        received = 0
        while piece := await server.receive():
            received += len(piece)
        assert server.truncated
        # What was taken of the last step is not counted.
        assert 0 < accepted <= received <= accepted + 64 * 1024


async def test_data_before_a_reset_can_still_be_read_after_the_send_failed(
    certificates: Certificates,
) -> None:
    async with over_loopback(certificates) as (client, server):
        await client.send(b"POST / HTTP/1.1\r\n\r\n")
        sock = socket_below(server)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # it leaves before the RST
        await server.send(b"HTTP/1.1 413 Content Too Large\r\n\r\n")
        reset(sock)
        with pytest.raises(ConnectionLost), anyio.fail_after(5):
            await _send_forever(client)
        assert (await client.receive()).startswith(b"HTTP/1.1 413")
        with pytest.raises(ConnectionLost, match="reset"):
            await client.receive()


# --- the end -------------------------------------------------------------------------------------


async def test_close_notify_is_sent_and_understood(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, server):
        await client.send(b"all of it")
        client.close()
        client.close()
        assert await server.receive() == b"all of it"
        assert await server.receive() == b""
        assert await server.receive() == b""
        assert not server.truncated


async def test_an_end_without_close_notify_is_reported(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, server):
        await server.send(b"half of")
        server._inner.close()
        assert await client.receive() == b"half of"
        assert not client.truncated
        for _ in range(2):
            assert await client.receive() == b""
            assert client.truncated


async def test_half_a_record_is_a_truncation_too(certificates: Certificates) -> None:
    pair = memory_pair(to_client=Link(reset_after_bytes=None))
    async with both_ends(certificates, *pair) as (client, server):
        assert isinstance(server._inner, MemoryStream)
        await server._inner.send(b"\x17\x03\x03\x01\x00half")
        server._inner.close()
        assert await client.receive() == b""
        assert client.truncated


async def test_garbage_between_records_breaks_the_connection(certificates: Certificates) -> None:
    async with both_ends(certificates, *memory_pair()) as (client, server):
        await server._inner.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ConnectionLost, match=r"192\.0\.2\.1:443: .*(mac|decryption)"):
            await client.receive()
        with pytest.raises(ConnectionLost):
            await client.send(b"x")
        with pytest.raises(ConnectionLost, match=r"mac|decryption|alert"):
            await server.receive()  # our alert reached it


async def test_close_wakes_who_waits(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, _):

        async def wait() -> None:
            with pytest.raises(ConnectionLost, match="closed on this side"):
                await client.receive()

        async def fill() -> None:
            with pytest.raises(ConnectionLost, match="closed on this side"):
                await _send_forever(client)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                tasks.start_soon(fill)
                await anyio.wait_all_tasks_blocked()
                client.close()


async def test_close_does_not_wait_for_a_peer_that_does_not_read(
    certificates: Certificates,
) -> None:
    pair = memory_pair(to_server=Link(buffer_bytes=2000))
    async with both_ends(certificates, *pair) as (client, _):
        with anyio.move_on_after(0.05):
            await client.send(bytes(10_000))
        client.close()


# --- liveness ------------------------------------------------------------------------------------


async def test_session_tickets_are_not_taken_for_data(certificates: Certificates) -> None:
    done: list[int] = []

    def script(peer: Peer) -> None:
        done.append(1)
        peer.hold()

    with scripted_server(script, tls=certificates.server.server_context()) as server:
        stream = await connect_tls(server.port, trusting(certificates))
        # The server's tickets come after our Finished (RFC 8446 §4.6.1).
        await until_readable(stream)
        before = stream.wire.received_bytes
        assert stream.is_idle_and_alive()
        assert stream.wire.received_bytes > before
        assert stream.is_idle_and_alive()
        stream.close()
        assert not stream.is_idle_and_alive()


async def test_data_close_notify_and_end_of_file_end_idleness(certificates: Certificates) -> None:
    for last_words in ("data", "close_notify", "end of file"):
        async with over_loopback(certificates) as (client, server):
            while client.receive_nowait() is not None:
                pass
            assert client.is_idle_and_alive()
            if last_words == "data":
                await server.send(b"x")
            elif last_words == "close_notify":
                with suppress(ssl.SSLWantReadError):
                    server._ssl.unwrap()
                server._flush_nowait()
            else:
                server._inner.close()
            await until_readable(client)
            assert not client.is_idle_and_alive(), last_words


async def test_data_already_decrypted_ends_idleness(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (client, server):
        await server.send(b"two")
        assert await client.receive(1) == b"t"
        assert not client.is_idle_and_alive()


# --- housekeeping --------------------------------------------------------------------------------


class _OwingSetup(ServerSide):
    """Stands for an OpenSSL that owes the peer an answer with every read."""

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, host: str) -> ssl.SSLObject:
        real = super().wrap(incoming, outgoing, host)

        class Owing:
            def read(self, _count: int) -> bytes:
                data = incoming.read(1)
                if not data:
                    raise ssl.SSLWantReadError
                outgoing.write(b"a" * 27)
                return data

            def pending(self) -> int:
                return 0

            def write(self, data: memoryview) -> int:
                return outgoing.write(data)

            def unwrap(self) -> None:
                return None

        assert real is not None
        return Owing()  # type: ignore[return-value]


async def test_answers_leave_at_once_or_with_the_next_send(certificates: Certificates) -> None:
    setup = _OwingSetup(certificates.server.server_context(), ())
    ours, peer = memory_pair(to_server=Link(buffer_bytes=30))
    stream = TlsStream(ours, setup, "localhost")
    await peer.send(b"xyz")
    assert await stream.receive(1) == b"x"
    assert await stream.receive(1) == b"y"  # only 3 bytes of this answer fit
    assert ours.wire.sent_bytes == 30
    received = b""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, b"data")
        while len(received) < 58:
            received += await peer.receive()
    assert received == b"a" * 54 + b"data"


async def test_records_that_arrived_together_are_received_together(
    certificates: Certificates,
) -> None:
    async with over_loopback(certificates) as (near, far):
        for _ in range(3):
            await far.send(b"record")
        assert await near.receive(10) == b"recordreco"
        assert await near.receive() == b"rdrecord"
        await far.send(b"last")
        far.close()
        assert await near.receive() == b"last"
        assert await near.receive() == b""
        assert await near.receive() == b""


async def test_what_came_before_a_broken_record_is_received(certificates: Certificates) -> None:
    async with over_loopback(certificates) as (near, far):
        await far.send(b"good")
        socket_below(far).send(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await near.receive() == b"good"
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await near.receive()


async def test_a_peer_that_demands_without_reading_is_given_up(certificates: Certificates) -> None:
    setup = _OwingSetup(certificates.server.server_context(), ())
    ours, peer = memory_pair(to_server=Link(buffer_bytes=30))
    stream = TlsStream(ours, setup, "localhost")
    await peer.send(bytes(4000))
    with pytest.raises(ConnectionLost, match="faster than it reads"):
        await _receive_forever(stream)


async def _receive_forever(stream: TlsStream) -> None:
    while True:
        await stream.receive()


async def _send_forever(stream: TlsStream) -> None:
    while True:
        await stream.send(bytes(MIB))
