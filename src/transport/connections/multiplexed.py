"""One request on a connection that carries many: what HTTP/2 and HTTP/3 have in common.

The request's own task sends its body and waits for the response; the connection's reader task
feeds events to `dispatch`; its writer task tells what the operating system took. They meet in a
`RequestStream`, whose bell is rung whenever something happened that the request's task acts on.

Rules for an early final response (RFC 9113 §8.1, RFC 9114 §4.1): a status of 300 or above, or the
peer's word that it wants no more, stops the body. A complete 2xx response does not: the body goes
on as long as the peer takes it, and is given up once the peer takes nothing for `LINGER_S`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import anyio
from anyio.lowlevel import checkpoint

from ..body import Body, BodyReader
from ..errors import (
    ConnectionLost,
    ReadTimeout,
    RemoteProtocolError,
    ResponseTooLarge,
    StreamResetError,
    TransportError,
    WriteTimeout,
)
from ..net.bell import Bell, bell_maker
from ..net.loop_clock import loop_clock
from ..profile.moments import Moment, Ns
from ..profile.recorder import Reading
from ..protocols.events import (
    BodyAcked,
    BodyUnreadable,
    DataReceived,
    Event,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
    ResponseReceived,
    SendingStopped,
    StreamReset,
)
from ..protocols.machine import HttpMachine
from .acks import next_poll_s
from .connection import Connection, ConnectionState
from .exchange import Exchange, RawResponse, out_of_time
from .request_stream import RequestStream

#: Body bytes one request queues before others get their turn (fairness between streams).
TURN_BYTES = 64 * 1024
#: After a complete 2xx response: how long a peer may take nothing before the body is given up.
LINGER_S = 1.0
_OPEN = ConnectionState.OPEN


class MultiplexedConnection(Connection):
    """Base of the HTTP/2 and HTTP/3 drivers.

    A driver owns the socket and the tasks, and implements the hooks at the end. It calls `dispatch`
    for each event, tells the requests what the operating system took, and calls `fail_all` when
    the connection is over.
    """

    keeps_deadlines = True
    machine: HttpMachine
    longest_turn_bytes = TURN_BYTES
    """Body bytes a request queues in one turn while it is alone."""

    def __init__(self) -> None:
        self.streams: dict[int, RequestStream] = {}
        self.clock_s = loop_clock()
        self._new_bell = bell_maker()
        self._bells: list[Bell] = []
        """Those of requests that are over, for the next ones: each has a timer of its own."""

    @property
    def active_requests(self) -> int:
        """Requests on it now."""
        return len(self.streams)

    @property
    def available_requests(self) -> int:
        """How many more it takes now."""
        return self.machine.available_streams if self.state is _OPEN else 0

    async def exchange(self, exchange: Exchange) -> RawResponse:
        """Carry one request; see `Connection.exchange`."""
        content = _in_memory(exchange.body)
        begun = None if content is None else self.send_at_once(exchange, content)
        if begun is not None and begun.end_flushed:
            # It has left: what there is to wait for is its response.
            try:
                await self._wait_response(begun)
                return begun.response()
            finally:
                self._finish(begun)
        with anyio.CancelScope(deadline=exchange.deadline_s):
            if content is not None:
                return await self._carry(exchange, begun, content)
            return await self._carry_read(exchange)
        raise out_of_time(exchange.timeouts, exchange.recorder)

    async def _carry_read(self, exchange: Exchange) -> RawResponse:
        """Carry a request whose body has to be read."""
        body = exchange.body
        if body is None:
            raise RuntimeError("there is no body to read")
        reader = await body.open()
        try:
            return await self._carry(exchange, None, reader)
        finally:
            await reader.aclose()

    async def _carry(
        self, exchange: Exchange, begun: RequestStream | None, content: bytes | BodyReader
    ) -> RawResponse:
        """Carry it with all of its content, or with what reads that."""
        stream = begun or self._queue_head(exchange, has_body=content != b"")
        try:
            if isinstance(content, bytes):
                await self._send_whole(stream, memoryview(content))
            else:
                self.kick()
                await self._upload(stream, exchange.body, content)
            await self._wait_response(stream)
            return stream.response()
        finally:
            self._finish(stream)

    # --- called by the driver's tasks; synchronous ------------------------------------------

    def dispatch(self, event: Event, read_ns: Ns) -> None:
        """Tell the request concerned, or the driver what concerns none that is still here."""
        stream = self.note(event, read_ns)
        if stream is not None:
            stream.wake()

    def note(self, event: Event, read_ns: Ns) -> RequestStream | None:
        """`dispatch`, but for waking: the request that has to be woken is returned."""
        stream = self.streams.get(getattr(event, "stream_id", -1))
        if stream is None:
            self.heed(event, read_ns)
            return None
        if isinstance(event, BodyAcked):
            stream.acked(self.acked_body_bytes(stream, event), event.finished, read_ns)
            # Room that it makes is a `StreamWritable`, so nobody is to be woken.
            stream.moved_s = self.clock_s()
            return None
        if isinstance(event, ResponseReceived):
            stream.take_whole(event.head, event.body, read_ns)
            self._take_sample(stream)
        else:
            self._note_on(stream, event, read_ns)
        return stream if stream.wants_waking else None

    def _note_on(self, stream: RequestStream, event: Event, read_ns: Ns) -> None:
        match event:
            case HeadReceived():
                stream.take_head(event, read_ns)
                self._take_sample(stream)
            case DataReceived():
                stream.take_data(event, read_ns)
            case ResponseEnded():
                stream.take_end(event.trailers, read_ns)
            case InterimReceived():
                stream.exchange.recorder.mark_first(Moment.INTERIM_START, read_ns)
                stream.got_interim = True
            case SendingStopped():
                stream.stop_sending = True
            case StreamReset():
                stream.fail(_reset_error(event, stream))
            case BodyUnreadable():
                stream.fail(event.error)
            case _:
                pass  # StreamWritable: waking up is all there is to it

    def fail_all(self, error: TransportError) -> None:
        """End every open request with its own copy of the reason."""
        for stream in list(self.streams.values()):
            copy = _copy_for(error, stream)
            if isinstance(copy, ConnectionLost) and self.never_written(stream):
                copy.retryable = True
            stream.fail(copy)
            stream.wake()
        while self._bells:
            self._bells.pop().close()

    # --- the request's own task -------------------------------------------------------------

    def _queue_head(self, exchange: Exchange, *, has_body: bool) -> RequestStream:
        if self.available_requests <= 0:
            raise ConnectionLost("the connection takes no more requests", retryable=True)
        stream = self.begin(self.send_head(exchange, end=not has_body), exchange, has_body=has_body)
        if not has_body:
            self.push()
        return stream

    def begin(self, stream_id: int, exchange: Exchange, *, has_body: bool) -> RequestStream:
        """Take note of a request that the machine has begun."""
        bell = self._bells.pop() if self._bells else self._new_bell()
        stream = RequestStream(stream_id, exchange, has_body=has_body, bell=bell)
        self.streams[stream_id] = stream
        return stream

    def send_head(self, exchange: Exchange, *, end: bool) -> int:
        """Begin a request and return its stream id."""
        return self.machine.send_head(exchange.head, end=end)

    async def _send_whole(self, stream: RequestStream, content: memoryview) -> None:
        """Send a short body from memory, as far as it was not sent with the head."""
        if not stream.end_queued:
            await self._queue(stream, content, last=False)
        while content and not stream.sending_over:
            await self.wait_writable(stream)

    async def _upload(self, stream: RequestStream, body: Body | None, reader: BodyReader) -> None:
        # A short body of known length is read without waiting for anyone: no task needed.
        if body is not None and is_short(body):
            await self._send_body(stream, reader)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send_body, stream, reader)
            await stream.wait_sending_over()
            tasks.cancel_scope.cancel()

    async def _send_body(self, stream: RequestStream, reader: BodyReader) -> None:
        """Queue the whole body, then wait until the operating system has taken it."""
        try:
            await self.queue_body(stream, reader)
            while not stream.sending_over:
                await self.wait_writable(stream)
        except TransportError as error:
            stream.fail(error)
            stream.wake()

    async def queue_body(self, stream: RequestStream, reader: BodyReader) -> None:
        """Queue the whole body, unless it is stopped before its end."""
        buffer = self.turn_buffer(stream)
        while not stream.sending_over:
            if not await self.queue_read(stream, reader, buffer):
                break

    def turn_buffer(self, stream: RequestStream) -> memoryview:
        """A buffer for one turn of a request."""
        total = stream.exchange.head.content_length
        longest = self.longest_turn_bytes
        return memoryview(bytearray(longest if total is None else min(longest, total)))

    async def queue_read(
        self, stream: RequestStream, reader: BodyReader, buffer: memoryview
    ) -> bool:
        """Read one turn's bytes and queue them; False once the end is queued."""
        turn_bytes = self.longest_turn_bytes if len(self.streams) == 1 else TURN_BYTES
        count = await reader.readinto(buffer[:turn_bytes])
        if not await self._queue(stream, buffer[:count], last=count == 0):
            return False
        await checkpoint()
        return True

    async def _queue(self, stream: RequestStream, data: memoryview, *, last: bool) -> bool:
        """Queue one turn's bytes as the budget allows; False once the end is queued."""
        total = stream.exchange.head.content_length
        while data or last:
            if stream.sending_over:
                return False
            # The budget is asked after every wait: the peer may have shrunk its window meanwhile.
            budget = self.machine.send_budget(stream.stream_id)
            if budget <= 0 and data:
                await self.wait_writable(stream)
                continue
            piece, data = data[:budget], data[budget:]
            stream.body_queued += len(piece)
            end = last or stream.body_queued == total
            self.machine.send_body(stream.stream_id, piece, end=end)
            stream.end_queued = end
            if end:
                self.push()
                return False
            self.kick()
        return True

    async def wait_writable(self, stream: RequestStream) -> None:
        """Wait until something happened to a request that cannot queue more of its body."""
        idle_s = LINGER_S if stream.ended else stream.exchange.timeouts.write_idle_s
        if idle_s is None:
            await stream.wait_changed()
            return
        now_s = self.clock_s()
        until_s = now_s + idle_s
        while until_s > now_s:
            if await stream.wait_changed(until_s):
                return
            until_s, now_s = stream.moved_s + idle_s, self.clock_s()
        if not stream.ended:
            raise WriteTimeout(f"the peer took no byte of the request for {idle_s} s")
        stream.stop_sending = True
        stream.wake()

    async def _wait_response(self, stream: RequestStream) -> None:
        """Wait until the response is complete; meanwhile watch for the acknowledgement."""
        exchange = stream.exchange
        limit_s, deadline_s = exchange.timeouts.read_idle_s, exchange.deadline_s
        silence = None if limit_s is None else _Silence(stream, limit_s, self.clock_s)
        poll_s: float | None = None
        while not stream.ended:
            if stream.error is not None:
                raise stream.error
            until_s = deadline_s
            if silence is not None:
                until_s = min(until_s, silence.deadline_s())
            if self.awaits_ack(stream):
                poll_s = next_poll_s(poll_s)
                until_s = min(until_s, self.clock_s() + poll_s)
            if not await stream.wait_changed(until_s):
                self.poll_acked(stream)
            # Also when something happens all the time, in which no timer comes to its turn.
            if not (stream.ended or stream.error) and self.clock_s() >= deadline_s:
                raise out_of_time(exchange.timeouts, exchange.recorder)
        self.poll_acked(stream)

    def _finish(self, stream: RequestStream) -> None:
        if not (stream.ended and stream.end_flushed):
            self.machine.reset_stream(stream.stream_id, response_complete=stream.ended)
        leg = stream.leg
        totals = self.machine.stream_totals(stream.stream_id)
        leg.sent_bytes, leg.received_bytes = totals.sent_bytes, totals.received_bytes
        if leg.reading is None:
            self._take_sample(stream)
        self.close_books(stream)
        self.machine.forget_stream(stream.stream_id)
        del self.streams[stream.stream_id]
        self._keep_bell(stream)
        self.kick()
        self.stream_finished()

    def _keep_bell(self, stream: RequestStream) -> None:
        if stream.bell is None:
            return
        if self.state is _OPEN:
            self._bells.append(stream.bell)
        else:
            stream.bell.close()

    def _take_sample(self, stream: RequestStream) -> None:
        if stream.exchange.profile:
            stream.leg.reading = self.take_reading(stream)

    # --- hooks of the driver ----------------------------------------------------------------

    def send_at_once(self, exchange: Exchange, content: bytes) -> RequestStream | None:  # noqa: ARG002 - for drivers to do
        """Begin a request and write all of it, where that can be; None, and nothing done, if not.

        The writer has to write what the operating system did not take.
        """
        return None

    @abstractmethod
    def kick(self) -> None:
        """Wake the task that writes: the machine may have something to transmit."""

    def push(self) -> None:
        """All of a request is queued: write it at once where that can be, else `kick`."""
        self.kick()

    @abstractmethod
    def heed(self, event: Event, at: Ns) -> None:
        """Take an event of the connection; those of requests that are over mean nothing."""

    @abstractmethod
    def take_reading(self, stream: RequestStream) -> Reading:
        """The transport's figures now, for a request."""

    @abstractmethod
    def poll_acked(self, stream: RequestStream) -> None:
        """Look whether more of the body was acknowledged; report it with `stream.acked`."""

    def awaits_ack(self, stream: RequestStream) -> bool:  # noqa: ARG002 - for drivers to say
        """Whether polling is worth it: the request was flushed, and nobody tells of its end."""
        return False

    @abstractmethod
    def acked_body_bytes(self, stream: RequestStream, event: BodyAcked) -> int:
        """Body bytes within the stream bytes that were acknowledged."""

    def close_books(self, stream: RequestStream) -> None:
        """Add to the request's record what is only known at its end."""

    def never_written(self, stream: RequestStream) -> bool:  # noqa: ARG002 - for drivers to say
        """Whether certainly not a byte of the request was given to the operating system."""
        return False

    @abstractmethod
    def stream_finished(self) -> None:
        """A request has left: close now if draining and this was the last."""


