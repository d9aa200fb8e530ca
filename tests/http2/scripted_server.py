"""An h2 server on the virtual network, and a driver connected to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

from tests.http2.client import upload_head
from trilane.transport.config import HttpVersion, Limits, Timeouts
from trilane.transport.connections.connection import next_connection_id
from trilane.transport.connections.exchange import Exchange, Progress, RawResponse
from trilane.transport.connections.http2 import Http2Connection
from trilane.transport.errors import ConnectionLost
from trilane.transport.net.memory import Link, MemoryStream, memory_pair
from trilane.transport.net.stream import ByteStream
from trilane.transport.profile.moments import ConnectionFacts, DialRecord
from trilane.transport.profile.recorder import Leg, Recorder


class H2Server:
    """Collects bodies and calls `on_event`; by default credits windows and answers at the end."""

    def __init__(self, stream: MemoryStream, window: int) -> None:
        self.stream = stream
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.increment_flow_control_window(1 << 24)
        self.bodies: dict[int, bytearray] = {}
        self.ended: list[int] = []
        self.resets: dict[int, int] = {}
        self.acknowledged_settings = 0
        self.pongs = 0
        self.cancel_client: Callable[[], None]
        """Cancels the driver's task, as the client's task group does when it is left."""
        self.on_event: Callable[[Event], None] = self.serve_event
        self.changed = anyio.Event()
        self.closed = anyio.Event()

    async def serve(self) -> None:
        """Read and answer until the connection is over."""
        try:
            await self.flush()
            while data := await self.stream.receive():
                for event in self.h2.receive_data(data):
                    self._note(event)
                    self.on_event(event)
                changed, self.changed = self.changed, anyio.Event()
                changed.set()
                await self.flush()
        except ConnectionLost:
            pass  # the client broke off, or the test did
        finally:
            self.stream.close()
            self.closed.set()

    async def flush(self) -> None:
        """Send what h2 has to say."""
        data = self.h2.data_to_send()
        if data:
            await self.stream.send(data)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until what was received makes the condition true."""
        while not condition():
            await self.changed.wait()

    def serve_event(self, event: Event) -> None:
        """The ordinary server: take everything, answer with the body's length."""
        if isinstance(event, DataReceived) and event.flow_controlled_length:
            # Not h2's own way, which forgets the window it owes when the window shrinks.
            self.h2.increment_flow_control_window(event.flow_controlled_length)
            if event.stream_ended is None:
                self.h2.increment_flow_control_window(event.flow_controlled_length, event.stream_id)
        if isinstance(event, StreamEnded):
            self.respond(event.stream_id, 200, str(len(self.bodies[event.stream_id])).encode())

    def respond(self, stream_id: int, status: int, body: bytes = b"") -> None:
        """Answer completely."""
        self.h2.send_headers(stream_id, [(b":status", str(status).encode())], end_stream=not body)
        if body:
            self.h2.send_data(stream_id, body, end_stream=True)

    def _note(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self.bodies[event.stream_id] = bytearray()
            case DataReceived():
                self.bodies[event.stream_id] += event.data
            case StreamEnded():
                self.ended.append(event.stream_id)
            case SettingsAcknowledged():
                self.acknowledged_settings += 1
            case PingAckReceived():
                self.pongs += 1
            case StreamReset():
                self.resets[event.stream_id] = int(event.error_code or 0)
            case _:
                pass


@asynccontextmanager
async def connected(
    *, window: int = 1 << 20, limits: Limits | None = None, to_server: Link | None = None
) -> AsyncIterator[tuple[Http2Connection, H2Server]]:
    """A running driver and its server; both end with the block."""
    near, far = memory_pair(clock=time.monotonic_ns, to_server=to_server)
    async with driving(near, far, window=window, limits=limits) as both:
        yield both


@asynccontextmanager
async def driving(
    near: ByteStream, far: MemoryStream, *, window: int = 1 << 20, limits: Limits | None = None
) -> AsyncIterator[tuple[Http2Connection, H2Server]]:
    """A driver on one stream, and a server on the one it leads to."""
    facts = ConnectionFacts(
        connection_id=next_connection_id(),
        version=HttpVersion.HTTP2,
        peer=near.peer,
        local=near.local,
        tls=None,
        dial=DialRecord(),
    )
    connection, server = Http2Connection(near, facts, limits or Limits()), H2Server(far, window)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            server.cancel_client = scope.cancel
            tasks.start_soon(_run, connection, scope)
            tasks.start_soon(server.serve)
            # From here on the client knows the windows it has.
            await server.wait_for(lambda: server.acknowledged_settings == 2)
            yield connection, server
            await connection.aclose()
            far.close()


async def _run(connection: Http2Connection, scope: anyio.CancelScope) -> None:
    with scope:
        await connection.run()


class PatternBody:
    """A body of `length` bytes that depend on where they are."""

    rewindable = True

    def __init__(self, length: int, *, announced: bool = True) -> None:
        self.size = length
        self.length = length if announced else None
        self.closed = 0

    @property
    def content(self) -> bytes:
        """All of it."""
        return bytes(byte * 7 % 251 for byte in range(256)) * (self.size // 256 + 1)

    def in_memory(self) -> None:
        """It is to be read."""

    async def open(self) -> PatternReader:
        """Begin a pass."""
        return PatternReader(self)


class PatternReader:
    """One pass over a `PatternBody`."""

    def __init__(self, body: PatternBody) -> None:
        self._body = body
        self._content = memoryview(body.content)[: body.size]

    async def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer."""
        count = min(len(buffer), len(self._content))
        buffer[:count] = self._content[:count]
        self._content = self._content[count:]
        return count

    async def aclose(self) -> None:
        """Count."""
        self._body.closed += 1


class Upload:
    """One exchange and what was recorded of it."""

    def __init__(
        self,
        size: int,
        *,
        announced: bool = True,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.body = PatternBody(size, announced=announced)
        self.recorder = Recorder()
        self.leg: Leg = self.recorder.begin_leg("https://example.test/upload?x=1")
        self.progress: list[Progress] = []
        self.exchange = Exchange(
            head=upload_head(self.body.length),
            body=self.body,
            recorder=self.recorder,
            timeouts=timeouts or Timeouts(),
            limits=limits or Limits(),
            on_progress=self.progress.append,
        )
        self.response: RawResponse | None = None
        self.error: Exception | None = None

    async def run(self, connection: Http2Connection) -> RawResponse:
        """Carry it out."""
        self.recorder.use_connection(connection.facts, reused=False)
        self.response = await connection.exchange(self.exchange)
        return self.response

    async def attempt(self, connection: Http2Connection) -> None:
        """Carry it out and keep the error, for a task of its own."""
        try:
            await self.run(connection)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error = error
