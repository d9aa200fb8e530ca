"""One request and its response on an HTTP/1.1 connection: sending and receiving at once.

The request's own task receives; a second task sends, and ends with it. A whole body that fits the
receive window every peer starts with is written first and needs no second task: its peer need not
read for the write to come to an end.

A final response may come before the request was sent (RFC 9112 §9.5). A status of 300 or above
stops the body, and the response is read to its end before the connection is closed, for closing
with bytes unread makes a reset. A 2xx does not stop it: the body goes on as long as the peer takes
it. A write that fails is no reason to stop reading: the reason for it may be what comes next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from typing import TypeVar

import anyio

from ..body import BodyReader
from ..buffers import Buffer
from ..errors import (
    ConnectionLost,
    Phase,
    ReadTimeout,
    RemoteProtocolError,
    ResponseTooLarge,
    TransportError,
    WriteTimeout,
)
from ..message import Headers, RequestHead
from ..net.stream import ByteStream, PromptStream
from ..profile.moments import Moment, Ns
from ..protocols.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
)
from ..protocols.http1 import Http1Machine
from .acks import next_poll_s
from .exchange import Exchange, RawResponse, out_of_time
from .http1_writer import RequestWriter, Rest
from .multiplexed import LINGER_S
from .request_stream import RequestStream
from .tcp_sample import TcpReading

#: How long the body waits for `100 Continue` (curl's default; RFC 9110 §10.1.1: not for ever).
EXPECT_WAIT_S = 1.0
#: Once the body was stopped: how long the peer may be silent before its answer is taken as it is.
#: A server that refuses a body keeps reading about this long (nginx: lingering_timeout 5 s).
REFUSAL_IDLE_S = 5.0
#: A stalled write is noticed at most this share of its timeout too late.
_STALL_LOOKS = 4

Content = TypeVar("Content")


class Conversation:
    """Carries one exchange; made when the machine has the request's head, before it is written."""

    def __init__(
        self,
        stream: ByteStream,
        prompt: PromptStream | None,
        machine: Http1Machine,
        exchange: Exchange,
        clock_s: Callable[[], float],
        *,
        stream_id: int,
        has_body: bool,
    ) -> None:
        """Take over a request the machine has begun. The clock is the event loop's."""
        self._stream = stream
        self._machine = machine
        self._exchange = exchange
        self._clock_s = clock_s
        self._request = RequestStream(stream_id, exchange, has_body=has_body)
        self._writer = RequestWriter(stream, prompt, machine, self._request)
        self._send_failure: ConnectionLost | None = None
        self._source_failure: Exception | None = None
        """What a body made by the caller raised, when it is not one of our errors."""
        self._may_send_body = not (has_body and exchange.expect_continue)
        self._deadline_s = inf
        """When all of it has to be over, where nobody else sees to that."""
        self._concurrently = False
        self._receiving: anyio.CancelScope | None = None
        self._silent_since_s: float | None = None
        """When the peer was last heard, or the request ended; None: when the clock is next read."""
        self._poll_s: float | None = None
        self._head_ns: Ns | None = None
        """When the first byte of the head in progress was read."""
        self._last_byte_ns: Ns = 0

    @property
    def clean(self) -> bool:
        """Whether request and response were both carried to their ends."""
        return self._request.ended and self._request.end_flushed

    async def send_whole(self, data: Buffer, body_bytes: int) -> RawResponse:
        """Carry a request that the machine gave whole, so many of its last bytes being its body.

        The exchange's deadline is kept.
        """
        if self._exchange.timeouts.write_idle_s is not None:
            # Whether a write still moves can only be seen from another task.
            with anyio.CancelScope(deadline=self._exchange.deadline_s):
                return await self._converse(self._send_whole, (data, body_bytes))
            raise out_of_time(self._exchange.timeouts, self._exchange.recorder)
        self._deadline_s = self._exchange.deadline_s
        try:
            rest = self._begin_whole(data, body_bytes)
            if rest is not None:
                await self._send(self._send_rest, rest)
            await self._receive()
            return self._response()
        finally:
            self._close_books()

    async def send_from(self, reader: BodyReader) -> RawResponse:
        """Carry a request with a body that is read while it is sent."""
        return await self._converse(self._send_streamed, reader)

    def fail(self, error: TransportError) -> None:
        """End the exchange from outside with an error; harmless once the response is complete."""
        self._request.fail(error)
        self._wake()

    async def _converse(
        self, send: Callable[[Content], Awaitable[None]], content: Content
    ) -> RawResponse:
        """Send and receive at once."""
        self._concurrently = True
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send, send, content)
                await self._receive()
                tasks.cancel_scope.cancel()
            return self._response()
        finally:
            self._close_books()

    def _response(self) -> RawResponse:
        if self._source_failure is not None:
            raise self._source_failure
        if self._request.error is not None:
            raise self._request.error
        return self._request.response()

    def _close_books(self) -> None:
        leg, stream_id = self._request.leg, self._request.stream_id
        leg.sent_bytes = self._writer.sent_bytes
        leg.received_bytes = self._machine.received_bytes(stream_id)
        if leg.reading is None:
            self._take_sample()
        self._writer.close_books()
        self._machine.forget_stream(stream_id)

    def _take_sample(self) -> None:
        """Take the transport's figures, and what they tell of the request."""
        if self._exchange.profile:
            reading = TcpReading(self._stream, self._exchange.recorder.now)
            self._request.leg.reading = reading
            if reading.acked_bytes is not None and self._writer.awaits_ack:
                self._writer.saw_acked(reading.acked_bytes, reading.at)

    # --- the sending task ---------------------------------------------------------------------

    async def _send(self, send: Callable[[Content], Awaitable[None]], content: Content) -> None:
        try:
            await send(content)
        except Exception as error:  # noqa: BLE001 - the caller's own iterator may raise anything
            self._sending_failed(error)
        self._silent_since_s = None
        self._wake()

    def _sending_failed(self, error: Exception) -> None:
        if isinstance(error, ConnectionLost):
            error.phase = Phase.SEND
            self._send_failure = error
            self._request.stop_sending = True
            if self._writer.never_written:
                # Whatever the peer may have said, it is not about this request.
                self._fail(error)
        elif isinstance(error, TransportError):
            self._fail(error)
        else:
            self._request.stop_sending = True
            if not self._request.ended:
                self._source_failure = error

    def _begin_whole(self, data: Buffer, body_bytes: int) -> Rest | None:
        """Write what can be written without waiting, in this very step; what sends the rest."""
        try:
            return self._writer.begin_whole(data, body_bytes)
        except Exception as error:  # noqa: BLE001 - as in `_send`
            self._sending_failed(error)
            return None

    async def _send_whole(self, content: tuple[Buffer, int]) -> None:
        rest = self._writer.begin_whole(*content)
        if rest is not None:
            await self._send_rest(rest)

    async def _send_rest(self, rest: Rest) -> None:
        with anyio.CancelScope(deadline=self._deadline_s) as scope:
            await rest()
        if scope.cancelled_caught:
            raise out_of_time(self._exchange.timeouts, self._exchange.recorder)

    async def _send_streamed(self, reader: BodyReader) -> None:
        await self._writer.send_head()
        self._wake()
        with anyio.move_on_after(EXPECT_WAIT_S):
            while not (self._may_send_body or self._request.sending_over):
                await self._request.wait_changed()
        await self._writer.send_from(reader)

    # --- the receiving task -------------------------------------------------------------------

    async def _receive(self) -> None:
        over = self._over
        while not over:
            self._poll_s = next_poll_s(self._poll_s) if self._writer.awaits_ack else None
            try:
                data = await self._wait()
            except ConnectionLost as error:
                self._cut_off(error)
            else:
                if data is not None:
                    self._take(data)
            over = self._over
            if not over:
                self._check_time()
                self._writer.poll_acked()
                over = self._over
        self._writer.poll_acked()

    @property
    def _over(self) -> bool:
        request = self._request
        if request.ended and request.end_flushed:
            return True
        failed = self._source_failure is not None or request.error is not None
        return failed or (request.ended and request.sending_over)

    def _wait(self) -> Awaitable[bytes | None]:
        """What to await for bytes of the response: None when it is time to look elsewhere."""
        look_at_s = self._next_look_s()
        if self._concurrently:
            return self._wait_interruptibly(look_at_s)
        # Nobody but who closes the stream has a reason to interrupt, and that wakes it.
        return self._stream.receive_until(look_at_s)

    async def _wait_interruptibly(self, look_at_s: float) -> bytes | None:
        data: bytes | None = None
        with anyio.CancelScope(deadline=look_at_s) as self._receiving:
            # What came before the request is no answer to it; after the response, nothing is.
            if not (self._writer.never_written or self._request.ended):
                data = await self._stream.receive()
            else:
                await anyio.sleep_forever()
        self._receiving = None
        return data

    def _wake(self) -> None:
        """Let both tasks look again."""
        self._request.wake()
        if self._receiving is not None:
            self._receiving.cancel()

    def _take(self, data: bytes) -> None:
        if data:
            self._silent_since_s = None
            self._last_byte_ns = self._stream.read_ns
            if self._head_ns is None:
                self._head_ns = self._last_byte_ns
        whole = self._machine.receive_whole(data)
        if whole is not None:
            self._request.take_whole(*whole, self._last_byte_ns)
            self._take_sample()
            return
        for event in self._machine.receive_data(data):
            self._dispatch(event, at_end=not data)
        if not self._machine.head_begun:
            self._head_ns = None
        self._request.wake()

    def _dispatch(self, event: Event, *, at_end: bool) -> None:
        request, recorder, read_ns = self._request, self._exchange.recorder, self._last_byte_ns
        match event:
            case InterimReceived():
                recorder.mark_first(Moment.INTERIM_START, self._head_ns)
                self._may_send_body |= event.head.status == 100
                self._head_ns = read_ns
            case HeadReceived():
                request.take_head(event, read_ns)
                recorder.mark(Moment.RESPONSE_START, self._head_ns)
                self._take_sample()
                self._may_send_body = True
            case DataReceived():
                request.take_data(event, read_ns)
            case ResponseEnded() if at_end and self._stream.truncated:
                self._truncated()
            case ResponseEnded():
                request.take_end(event.trailers, read_ns)
            case ConnectionTerminated():
                self._terminated(event, at_end=at_end)

    # --- ends that are not orderly ------------------------------------------------------------

    def _terminated(self, event: ConnectionTerminated, *, at_end: bool) -> None:
        if self._send_failure is not None:
            self._cut_off(self._send_failure)
        elif at_end and self._received_bytes == 0:
            self._fail(ConnectionLost(event.reason))
        else:
            kind = ResponseTooLarge if event.too_large else RemoteProtocolError
            self._fail(kind(event.reason, phase=Phase.RECEIVE))

    def _truncated(self) -> None:
        error = RemoteProtocolError(
            "the TLS connection ended without close_notify, so that the end of the response "
            "cannot be believed (RFC 9112 §9.8)",
            phase=Phase.RECEIVE,
        )
        self._give_up(error)

    def _give_up(self, error: TransportError) -> None:
        """No more is waited for, or believed; of an early refusal what has come will do."""
        if self._request.end_flushed:
            self._fail(error)
        else:
            self._cut_off(error)

    def _cut_off(self, error: TransportError) -> None:
        """Nothing more can come: take what there is of a refusal, or fail.

        A server that refuses a body and closes makes a reset, which may overtake the rest of its
        answer; the status is what the caller needs to know.
        """
        request = self._request
        if request.head is not None and request.head.status >= 300:
            request.take_end(Headers(), self._last_byte_ns)
        else:
            self._fail(self._send_failure or error)

    def _fail(self, error: TransportError) -> None:
        if isinstance(error, ConnectionLost):
            error.phase = error.phase or self._request.phase
            error.before_response = self._received_bytes == 0
            error.retryable = self._writer.never_written
        self._request.fail(error)

    @property
    def _received_bytes(self) -> int:
        return self._machine.received_bytes(self._request.stream_id)

    # --- time ---------------------------------------------------------------------------------

    def _next_look_s(self) -> float:
        sending, limit_s = not self._request.sending_over, self._limit_s
        if limit_s == inf and (sending or self._poll_s is None):
            return self._deadline_s
        now_s = self._clock_s()
        if sending:
            return min(now_s + limit_s / _STALL_LOOKS, self._deadline_s)
        poll_at_s = inf if self._poll_s is None else now_s + self._poll_s
        return min(poll_at_s, self._silent_since(now_s) + limit_s, self._deadline_s)

    def _check_time(self) -> None:
        request, limit_s = self._request, self._limit_s
        if limit_s == self._deadline_s == inf:
            return
        now_s = self._clock_s()
        if now_s >= self._deadline_s:
            request.fail(out_of_time(self._exchange.timeouts, self._exchange.recorder))
        elif not request.sending_over:
            if now_s < self._writer.moved_at_s(now_s) + limit_s:
                return
            if request.ended:
                request.stop_sending = True
            else:
                request.fail(WriteTimeout(f"the peer took no byte of the request for {limit_s} s"))
        elif not request.ended and now_s >= self._silent_since(now_s) + limit_s:
            silence = f"the peer sent no byte of the response for {limit_s} s"
            self._give_up(ReadTimeout(silence, phase=request.phase))

    def _silent_since(self, now_s: float) -> float:
        if self._silent_since_s is None:
            self._silent_since_s = now_s
        return self._silent_since_s

    @property
    def _limit_s(self) -> float:
        """How long the peer may do nothing of what is waited for now."""
        return self._idle_limit_s if self._request.sending_over else self._stall_limit_s

    @property
    def _stall_limit_s(self) -> float:
        """How long the peer may take nothing."""
        limit_s = self._exchange.timeouts.write_idle_s
        return LINGER_S if self._request.ended else inf if limit_s is None else limit_s

    @property
    def _idle_limit_s(self) -> float:
        """How long the peer may send nothing."""
        limit_s = self._exchange.timeouts.read_idle_s
        limit_s = inf if limit_s is None else limit_s
        return limit_s if self._request.end_flushed else min(limit_s, REFUSAL_IDLE_S)


def send_head(machine: Http1Machine, exchange: Exchange) -> int:
    """Give the head of a request with a body to the machine, with what it expects of the server.

    Raises:
        InvalidHeader: HTTP/1.1 cannot carry it; the connection is as it was.
    """
    head = _expecting(exchange.head) if exchange.expect_continue else exchange.head
    return machine.send_head(head, end=False)


def _expecting(head: RequestHead) -> RequestHead:
    fields = [field for field in head.headers.fields if field[0].lower() != "expect"]
    return replace(head, headers=Headers([*fields, ("Expect", "100-continue")]))
