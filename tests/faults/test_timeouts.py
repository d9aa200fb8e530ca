"""Each phase has a timeout of its own, with an error of its own."""

from __future__ import annotations

import time

import anyio
import pytest

import trilane
from tests.faults.faulty import LARGE_BYTES, Faulty, answer, failed_upload, patient
from tests.peers.scripted import Peer, Script
from trilane.transport.errors import Phase
from trilane.transport.profile.invariants import order_violations


def take_the_head_only(peer: Peer) -> None:
    peer.read_head()
    peer.hold()


def take_all_and_say_nothing(peer: Peer) -> None:
    peer.read_request()
    peer.hold()


async def test_peer_that_stops_reading(faulty: Faulty) -> None:
    with faulty.server(take_the_head_only) as server:
        async with faulty.client(timeout=trilane.Timeouts(write_idle_s=0.3)) as client:
            error = await failed_upload(
                client, server.url(), trilane.WriteTimeout, file=bytes(LARGE_BYTES)
            )

    assert error.phase is Phase.SEND
    assert error.bytes_sent is not None
    assert 0 < error.bytes_sent < LARGE_BYTES


async def test_peer_that_reads_slowly_is_not_idle(faulty: Faulty) -> None:
    size = 24 << 20

    def take_slowly(peer: Peer) -> None:
        length = int(peer.read_head().lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while length:
            step = min(length, 2 << 20)
            peer.read_body(step)
            length -= step
            # Twelve pauses: longer together than the timeout, each shorter.
            time.sleep(0.05)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with faulty.server(take_slowly) as server:
        timeouts = trilane.Timeouts(write_idle_s=0.5, total_s=60.0)
        async with faulty.client(timeout=timeouts) as client:
            response = await client.upload(server.url(), bytes(size))

    assert response.status_code == 200
    assert response.profile is not None
    assert response.profile.failed is None


async def test_peer_that_never_answers(faulty: Faulty) -> None:
    with faulty.server(take_all_and_say_nothing) as server:
        async with faulty.client(timeout=trilane.Timeouts(read_idle_s=0.3)) as client:
            error = await failed_upload(client, server.url(), trilane.ReadTimeout)

    assert error.phase is Phase.WAIT
    profile = error.profile
    assert profile is not None
    assert profile.upload_complete
    assert profile.request_end is not None
    assert profile.failed is not None
    assert profile.failed - profile.request_end >= 300_000_000
    assert order_violations(profile) == []


async def test_peer_that_stops_in_the_middle_of_its_answer(faulty: Faulty) -> None:
    def answer_half(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        peer.hold()

    with faulty.server(answer_half) as server:
        async with faulty.client(timeout=trilane.Timeouts(read_idle_s=0.3)) as client:
            error = await failed_upload(client, server.url(), trilane.ReadTimeout)

    assert error.phase is Phase.RECEIVE
    assert error.profile is not None
    assert error.profile.status == 200


async def test_no_free_slot(faulty: Faulty) -> None:
    with faulty.server(take_all_and_say_nothing) as server:
        limits = trilane.Limits(parallel_requests=1)
        async with (
            patient(),
            faulty.client(limits=limits) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(client.upload, server.url(), b"first")
            await anyio.wait_all_tasks_blocked()
            waiting = trilane.Timeouts(pool_s=0.2)
            error = await failed_upload(client, server.url(), trilane.PoolTimeout, timeout=waiting)
            tasks.cancel_scope.cancel()

    assert error.phase is Phase.QUEUE
    assert error.profile is not None
    assert error.profile.queue_start is not None
    # It never got a slot.
    assert error.profile.queue_end is None


@pytest.mark.parametrize(
    ("script", "size", "phase"),
    [
        (take_the_head_only, LARGE_BYTES, Phase.SEND),
        (take_all_and_say_nothing, 100, Phase.WAIT),
    ],
    ids=["send", "wait"],
)
async def test_whole_call_has_an_end(
    faulty: Faulty, script: Script, size: int, phase: Phase
) -> None:
    with faulty.server(script) as server:
        async with faulty.client(timeout=0.5) as client:
            started = time.monotonic()
            error = await failed_upload(
                client, server.url(), trilane.TotalTimeout, file=bytes(size)
            )
            took = time.monotonic() - started

    assert error.phase is phase
    assert 0.5 <= took < 5.0
    assert isinstance(error, TimeoutError)


async def test_connection_of_a_timed_out_upload_is_not_used_again(faulty: Faulty) -> None:
    with faulty.server(take_all_and_say_nothing, answer()) as server:
        async with faulty.client() as client:
            await failed_upload(client, server.url(), trilane.TotalTimeout, timeout=0.3)
            async with patient():
                response = await client.upload(server.url(), b"payload")

    assert response.status_code == 200
    assert server.accepted == 2
