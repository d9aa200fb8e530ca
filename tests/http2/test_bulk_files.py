"""Long files over TLS: named when queued, read when they are encrypted, and let go of."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import pytest
from h2.events import DataReceived, Event
from hypothesis import given
from hypothesis import strategies as st

from tests.http2.scripted_server import H2Server, Upload, driving
from tests.net.tls_support import both_ends
from tests.peers.certificates import Certificates
from trilane.transport.body import Body, FileRange, FileRangeReader
from trilane.transport.connections.file_content import FileContent
from trilane.transport.connections.http2 import Http2Connection
from trilane.transport.connections.http2_body import LONGEST_TURN_BYTES, RangeFeed
from trilane.transport.errors import SourceError, SourceSizeChanged
from trilane.transport.multipart import Part, multipart_body
from trilane.transport.net.memory import Link, MemoryStream, memory_pair
from trilane.transport.net.stream import LONGEST_FILL_BYTES
from trilane.transport.protocols.http2_frames import data_frames, data_headers
from trilane.transport.protocols.tls_records import RecordRoom
from trilane.transport.sources.joined import content_body

CONTENT = random.Random(5).randbytes(1_500_000)


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(CONTENT)
    return path


class FileUpload(Upload):
    def __init__(self, body: Body, *, high_performance: bool = True) -> None:
        super().__init__(body.length or 0)
        self.exchange.body = body
        self.exchange.high_performance = high_performance


@asynccontextmanager
async def connected(
    certificates: Certificates, *, window: int = 1 << 20, to_server: Link | None = None
) -> AsyncIterator[tuple[Http2Connection, H2Server]]:
    pair = memory_pair(to_server=to_server)
    async with (
        both_ends(certificates, *pair) as (near, far),
        driving(near, cast(MemoryStream, far), window=window) as both,
    ):
        yield both


def descriptors(path: Path) -> int:
    """How many descriptors this process has for a file."""
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return sum(link.exists() and link.samefile(path) for link in links)


@pytest.mark.parametrize("window", [8000, 65535, 1 << 20])
@pytest.mark.parametrize("high_performance", [True, False])
async def test_files_between_form_fields_and_small_requests(
    certificates: Certificates, big_file: Path, window: int, high_performance: bool
) -> None:
    files = [Part("a", big_file), Part("b", b"small"), Part("c", big_file)]
    async with connected(certificates, window=window) as (connection, server):
        for _ in range(2):
            body = await multipart_body([("key", "value")], files)
            upload = FileUpload(body, high_performance=high_performance)
            await upload.run(connection)
            assert descriptors(big_file) == 0
            received = bytes(server.bodies[server.ended[-1]])
            assert len(received) == body.length
            assert received.count(CONTENT + b"\r\n--") == 2
            assert b"small\r\n--" in received
            assert upload.leg.high_performance is high_performance
            assert upload.leg.body_sent_bytes == upload.leg.body_acked_bytes == body.length
            assert body.length < upload.leg.sent_bytes < body.length * 1.05
            response = await Upload(1000).run(connection)
            assert response.body == b"1000"


async def test_uploads_share_the_connection(certificates: Certificates, big_file: Path) -> None:
    async with connected(certificates, window=100_000) as (connection, server):
        await Upload(1).run(connection)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                upload = FileUpload(await content_body(big_file))
                tasks.start_soon(upload.run, connection)
                tasks.start_soon(Upload(200_000).run, connection)
        lengths = sorted(len(body) for body in server.bodies.values())
        assert lengths == [1, *[200_000] * 5, *[len(CONTENT)] * 5]
        assert sum(bytes(body) == CONTENT for body in server.bodies.values()) == 5


async def test_a_file_that_shrinks_ends_its_stream_only(
    certificates: Certificates, big_file: Path
) -> None:
    async with connected(certificates, window=300_000) as (connection, server):
        await Upload(1).run(connection)
        upload = FileUpload(await content_body(big_file))

        def shrink(event: Event) -> None:
            if isinstance(event, DataReceived) and event.stream_id == 3:
                os.truncate(big_file, 320_000)
            server.serve_event(event)

        server.on_event = shrink
        await upload.attempt(connection)
        assert isinstance(upload.error, SourceError)
        assert descriptors(big_file) == 0
        await server.wait_for(lambda: bool(server.resets))
        response = await Upload(700_000).run(connection)
        assert response.body == b"700000"


async def test_a_cancelled_upload_lets_go_of_its_file(
    certificates: Certificates, big_file: Path
) -> None:
    async with connected(certificates, window=300_000) as (connection, server):
        await Upload(1).run(connection)
        server.on_event = lambda _: None
        upload = FileUpload(await content_body(big_file))
        with anyio.move_on_after(0.05) as scope:
            await upload.run(connection)
        assert scope.cancelled_caught
        assert descriptors(big_file) == 0
        server.on_event = server.serve_event
        await server.wait_for(lambda: bool(server.resets))
        response = await Upload(100_000).run(connection)
        assert response.body == b"100000"


async def test_being_cancelled_within_a_turn_harms_nobody_else(
    certificates: Certificates, big_file: Path
) -> None:
    link = Link(buffer_bytes=50_000, rate_bytes_per_s=2_000_000)
    async with connected(certificates, to_server=link) as (connection, server):
        await Upload(1).run(connection)
        upload = FileUpload(await content_body(big_file))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload.run, connection)
            await server.wait_for(lambda: bool(server.bodies.get(3)))
            tasks.cancel_scope.cancel()
        recorded = list(upload.leg.times), upload.leg.body_sent_bytes
        response = await Upload(1000).run(connection)
        assert response.body == b"1000"
        # What a turn that had begun came to is nothing that a finished record is told of.
        assert (upload.leg.times, upload.leg.body_sent_bytes) == recorded


async def test_a_connection_that_closes_lets_go_of_files(
    certificates: Certificates, big_file: Path
) -> None:
    async with connected(certificates, to_server=Link(buffer_bytes=50_000)) as (connection, server):
        await Upload(1).run(connection)
        server.on_event = lambda _: server.stream.close()
        upload = FileUpload(await content_body(big_file))
        await upload.attempt(connection)
        assert upload.error is not None
    assert descriptors(big_file) == 0


@given(st.integers(1, LONGEST_TURN_BYTES), st.integers(16384, 1 << 20))
def test_a_turn_is_laid_out_like_frames_from_memory(count: int, frame_bytes: int) -> None:
    expected = data_frames(7, memoryview(CONTENT)[10 : 10 + count], frame_bytes, end=False)
    room = RecordRoom(17, None)
    assert room.byte_count >= LONGEST_FILL_BYTES
    assert len(expected) <= LONGEST_FILL_BYTES
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        feed = RangeFeed(cast(FileRangeReader, None))
        feed.begin(FileRange(file.fileno(), 10, count))
        feed.fill(room, data_headers(7, count, frame_bytes))
        feed.close()
    assert b"".join(room.places(0, len(expected))) == expected


@pytest.mark.parametrize("short", [True, False])
def test_places_are_filled_whatever_a_read_gives(
    big_file: Path, monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    fd = os.open(big_file, os.O_RDONLY)
    content = FileContent(FileRange(fd, 0, len(CONTENT) - 1))
    os.close(fd)
    places = [memoryview(bytearray(size)) for size in (5, 10_000, 3)]
    if short:
        real = os.preadv
        monkeypatch.setattr(os, "preadv", lambda fd, views, at: real(fd, [views[0][:7]], at))
    content.read_into_places(100, sum(map(len, places)), places)
    assert b"".join(places) == CONTENT[100:10_108]
    os.truncate(big_file, 5000)
    with pytest.raises(SourceSizeChanged):
        content.read_into_places(100, sum(map(len, places)), places)
    content.close()