def _in_memory(body: Body | None) -> bytes | None:
    """All of a short body that is in memory; None when it has to be read."""
    if body is None or (length := body.length) == 0:
        return b""
    pieces = None if length is None or length > TURN_BYTES else body.in_memory()
    return None if pieces is None else b"".join(pieces)


def is_short(body: Body) -> bool:
    """Whether a body goes in one turn."""
    return body.length is not None and body.length <= TURN_BYTES


class _Silence:
    """How long the peer has said nothing of the response."""

    def __init__(self, stream: RequestStream, limit_s: float, clock_s: Callable[[], float]) -> None:
        self._stream = stream
        self._limit_s = limit_s
        self._clock_s = clock_s
        self._since_s: float | None = None
        self._received_events = -1

    def deadline_s(self) -> float:
        """When the peer has been silent for too long.

        Raises:
            ReadTimeout: it has been already.
        """
        now_s = self._clock_s()
        if self._since_s is None or self._stream.received_events != self._received_events:
            self._since_s, self._received_events = now_s, self._stream.received_events
        deadline_s = self._since_s + self._limit_s
        if now_s >= deadline_s:
            raise ReadTimeout(f"the peer sent no byte of the response for {self._limit_s} s")
        return deadline_s


def _reset_error(event: StreamReset, stream: RequestStream) -> TransportError:
    if event.reason:
        kind = ResponseTooLarge if event.too_large else RemoteProtocolError
        return kind(event.reason, phase=stream.phase)
    # What the peer promises not to have processed may be resent whatever was sent already.
    return StreamResetError(
        f"the peer reset the stream with error code {event.error_code:#x}",
        error_code=event.error_code,
        phase=stream.phase,
        retryable=event.retryable,
    )


def _copy_for(error: TransportError, stream: RequestStream) -> TransportError:
    copy = error.fresh_copy()
    copy.phase = copy.phase or stream.phase
    if isinstance(copy, ConnectionLost):
        copy.before_response = stream.received_events == 0
        copy.cut_off = copy.cut_off and not stream.end_flushed
    return copy
