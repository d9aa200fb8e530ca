"""A short request that is alone is written by its own task, as far as the network takes it."""

from __future__ import annotations

from typing import cast

import anyio
import anyio.lowlevel
import pytest
from h2.errors import ErrorCodes

from tests.http2.scripted_server import Upload, driving
from tests.http2.test_bulk_files import FileUpload, connected
from tests.net.tls_support import both_ends
from tests.peers.certificates import Certificates
from trilane.transport.errors import ConnectionLost, Phase, TotalTimeout
from trilane.transport.net.memory import Link, MemoryStream, memory_pair
from trilane.transport.net.tls import TlsStream
from trilane.transport.sources.joined import content_body

CONTENT = bytes(range(256)) * 100


async def upload_of(content: bytes) -> FileUpload:
    return FileUpload(await content_body(content))


@pytest.fixture
def promptly(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each prompt write was taken whole."""
    results: list[bool] = []
    send_whole = TlsStream.send_whole

    def noting(stream: TlsStream, data: bytes) -> bool:
        results.append(False)
        results[-1] = send_whole(stream, data)
        return results[-1]

    monkeypatch.setattr(TlsStream, "send_whole", noting)
    return results


@pytest.mark.parametrize("buffer_bytes", [300, 1 << 20])
async def test_what_does_not_fit_is_written_by_the_writer(
    certificates: Certificates, promptly: list[bool], buffer_bytes: int
) -> None:
    link = Link(buffer_bytes=buffer_bytes)
    async with connected(certificates, to_server=link) as (connection, server):
        for stream_id in (1, 3, 5):
            upload = await upload_of(CONTENT)
            await upload.run(connection)
            assert bytes(server.bodies[stream_id]) == CONTENT
            assert upload.leg.body_sent_bytes == len(CONTENT)
            assert upload.leg.upload_complete
        assert promptly == [buffer_bytes > len(CONTENT)] * 3


async def test_the_writer_takes_together_what_many_have_queued(
    certificates: Certificates, promptly: list[bool]
) -> None:
    async with connected(certificates) as (connection, server):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon((await upload_of(CONTENT)).run, connection)
        assert [bytes(body) for body in server.bodies.values()] == [CONTENT] * 5
        assert len(promptly) <= 1


async def test_cancelling_leaves_the_rest_to_the_writer(
    certificates: Certificates, promptly: list[bool]
) -> None:
    async with connected(certificates, to_server=Link(buffer_bytes=300)) as (connection, server):
        upload = await upload_of(CONTENT)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await upload.run(connection)
        assert promptly == [False]
        response = await Upload(1000).run(connection)
        assert response.body == b"1000"
        assert bytes(server.bodies[1]) == CONTENT


async def test_a_broken_connection_ends_the_request(
    certificates: Certificates, promptly: list[bool]
) -> None:
    ours, theirs = memory_pair()
    async with (
        both_ends(certificates, ours, theirs) as (near, far),
        driving(near, cast(MemoryStream, far)) as (connection, _),
    ):
        theirs.reset()
        upload = await upload_of(CONTENT)
        await upload.attempt(connection)
        assert isinstance(upload.error, ConnectionLost)
        assert promptly == [False]
        assert not connection.is_alive()


@pytest.mark.parametrize("buffer_bytes", [3000, 1 << 20])
@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_deadline_ends_the_request_and_leaves_the_connection(
    certificates: Certificates, *, in_memory: bool, buffer_bytes: int
) -> None:
    """Whether it has left whole, in part, or its body has to be read."""
    async with connected(certificates, to_server=Link(buffer_bytes=buffer_bytes)) as both:
        connection, server = both
        server.on_event = lambda _event: None
        upload = await upload_of(CONTENT) if in_memory else Upload(len(CONTENT))
        upload.exchange.deadline_s = anyio.current_time() + 0.1
        await upload.attempt(connection)
        assert isinstance(upload.error, TotalTimeout)
        assert upload.error.phase is Phase.WAIT
        server.on_event = server.serve_event
        assert (await Upload(1000).run(connection)).body == b"1000"
        assert server.resets == {1: ErrorCodes.CANCEL}


async def test_a_deadline_is_kept_however_much_happens(certificates: Certificates) -> None:
    async with connected(certificates) as (connection, server):
        server.on_event = lambda _event: None
        upload = await upload_of(CONTENT)
        upload.exchange.deadline_s = anyio.current_time() + 0.02

        async def ring() -> None:
            while upload.error is None:
                for stream in connection.streams.values():
                    stream.wake()
                await anyio.lowlevel.checkpoint()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ring)
                await upload.attempt(connection)
        assert isinstance(upload.error, TotalTimeout)
