"""Long bodies with real files over a loopback socket: sent by range, and the files let go of."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.http3.pair import ServerSide
from tests.http3.udp_server import serving
from tests.http3.uploads import BytesBody, Dialling, make_exchange
from tests.peers.certificates import Certificates
from trilane.transport.body import Body, FileRange
from trilane.transport.config import QuicOptions
from trilane.transport.connections import http3_body
from trilane.transport.connections.exchange import Exchange, Progress
from trilane.transport.connections.file_content import FileContent
from trilane.transport.connections.http3 import Http3Connection
from trilane.transport.errors import SourceError, SourceSizeChanged
from trilane.transport.multipart import Part, multipart_body
from trilane.transport.net.sendfile import make_resident
from trilane.transport.sources.joined import content_body

PATIENCE_S = 20.0
CONTENT = random.Random(7).randbytes(1_000_000)


@pytest.fixture
def side(certificates: Certificates) -> Callable[[], ServerSide]:
    return lambda: ServerSide(certificates.server)


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(CONTENT)
    return path


async def carry(connection: Http3Connection, exchange: Exchange) -> Exchange:
    exchange.recorder.use_connection(connection.facts, reused=False)
    assert (await connection.exchange(exchange)).head.status == 200
    return exchange


def descriptors(path: Path) -> int:
    """How many descriptors this process has for a file."""
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return sum(link.exists() and link.samefile(path) for link in links)


async def let_go(path: Path) -> None:
    with anyio.fail_after(PATIENCE_S):
        while descriptors(path):
            await anyio.sleep(0.005)


@pytest.mark.parametrize("high_performance", [True, False])
async def test_files_between_form_fields(
    certificates: Certificates,
    side: Callable[[], ServerSide],
    big_file: Path,
    tmp_path: Path,
    high_performance: bool,
) -> None:
    medium, small = tmp_path / "medium.bin", tmp_path / "small.bin"
    medium.write_bytes(CONTENT[:200_000])
    small.write_bytes(b"small")
    files = [Part("a", big_file), Part("b", small), Part("c", medium)]
    body = await multipart_body([("key", "value")], files)
    seen: list[Progress] = []
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            async with Dialling(certificates).connection(server.url()) as connection:
                exchange = make_exchange(
                    server.url(), body, on_progress=seen.append, high_performance=high_performance
                )
                await carry(connection, exchange)
                await let_go(big_file)
            [request] = server.sides[0].requests.values()

    assert request.body.count(CONTENT) == 1
    assert CONTENT[:200_000] + b"\r\n--" in request.body
    assert b"\r\n\r\nsmall\r\n--" in request.body
    assert len(request.body) == body.length
    leg = exchange.recorder.leg
    assert leg.high_performance is high_performance
    assert (leg.body_sent_bytes, leg.upload_complete) == (body.length, True)
    assert [one.sent for one in seen] == sorted(one.sent for one in seen)
    assert seen[-1].sent == seen[-1].total == body.length


async def test_a_disk_slower_than_the_network(
    certificates: Certificates,
    side: Callable[[], ServerSide],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "longer than what is queued at once"
    path.write_bytes(CONTENT * 2)

    async def slowly(fd: int, offset: int, count: int) -> None:
        # Everything before is acknowledged meanwhile, so nothing else wakes the sender.
        await anyio.sleep(0.3)
        await make_resident(fd, offset, count)

    monkeypatch.setattr(http3_body, "make_resident", slowly)
    # The next thing to wake it would be a keep-alive after 10 s.
    with anyio.fail_after(8.0):
        async with serving(side) as server:
            async with Dialling(certificates).connection(server.url()) as connection:
                await carry(connection, make_exchange(server.url(), await content_body(path)))
            [request] = server.sides[0].requests.values()

    assert bytes(request.body) == CONTENT * 2


async def test_a_short_body_is_no_bulk(
    certificates: Certificates, side: Callable[[], ServerSide], tmp_path: Path
) -> None:
    path = tmp_path / "short.bin"
    path.write_bytes(CONTENT[:100_000])
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(side) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            exchange = make_exchange(server.url(), await content_body(path))
            await carry(connection, exchange)

    assert not exchange.recorder.leg.high_performance


async def test_a_qlog_takes_the_place_of_trains(
    certificates: Certificates, side: Callable[[], ServerSide], big_file: Path, tmp_path: Path
) -> None:
    logs = tmp_path / "qlog"
    logs.mkdir()
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            dialling = Dialling(certificates, quic=QuicOptions(qlog_dir=str(logs)))
            async with dialling.connection(server.url()) as connection:
                exchange = make_exchange(server.url(), await content_body(big_file))
                await carry(connection, exchange)
            [request] = server.sides[0].requests.values()

    assert bytes(request.body) == CONTENT
    assert not exchange.recorder.leg.high_performance


class ShrinkingBody:
    """A file that loses its second half once some of it was sent."""

    def __init__(self, body: Body, path: Path) -> None:
        self._body = body
        self.path = path
        self.length = body.length
        self.rewindable = True
        self.open = body.open
        self.in_memory = body.in_memory

    def shrink(self, progress: Progress) -> None:
        if progress.sent:
            os.truncate(self.path, 500_000)


async def test_a_file_that_shrinks_ends_its_request_only(
    certificates: Certificates, side: Callable[[], ServerSide], big_file: Path
) -> None:
    body = ShrinkingBody(await content_body(big_file), big_file)
    with anyio.fail_after(PATIENCE_S):
        async with serving(side) as server:
            async with Dialling(certificates).connection(server.url()) as connection:
                exchange = make_exchange(server.url(), body, on_progress=body.shrink)
                exchange.recorder.use_connection(connection.facts, reused=False)
                with pytest.raises(SourceSizeChanged):
                    await connection.exchange(exchange)
                await let_go(big_file)
                assert connection.is_alive()
                await carry(connection, make_exchange(server.url(), BytesBody(CONTENT)))
            cut, whole = server.sides[0].requests.values()

    assert not cut.ended
    assert CONTENT.startswith(bytes(cut.body))
    assert bytes(whole.body) == CONTENT


async def test_cancelling_lets_go_of_the_file(
    certificates: Certificates, side: Callable[[], ServerSide], big_file: Path
) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(side) as server,
            Dialling(certificates).connection(server.url()) as connection,
        ):
            body = await content_body(big_file)
            with anyio.CancelScope() as scope:
                exchange = make_exchange(
                    server.url(), body, on_progress=lambda _progress: scope.cancel()
                )
                exchange.recorder.use_connection(connection.facts, reused=False)
                await connection.exchange(exchange)
            assert scope.cancelled_caught
            await let_go(big_file)
            await carry(connection, make_exchange(server.url(), BytesBody(CONTENT)))


def test_content_is_read_at_any_offset_while_anyone_uses_it(big_file: Path) -> None:
    with big_file.open("rb") as file:
        content = FileContent(FileRange(file.fileno(), 0, len(CONTENT) - 1))
    content.retain()
    content.close()
    view = memoryview(bytearray(1000))
    content.read_into(900_000, view)
    assert bytes(view) == CONTENT[900_000:901_000]

    os.truncate(big_file, 500_000)
    with pytest.raises(SourceSizeChanged) as caught:
        content.read_into(499_500, view)
    assert (caught.value.declared_bytes, caught.value.actual_bytes) == (len(CONTENT), 500_000)

    content.close()
    assert descriptors(big_file) == 0


def test_a_closed_descriptor_cannot_be_taken_over() -> None:
    with pytest.raises(SourceError):
        FileContent(FileRange(-1, 0, 100))
