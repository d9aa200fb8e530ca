"""HTTP/1.1 servers that break off, reset, refuse early, or answer nonsense."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

import trilane
from tests.faults.faulty import (
    LARGE_BYTES,
    OK,
    Faulty,
    answer,
    answer_once,
    check_failure,
    failed_upload,
    patient,
)
from tests.interop.profile_checks import check_order
from tests.peers.scripted import Peer, Script
from trilane.transport.errors import Phase
from trilane.transport.policy.retry import MAX_UNPROCESSED_RETRIES

REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\ntoo large"
CLOSING_REFUSAL = REFUSAL.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture(params=["bytes", "path"])
def large_file(request: pytest.FixtureRequest, tmp_path: Path) -> bytes | Path:
    """More than both ends' buffers hold, from memory and from a file (which may be sendfile)."""
    content = bytes(LARGE_BYTES)
    if request.param == "bytes":
        return content
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    return path


# --- the connection breaks ------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["close", "reset"])
async def test_broken_before_the_request(faulty: Faulty, end: Script) -> None:
    with faulty.server(end) as server:
        async with faulty.client() as client:
            with pytest.raises(trilane.NetworkError) as caught:
                await client.upload(server.url(), b"payload")

    check_failure(caught.value)
    # A fresh connection is no excuse to send again, unless nothing had been written yet.
    assert server.accepted <= 1 + MAX_UNPROCESSED_RETRIES
    # A reset may come before `connect` has reported success; then that is what failed.
    if not isinstance(caught.value, trilane.ConnectError):
        assert isinstance(caught.value, trilane.ConnectionLost)
        assert caught.value.phase in {Phase.SEND, Phase.WAIT}


@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["close", "reset"])
async def test_broken_in_the_middle_of_the_request(
    faulty: Faulty, end: Script, large_file: bytes | Path
) -> None:
    def take_some(peer: Peer) -> None:
        peer.read_head()
        peer.read_body(1 << 20)
        end(peer)

    with faulty.server(take_some) as server:
        async with faulty.client() as client:
            error = await failed_upload(
                client, server.url(), trilane.ConnectionLost, file=large_file
            )

    assert server.accepted == 1
    assert error.phase is Phase.SEND
    assert error.bytes_sent is not None
    assert (1 << 20) <= error.bytes_sent < LARGE_BYTES
    assert error.retryable is False


@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["close", "reset"])
async def test_broken_after_the_request(faulty: Faulty, end: Script) -> None:
    def take_all(peer: Peer) -> None:
        peer.read_request()
        end(peer)

    with faulty.server(take_all) as server:
        async with faulty.client() as client:
            error = await failed_upload(client, server.url(), trilane.ConnectionLost)

    assert server.accepted == 1
    assert error.phase is Phase.WAIT
    assert error.profile is not None
    assert error.bytes_sent == error.profile.body_bytes
    assert error.profile.upload_complete
    assert error.profile.request_end is not None


async def test_broken_after_the_request_on_a_reused_connection_is_sent_again(
    faulty: Faulty,
) -> None:
    def answer_then_break(peer: Peer) -> None:
        answer_once(OK)(peer)
        peer.read_request()
        peer.reset()

    with faulty.server(answer_then_break, answer()) as server:
        async with patient(), faulty.client() as client:
            await client.upload(server.url(), b"first")
            response = await client.upload(server.url(), b"second")

    assert response.status_code == 200
    assert server.accepted == 2
    assert response.profile is not None
    assert len(response.profile.legs) == 2
    assert not response.profile.socket_reused
    check_order(response.profile)


# --- early answers --------------------------------------------------------------------------------


def refuse_and_close(peer: Peer) -> None:
    peer.read_head()
    peer.send(CLOSING_REFUSAL)
    peer.finish_sending()
    peer.drain()


def refuse_and_reset(peer: Peer) -> None:
    """Closing with a body unread makes the kernel send a reset right behind the answer."""
    peer.read_head()
    peer.send(CLOSING_REFUSAL)
    peer.close()


def refuse_and_read_on(peer: Peer) -> None:
    """Without Connection: close, and with all the patience in the world."""
    peer.read_head()
    peer.send(REFUSAL)
    peer.drain()


@pytest.mark.parametrize("refuse", [refuse_and_close, refuse_and_reset, refuse_and_read_on])
async def test_early_refusal_is_delivered_and_stops_the_upload(
    faulty: Faulty, refuse: Script, large_file: bytes | Path
) -> None:
    with faulty.server(refuse, answer()) as server:
        async with patient(), faulty.client() as client:
            response = await client.upload(server.url(), large_file)
            after = await client.upload(server.url(), b"small")

    assert response.status_code == 413
    assert response.content == b"too large"
    profile = response.profile
    assert profile is not None
    check_order(profile)
    assert profile.early_response
    assert not profile.upload_complete
    assert profile.body_sent_bytes < LARGE_BYTES
    # The rest of the body was never sent: this connection cannot carry another request.
    assert after.status_code == 200
    assert server.accepted == 2


