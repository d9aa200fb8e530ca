"""HTTP/2 on a byte stream: one reader task and one writer task around the sans-IO machine.

Requests only call the machine, wake the writer, or write without waiting, so cancelling one can
never leave half a frame on the wire; only the writer waits, and when it fails or is cancelled, the
connection ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum, auto

import anyio

from ..body import BodyReader, FileRange, FileRangeReader
from ..config import Limits
from ..errors import (
    ClientClosed,
    ConnectionLost,
    RemoteProtocolError,
    ResponseTooLarge,
    SourceError,
    TransportError,
)
from ..net.stream import ByteStream, FilledStream, PromptStream
from ..net.transmit_stamps import SentSpan
from ..profile.moments import ConnectionFacts, Ns
from ..profile.recorder import Reading
from ..protocols.events import (
    BodyAcked,
    ConnectionTerminated,
    Event,
    GoAwayReceived,
    StreamLimitChanged,
)
from ..protocols.http2 import Http2Machine
from ..protocols.http2_frames import HEADER_BYTES
from ..protocols.http2_queue import OutChunk
from .connection import ConnectionState
from .exchange import Exchange
from .http2_body import RangeFeed, is_bulk, turn_of_one
from .kernel_moments import enter_stamps
from .multiplexed import TURN_BYTES, MultiplexedConnection
from .request_stream import RequestStream
from .tcp_sample import TcpReading

#: Most bytes of one write: what a cancelled write may leave unknown, and what a stop waits for.
WRITE_BYTES = 256 * 1024
#: Chunks of this size are not copied into one write with others.
JOIN_BYTES = 64 * 1024
#: How long GOAWAY may take to be written when the connection is closed.
GOODBYE_S = 0.5
#: How long an answer is awaited after a write failed: a server that refuses a body with 413 and
#: closes resets the connection, but its answer may be in our receive buffer already.
LAST_WORDS_S = 1.0


class _Life(Enum):
    """How far the connection has come."""

    OPEN = auto()
    #: No new requests; ends with the last running one.
    DRAINING = auto()
    #: GOAWAY is on its way out.
    LEAVING = auto()
    OVER = auto()


# By name: an enum's members are looked up each time.
_OPEN, _DRAINING, _LEAVING, _OVER = _Life
_STATE_OPEN = ConnectionState.OPEN


class Http2Connection(MultiplexedConnection):
    """A `Connection` that speaks HTTP/2."""

    machine: Http2Machine
    longest_turn_bytes = WRITE_BYTES

    def __init__(self, stream: ByteStream, facts: ConnectionFacts, limits: Limits) -> None:
        """Take over a connected stream; `run` must be started before the first request."""
        super().__init__()
        self.facts = facts
        self.machine = Http2Machine(limits)
        self._stream = stream
        self._life = _Life.OPEN
        self._running = False
        self._wake: anyio.Event | None = None
        """What the writer waits on, while it has nothing to do."""
        self._leaving = anyio.Event()
        self._over = anyio.Event()
        self._stopped = anyio.Event()
        self._write_error: ConnectionLost | None = None
        self._filled = stream if isinstance(stream, FilledStream) else None
        self._prompt = stream if isinstance(stream, PromptStream) else None
        self._begun: list[OutChunk] = []
        """What was written at once, and of which the writer has the rest to write."""
        self._feeds: dict[int, RangeFeed] = {}
        self._ranges: dict[int, RangeFeed] = {}
        """Those that are within a range of a file; the writer takes turns of them in this order."""
        self._tells_acks = True
        self._spans: dict[int, SentSpan] = {}
        """Of the requests in progress, when the kernel makes stamps."""

    # --- what the pool asks -----------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """Whether it takes requests."""
        if self._life is _OPEN:
            return _STATE_OPEN
        return ConnectionState.DRAINING if self._life is _DRAINING else ConnectionState.CLOSED

    @property
    def available_requests(self) -> int:
        """How many more it takes now."""
        return self.machine.available_streams if self._life is _OPEN else 0

    def is_alive(self) -> bool:
        """Whether the reader still listens and has heard no GOAWAY."""
        return self._life is _OPEN

    def retire(self) -> None:
        """Take no more requests and close when the running ones are done."""
        if self._life is _Life.OPEN:
            self._life = _Life.DRAINING
        self.stream_finished()

    async def aclose(self) -> None:
        """Close now, after at most `GOODBYE_S` for saying so."""
        self.fail_all(ClientClosed("the client was closed"))
        self._leave()
        if self._running:
            with anyio.CancelScope(shield=True):
                await self._stopped.wait()

    async def run(self) -> None:
        """Read and write until the connection is over."""
        if self._life in (_Life.LEAVING, _Life.OVER):
            return
        self._running = True
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read)
                tasks.start_soon(self._write)
                await self._leaving.wait()
                with anyio.move_on_after(GOODBYE_S):
                    await self._over.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._end(ClientClosed("the client was closed"))
            self._stream.close()
            self._running = False
            self._stopped.set()

    # --- the reader -------------------------------------------------------------------------

    async def _read(self) -> None:
        if self._life is not _Life.OVER:
            try:
                await self._stream.receive_each(self._take)
            except ConnectionLost as error:
                self._end(error)

    def _take(self, data: bytes) -> bool:
        """Take what was read, without waiting for anyone; whether more is wanted."""
        read_ns = self._stream.read_ns
        concerned: list[RequestStream] = []
        for event in self.machine.receive_data(data):
            stream = self.note(event, read_ns)
            if stream is not None and stream not in concerned:
                concerned.append(stream)
        if not data:
            # Also where the machine was over before, and so has nothing to say of it.
            self._end(ConnectionLost("the server ended the connection"))
        else:
            self.kick()
            if self._life is _DRAINING:
                self.stream_finished()
        # They go on at once where that can be, so nothing is left to be done here.
        for stream in concerned:
            stream.wake_last()
        return self._life is not _OVER

    def heed(self, event: Event, at: Ns) -> None:  # noqa: ARG002 - hook
        """Take an event of the connection."""
        match event:
            case ConnectionTerminated():
                self._terminated(event)
            case GoAwayReceived() if self._life is _Life.OPEN:
                self._life = _Life.DRAINING
                self.on_room()
            case StreamLimitChanged():
                self.on_room()

    def _terminated(self, event: ConnectionTerminated) -> None:
        error: TransportError
        if event.too_large:
            error = ResponseTooLarge(event.reason)
        elif event.by_peer:
            error = ConnectionLost(event.reason)
        else:
            error = RemoteProtocolError(event.reason)
        if event.by_peer:
            self._end(error)
        else:
            self.fail_all(error)
            self._leave()

    # --- the writer -------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            while self._life is not _Life.OVER:
                if self._begun:
                    await self._finish_begun()
                wrote = bool(self._ranges) and await self._write_turn()
                if self.machine.has_output:
                    await self._flush()
                elif self._life is _Life.LEAVING:
                    break
                elif not wrote:
                    self._wake = anyio.Event()
                    await self._wake.wait()
        except ConnectionLost as error:
            await self._hear_last_words(error)
        else:
            self._end(ConnectionLost("the connection was closed"))

    async def _flush(self) -> None:
        for chunks in _writes(self._take_output(WRITE_BYTES)):
            self._begin_writes(chunks)
            if self._stream.stamps is not None:
                self._stream.stamps.sealing = any(chunk.end for chunk in chunks)
            data = chunks[0].data if len(chunks) == 1 else b"".join([c.data for c in chunks])
            await self._stream.send(data)
            self._flushed(chunks)

    def send_at_once(self, exchange: Exchange, content: bytes) -> RequestStream | None:
        """Begin a request and write all of it, if it is alone; see the base class."""
        prompt, size = self._prompt, len(content)
        if self.streams or prompt is None or not self._is_free(prompt, size):
            return None
        begun = self.machine.send_whole(exchange.head, content)
        if begun is None:
            return None
        stream_id, frames = begun
        stream = self.begin(stream_id, exchange, has_body=size > 0)
        stream.body_queued, stream.end_queued = size, True
        self._begin_write(stream)
        if self._write_now(prompt, frames):
            self._account(stream, size, None, end=True)
        else:
            self._leave_to_writer([OutChunk(stream_id, frames, size, end=True)])
        return stream

    def _is_free(self, prompt: PromptStream, byte_count: int) -> bool:
        """Whether so much may be written without the writer, who has nothing to do."""
        return (
            self._wake is not None and self._life is _OPEN and byte_count <= prompt.prompt_bytes > 0
        )

    def _write_promptly(self, prompt: PromptStream) -> None:
        """Write what waits without the writer."""
        chunks = self._take_output(None)
        self._begin_writes(chunks)
        if self._write_now(prompt, b"".join([chunk.data for chunk in chunks])):
            self._flushed(chunks)
        else:
            self._leave_to_writer(chunks)

    def _write_now(self, prompt: PromptStream, data: bytes) -> bool:
        """Write without waiting; whether everything was taken."""
        try:
            return prompt.send_whole(data)
        except ConnectionLost as error:
            self._write_error = error
            return False

    def _leave_to_writer(self, chunks: list[OutChunk]) -> None:
        self._begun = chunks
        self.kick()

    async def _finish_begun(self) -> None:
        if self._write_error is not None:
            raise self._write_error
        if self._prompt is not None:
            await self._prompt.send_rest()
        chunks, self._begun = self._begun, []
        self._flushed(chunks)

    def _take_output(self, limit_bytes: int | None) -> list[OutChunk]:
        batch = self.machine.transmit_chunks(limit_bytes)
        # What was taken made room for more.
        for event in self.machine.take_events():
            self.dispatch(event, time.monotonic_ns())
        return batch

    async def _write_turn(self) -> bool:
        """Write a turn of the next file range whose turn it is; False when none may be written."""
        for stream_id in self._ranges:
            stream = self.streams[stream_id]
            budget = 0 if stream.sending_over else self.machine.range_budget(stream_id)
            if budget > 0:
                break
        else:
            return False
        # From here on the others go first.
        feed = self._ranges[stream_id] = self._ranges.pop(stream_id)
        turn_bytes = turn_of_one(budget) if len(self.streams) == 1 else TURN_BYTES
        try:
            await self._write_range(stream, feed, min(feed.left, turn_bytes))
        except SourceError as error:
            self._ranges.pop(stream_id, None)
            stream.fail(error)
            stream.wake()
        return True

    async def _write_range(self, stream: RequestStream, feed: RangeFeed, count: int) -> None:
        await feed.make_resident(count)
        if self._filled is None or stream.stream_id not in self._ranges:
            return
        # The peer may have shrunk its window meanwhile, or another request used it.
        headers = self.machine.begin_range(stream.stream_id, count)
        if not headers:
            return
        count = sum([size for _, size in headers])
        wire_bytes = count + HEADER_BYTES * len(headers)
        try:
            await self._filled.send_filled(wire_bytes, lambda room: feed.fill(room, headers))
        except SourceError:
            self.machine.give_up_range(stream.stream_id, headers)
            raise
        if stream.stream_id not in self.streams:
            return  # it was given up meanwhile: its books and its reader are closed
        feed.took(count)
        stream.body_queued += count
        stream.moved_s = self.clock_s()
        stream.exchange.recorder.leg.high_performance = True
        acked_bytes = self._acked_wire_bytes() if stream.exchange.profile else None
        self._account(stream, count, acked_bytes, end=False)
        if not feed.left:
            self._ranges.pop(stream.stream_id, None)
            stream.wake()

    def _begin_writes(self, chunks: list[OutChunk]) -> None:
        for chunk in chunks:
            if (stream := self.streams.get(chunk.stream_id)) is not None:
                self._begin_write(stream)

    def _begin_write(self, stream: RequestStream) -> None:
        stamps = self._stream.stamps
        if stamps is not None and stream.exchange.profile and not stream.write_begun:
            self._spans[stream.stream_id] = stamps.begin(self._stream.wire.sent_bytes)
        stream.write_begun = True

    def _flushed(self, batch: list[OutChunk]) -> None:
        acked_bytes = self._acked_wire_bytes() if self._watches(batch) else None
        for chunk in batch:
            stream = self.streams.get(chunk.stream_id)
            # What follows the end (WINDOW_UPDATE for a long response) is no part of the request.
            if stream is not None and not stream.end_flushed:
                self._account(stream, chunk.body_bytes, acked_bytes, end=chunk.end)
                stream.wake()

    def _watches(self, batch: list[OutChunk]) -> bool:
        """Whether a body that goes on was written; after its end its own request asks."""
        ended = {chunk.stream_id for chunk in batch if chunk.end}
        going_on = (self.streams.get(c.stream_id) for c in batch if c.stream_id not in ended)
        return any(stream is not None and stream.exchange.profile for stream in going_on)

    def _account(
        self, stream: RequestStream, count: int, acked_bytes: int | None, *, end: bool
    ) -> None:
        """Note that bytes of a body were written, and what is acknowledged by now."""
        wire, ledger = self._stream, stream.ledger
        body_bytes, news = stream.body_sent + count, None
        if stream.exchange.profile:
            ledger.wrote(wire.wire.sent_bytes, body_bytes, end=end)
            if acked_bytes is not None and ledger.acknowledged(acked_bytes):
                news = ledger.acked_body_bytes
        if end and wire.stamps is not None:
            span = self._spans.get(stream.stream_id)
            if span is not None:
                wire.stamps.end(span, wire.wire.sent_bytes)
        began_ns, ended_ns = wire.write_started_ns, wire.write_ended_ns
        stream.took(body_bytes, began_ns, ended_ns, end=end, acked_bytes=news)
        if news is not None:
            stream.acked(news, ledger.finished)

    async def _hear_last_words(self, error: ConnectionLost) -> None:
        """Nothing can be written any more; leave the reader a moment for what has arrived."""
        self._write_error = error
        if self._life is _Life.OPEN:
            self._life = _Life.DRAINING
        self.stream_finished()
        with anyio.move_on_after(LAST_WORDS_S):
            await self._over.wait()
        self._end(error)

    # --- long files -------------------------------------------------------------------------

    async def queue_body(self, stream: RequestStream, reader: BodyReader) -> None:
        """Queue the body, and have the writer take ranges of files where that is possible."""
        filled = self._filled
        bulk = filled is not None and is_bulk(stream.exchange)
        if filled is None or not bulk or not isinstance(reader, FileRangeReader):
            await super().queue_body(stream, reader)
            return
        feed = self._feeds[stream.stream_id] = RangeFeed(reader)
        buffer = self.turn_buffer(stream)
        more = True
        while more and not stream.sending_over:
            found = feed.next_range()
            if found is not None:
                await self._wait_queued(stream)
            if found is None or not filled.begin_bulk():
                more = await self.queue_read(stream, reader, buffer)
            elif not stream.sending_over:
                await self._go_through(stream, feed, found)

    async def _wait_queued(self, stream: RequestStream) -> None:
        """Wait until all that was queued of a request is written, its head, too."""
        while not stream.sending_over and (
            not stream.write_begun or stream.body_sent < stream.body_queued
        ):
            await self.wait_writable(stream)

    async def _go_through(self, stream: RequestStream, feed: RangeFeed, found: FileRange) -> None:
        """Wait until the writer has written a range."""
        feed.begin(found)
        self._ranges[stream.stream_id] = feed
        self.kick()
        try:
            while feed.left and not stream.sending_over:
                await self.wait_writable(stream)
        finally:
            self._ranges.pop(stream.stream_id, None)

    # --- hooks ------------------------------------------------------------------------------

    def kick(self) -> None:
        """Wake the writer, if there may be anything for it."""
        wake, life = self._wake, self._life
        if wake is None:
            return
        work = self.machine.has_output or self._begun or self._ranges
        if work or life is _LEAVING or life is _OVER:
            self._wake = None
            wake.set()

    def push(self) -> None:
        """Write a request that is alone at once, if the writer has nothing to do.

        When there are others, the writer takes together what all of them have queued.
        """
        prompt = self._prompt
        waiting = self.machine.output_bytes
        alone = len(self.streams) == 1
        if prompt is not None and alone and waiting and self._is_free(prompt, waiting):
            self._write_promptly(prompt)
        else:
            self.kick()

    def take_reading(self, stream: RequestStream) -> Reading:
        """TCP's figures now; they say as well how much of the request was acknowledged."""
        reading = TcpReading(self._stream, time.monotonic_ns)
        if reading.acked_bytes is not None:
            _take_acks(stream, reading.acked_bytes, reading.at)
        return reading

    def awaits_ack(self, stream: RequestStream) -> bool:
        """Whether the kernel is yet to be asked about a request that has left."""
        return (
            stream.end_flushed
            and not stream.ledger.finished
            and stream.exchange.profile
            and self._tells_acks
        )

    def poll_acked(self, stream: RequestStream) -> None:
        """Ask the kernel how much of the request was acknowledged."""
        if stream.ledger.finished or not stream.exchange.profile:
            return
        acked_bytes = self._acked_wire_bytes()
        self._tells_acks = acked_bytes is not None
        if acked_bytes is not None:
            _take_acks(stream, acked_bytes)

    def acked_body_bytes(self, stream: RequestStream, event: BodyAcked) -> int:  # noqa: ARG002 - hook
        """Never asked: TCP acknowledges a connection's bytes, `poll_acked` assigns them."""
        raise RuntimeError("HTTP/2 has no acknowledgements of streams")

    def close_books(self, stream: RequestStream) -> None:
        """Enter what the kernel noted about the writes that held the request's ends."""
        if self._feeds:
            feed = self._feeds.pop(stream.stream_id, None)
            if feed is not None:
                feed.close()
        if self._spans:
            span = self._spans.pop(stream.stream_id, None)
            if span is not None and self._stream.stamps is not None:
                enter_stamps(stream.exchange.recorder, self._stream.stamps, span)

    def never_written(self, stream: RequestStream) -> bool:
        """Whether the request's head was still waiting for the writer."""
        return not stream.write_begun

    def stream_finished(self) -> None:
        """Leave when draining and nobody is left."""
        if self._life is _DRAINING and not self.streams:
            self._leave()

    def _acked_wire_bytes(self) -> int | None:
        unacked = self._stream.unacked_bytes()
        return None if unacked is None else self._stream.wire.sent_bytes - unacked

    # --- the end ----------------------------------------------------------------------------

    def _leave(self) -> None:
        """Say GOAWAY, if anything can be said, then close."""
        if self._life in (_Life.LEAVING, _Life.OVER):
            return
        if self._write_error is not None:
            self._end(self._write_error)
            return
        self._life = _Life.LEAVING
        self.machine.close()
        self._leaving.set()
        self.kick()
        if not self._running:
            self._life = _Life.OVER
            self._stream.close()

    def _end(self, error: TransportError) -> None:
        """Nothing more can be read or written."""
        self._life = _Life.OVER
        self.fail_all(error)
        self._leaving.set()
        self._over.set()
        self.kick()


def _writes(batch: list[OutChunk]) -> Iterator[list[OutChunk]]:
    """Small chunks together, for a call costs more than a copy; a big one alone, uncopied."""
    small: list[OutChunk] = []
    for chunk in batch:
        if len(chunk.data) <= JOIN_BYTES:
            small.append(chunk)
            continue
        if small:
            yield small
        yield [chunk]
        small = []
    if small:
        yield small


def _take_acks(stream: RequestStream, wire_bytes: int, at: Ns | None = None) -> None:
    if stream.ledger.acknowledged(wire_bytes):
        stream.acked(stream.ledger.acked_body_bytes, stream.ledger.finished, at)
