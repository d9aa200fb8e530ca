"""What the tests of HTTP/1.1 share: heads, bodies, connections, and a server made of h11."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import h11

from trilane.transport.body import Body
from trilane.transport.config import HttpVersion, Limits, Timeouts
from trilane.transport.connections.connection import next_connection_id
from trilane.transport.connections.exchange import Exchange, Progress
from trilane.transport.connections.http1 import Http1Connection
from trilane.transport.errors import ConnectionLost
from trilane.transport.message import Headers, RequestHead, ResponseHead, parse_url
from trilane.transport.net.memory import Link, MemoryStream, memory_pair
from trilane.transport.net.stream import ByteStream
from trilane.transport.profile.invariants import order_violations
from trilane.transport.profile.moments import ConnectionFacts, DialRecord
from trilane.transport.profile.profile import Profile, fold
from trilane.transport.profile.recorder import Recorder

URL = "http://example.test/upload"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def head(
    length: int | None = 0, method: str = "POST", headers: dict[str, str] | None = None
) -> RequestHead:
    return RequestHead(
        method=method, url=parse_url(URL), headers=Headers(headers or {}), content_length=length
    )


class TestBody:
    """A body in memory that gives at most `step` bytes at a time and never waits."""

    __test__ = False
    rewindable = True

    def __init__(
        self, data: bytes, *, announce: bool = True, step: int = 1 << 30, missing: int = 0
    ) -> None:
        self.length = len(data) + missing if announce else None
        self.data = data
        self.step = step
        self.readers: list[TestReader] = []

    def in_memory(self) -> None:
        return None

    async def open(self) -> TestReader:
        self.readers.append(TestReader(self))
        return self.readers[-1]


class TestReader:
    __test__ = False

    def __init__(self, body: TestBody) -> None:
        self._body = body
        self._at = 0
        self.closed = False

    async def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), self._body.step)
        piece = self._body.data[self._at : self._at + count]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    async def aclose(self) -> None:
        self.closed = True


def body_of(size: int) -> TestBody | None:
    """A body of some size; none at all for 0."""
    return TestBody(b"x" * size) if size else None


@dataclass
class Sending:
    """One exchange to be made, and what was told about it."""

    exchange: Exchange
    progress: list[Progress]
    heads: list[ResponseHead]

    @property
    def recorder(self) -> Recorder:
        return self.exchange.recorder

    def profile(self) -> Profile:
        return fold(self.recorder)

    def check_order(self) -> None:
        assert order_violations(self.profile()) == []


def sending(
    body: Body | None = None,
    *,
    connection: Http1Connection,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    expect_continue: bool = False,
    high_performance: bool = True,
) -> Sending:
    recorder = Recorder()
    leg = recorder.begin_leg(URL)
    leg.body_bytes = body.length if body is not None else None
    recorder.use_connection(connection.facts, reused=False)
    progress: list[Progress] = []
    heads: list[ResponseHead] = []
    exchange = Exchange(
        head=head(body.length if body is not None else 0, method, headers),
        body=body,
        recorder=recorder,
        timeouts=timeouts or Timeouts(),
        limits=limits or Limits(),
        expect_continue=expect_continue,
        on_progress=progress.append,
        on_head=heads.append,
        high_performance=high_performance,
    )
    return Sending(exchange, progress, heads)


def connection_over(stream: ByteStream, limits: Limits | None = None) -> Http1Connection:
    now = time.monotonic_ns()
    facts = ConnectionFacts(
        connection_id=next_connection_id(),
        version=HttpVersion.HTTP1,
        peer=stream.peer,
        local=stream.local,
        tls=stream.tls,
        dial=DialRecord(connect_start=now, tcp_connected=now, connect_end=now),
    )
    return Http1Connection(stream, facts, limits or Limits())


@dataclass
class Seen:
    """A request as the server read it."""

    method: str
    headers: list[tuple[bytes, bytes]]
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False


async def serve_h11(stream: MemoryStream, seen: list[Seen]) -> None:
    """Answer every request with 200 once it has been read, until the client closes."""
    server = h11.Connection(h11.SERVER)
    try:
        while True:
            await _answer_one(server, stream, seen)
            if server.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                return
            server.start_next_cycle()
    except (ConnectionLost, h11.RemoteProtocolError):
        return
    finally:
        stream.close()


async def _answer_one(server: h11.Connection, stream: MemoryStream, seen: list[Seen]) -> None:
    while True:
        event = server.next_event()
        match event:
            case h11.Request():
                seen.append(Seen(event.method.decode(), list(event.headers)))
                if server.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await stream.send(server.send(go_on))
            case h11.Data():
                seen[-1].body += event.data
            case h11.EndOfMessage():
                seen[-1].complete = True
                answer = h11.Response(
                    status_code=200, reason="OK", headers=[("Content-Length", "2")]
                )
                await stream.send(
                    server.send(answer)
                    + server.send(h11.Data(data=b"ok"))
                    + server.send(h11.EndOfMessage())
                )
                return
            case h11.ConnectionClosed():
                raise ConnectionLost("the client has closed")
            case _:
                server.receive_data(await stream.receive())


@asynccontextmanager
async def virtual_connection(
    script: Callable[[MemoryStream], Coroutine[object, object, None]] | None = None,
    *,
    limits: Limits | None = None,
    to_server: Link | None = None,
    to_client: Link | None = None,
    seed: int = 0,
) -> AsyncIterator[tuple[Http1Connection, MemoryStream]]:
    """A connection over the virtual network; `script` runs as the server."""
    client, server = memory_pair(
        seed=seed, to_server=to_server, to_client=to_client, clock=time.monotonic_ns
    )
    connection = connection_over(client, limits)
    async with anyio.create_task_group() as tasks:
        if script is not None:
            tasks.start_soon(script, server)
        yield connection, server
        await connection.aclose()
        tasks.cancel_scope.cancel()
    server.close()


async def read_head(stream: MemoryStream) -> bytes:
    """Read up to the empty line; what was read beyond it comes back too."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive()
        assert more, "the client closed before the end of its head"
        data += more
    return data