async def test_early_refusal_is_returned_at_once(faulty: Faulty) -> None:
    def refuse(peer: Peer) -> None:
        peer.read_head()
        peer.send(REFUSAL)
        peer.hold()

    with faulty.server(refuse) as server:
        # The body is never taken: whoever had to send it first would not return.
        async with patient(), faulty.client() as client:
            response = await client.upload(server.url(), bytes(LARGE_BYTES))

    assert response.profile is not None
    assert response.profile.early_response


async def test_early_success_does_not_stop_the_upload(faulty: Faulty) -> None:
    received: list[int] = []

    def accept_at_once(peer: Peer) -> None:
        head = peer.read_head().decode("latin-1")
        length = re.search(r"(?i)content-length: (\d+)", head)
        assert length is not None
        peer.send(OK)
        received.append(len(peer.read_body(int(length[1]))))

    with faulty.server(accept_at_once) as server:
        async with patient(), faulty.client() as client:
            response = await client.upload(server.url(), bytes(LARGE_BYTES))
        server.finish()

    assert response.status_code == 200
    assert response.profile is not None
    assert response.profile.early_response
    assert response.profile.upload_complete
    assert received == [response.profile.body_bytes]


# --- answers that are wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 two hundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
    ],
    ids=["binary", "ssh", "status", "field", "length", "two-lengths", "version"],
)
async def test_garbage_instead_of_a_response(faulty: Faulty, head: bytes) -> None:
    with faulty.server(answer_once(head)) as server:
        async with faulty.client() as client:
            error = await failed_upload(client, server.url(), trilane.RemoteProtocolError)

    assert error.phase is Phase.RECEIVE
    assert error.retryable is False


async def test_head_without_end_is_cut_off(faulty: Faulty) -> None:
    taken: list[int] = []

    def talk_on(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
        # 64 KiB are allowed; whoever listens to 64 MiB has no bound.
        for number in range(64 * 1024):
            taken.append(number)
            peer.send(line)

    with faulty.server(talk_on) as server:
        async with faulty.client() as client:
            await failed_upload(client, server.url(), trilane.ResponseTooLarge)

    assert len(taken) < 64 * 1024


async def test_head_of_almost_64_kib_is_read(faulty: Faulty) -> None:
    filler = b"X-Filler: " + b"x" * 60_000 + b"\r\n"
    big = b"HTTP/1.1 200 OK\r\n" + filler + b"Content-Length: 2\r\n\r\nok"
    with faulty.server(answer_once(big)) as server:
        async with patient(), faulty.client() as client:
            response = await client.upload(server.url(), b"payload")

    assert len(response.headers["x-filler"]) == 60_000


async def test_slow_drip_is_read_to_its_end(faulty: Faulty) -> None:
    def drip(peer: Peer) -> None:
        peer.read_request()
        peer.drip(OK, 0.002)
        peer.hold()

    with faulty.server(drip) as server:
        async with patient(), faulty.client() as client:
            response = await client.upload(server.url(), b"payload")

    assert response.content == b"ok"
    assert response.profile is not None
    assert response.profile.response_start is not None
    assert response.profile.response_end is not None
    assert response.profile.response_end > response.profile.response_start


async def test_endless_drip_ends_with_the_timeout(faulty: Faulty) -> None:
    def drip(peer: Peer) -> None:
        peer.read_request()
        peer.drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000, 0.02)

    with faulty.server(drip) as server:
        # Bytes keep coming, so only the whole call's timeout can end it.
        timeouts = trilane.Timeouts(total_s=0.5, read_idle_s=5.0)
        async with faulty.client(timeout=timeouts) as client:
            error = await failed_upload(client, server.url(), trilane.TotalTimeout)

    assert error.profile is not None
    assert error.profile.upload_complete
    assert error.phase in {Phase.WAIT, Phase.RECEIVE}


async def test_body_shorter_than_its_content_length(faulty: Faulty) -> None:
    with faulty.server(answer_once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")) as server:
        async with faulty.client() as client:
            error = await failed_upload(client, server.url(), trilane.RemoteProtocolError)

    assert error.phase is Phase.RECEIVE
    assert error.profile is not None
    assert error.profile.status == 200


async def test_body_longer_than_its_content_length_ends_the_connection(faulty: Faulty) -> None:
    def answer_and_more(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse")
        peer.drain()

    with faulty.server(answer_and_more, answer()) as server:
        async with patient(), faulty.client() as client:
            first = await client.upload(server.url(), b"payload")
            # What came unasked must never be taken for the answer to this one.
            second = await client.upload(server.url(), b"payload")

    assert first.content == second.content == b"ok"
    assert server.accepted == 2


async def test_response_body_beyond_the_limit(faulty: Faulty) -> None:
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
    with faulty.server(answer_once(big)) as server:
        async with faulty.client(limits=trilane.Limits(response_body_bytes=99_999)) as client:
            await failed_upload(client, server.url(), trilane.ResponseTooLarge)


async def test_faults_do_not_spread_to_other_uploads(faulty: Faulty) -> None:
    def refuse_then_serve(peer: Peer) -> None:
        peer.read_request()
        peer.reset()

    statuses: list[int] = []
    with faulty.server(refuse_then_serve, answer()) as server:
        async with patient(), faulty.client() as client:
            await failed_upload(client, server.url(), trilane.ConnectionLost)

            async def one() -> None:
                statuses.append((await client.upload(server.url(), b"payload")).status_code)

            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(one)

    assert statuses == [200] * 4
