"""What is known of one request on a multiplexed connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf

import anyio

from ..errors import Phase, ResponseTooLarge, TransportError
from ..message import Headers, ResponseHead
from ..net.bell import Bell, new_bell
from ..profile.moments import Moment, Ns
from ..protocols.events import DataReceived, HeadReceived
from .acks import AckLedger
from .exchange import Exchange, Progress, RawResponse

_NONE = Headers()
# By plain int: an enum's members are looked up and turned into one each time.
_REQUEST_START, _REQUEST_END = int(Moment.REQUEST_START), int(Moment.REQUEST_END)
_REQUEST_ACKED = int(Moment.REQUEST_ACKED)
_RESPONSE_START, _RESPONSE_END = int(Moment.RESPONSE_START), int(Moment.RESPONSE_END)
_RESPONSE_HEAD_END = int(Moment.RESPONSE_HEAD_END)


class RequestStream:
    """One request's state: fed by the connection's tasks, watched by the request's own.

    All methods are synchronous; whoever changes something calls `wake` afterwards.
    """

    __slots__ = (
        "_chunks",
        "_received_body_bytes",
        "_sending_done",
        "_started",
        "bell",
        "body_queued",
        "body_sent",
        "end_flushed",
        "end_queued",
        "ended",
        "error",
        "exchange",
        "got_interim",
        "head",
        "ledger",
        "leg",
        "moved_s",
        "received_events",
        "stop_sending",
        "stream_id",
        "trailers",
        "write_begun",
    )

    def __init__(
        self, stream_id: int, exchange: Exchange, *, has_body: bool, bell: Bell | None = None
    ) -> None:
        """Begin; without a bell, one is made when somebody waits."""
        self.stream_id = stream_id
        self.exchange = exchange
        self.leg = exchange.recorder.leg
        self.ledger = AckLedger()
        self.head: ResponseHead | None = None
        self.trailers = _NONE
        self.ended = False
        """The response is complete."""
        self.error: TransportError | None = None
        self.got_interim = False
        self.stop_sending = False
        self.body_queued = 0
        self.body_sent = 0
        self.end_queued = not has_body
        self.end_flushed = False
        """The operating system took the last byte of the request."""
        self.write_begun = False
        """A write that carries its first byte has begun, whatever becomes of it (HTTP/2)."""
        self.moved_s = -inf
        """When bytes were last taken of which `wake` tells nobody, by the event loop's clock."""
        self.received_events = 0
        self.bell = bell
        self._sending_done: anyio.Event | None = None
        self._started = False
        self._chunks: list[bytes] = []
        self._received_body_bytes = 0

    @property
    def sending_over(self) -> bool:
        """Nothing more of the request is to be sent."""
        return self.end_flushed or self.stop_sending or self.error is not None

    @property
    def phase(self) -> Phase:
        """What the request is doing."""
        if self.head is not None:
            return Phase.RECEIVE
        return Phase.WAIT if self.end_flushed else Phase.SEND

    def wait_changed(self, until_s: float = inf) -> Awaitable[bool]:
        """What to await for something to happen: False when it is later than `until_s` of the
        loop's clock.

        One task at a time, which has just looked: what had happened before is not told.
        """
        if self.bell is None:
            self.bell = new_bell()
        return self.bell.wait(until_s)

    def wake(self) -> None:
        """Let everyone who waits look again."""
        if self._sending_done is not None and self.sending_over:
            self._sending_done.set()
        if self.bell is not None:
            self.bell.ring()

    def wake_last(self) -> None:
        """The same, as the last thing that a callback does; see `Bell.ring_last`."""
        if self._sending_done is not None and self.sending_over:
            self._sending_done.set()
        if self.bell is not None:
            self.bell.ring_last()

    @property
    def wants_waking(self) -> bool:
        """Whether who waits has to look again.

        When the request has left, only the response's end is waited for. But with a limit to the
        peer's silence each piece counts, for that begins anew.
        """
        over = self.ended or self.error is not None
        return over or not self.end_flushed or self.exchange.timeouts.read_idle_s is not None

    async def wait_sending_over(self) -> None:
        """Wait for `sending_over`, which `wake` sees, without being woken for anything else."""
        if not self.sending_over:
            self._sending_done = anyio.Event()
            await self._sending_done.wait()

    def fail(self, error: TransportError) -> None:
        """End with an error, unless the response is complete or an error came first."""
        if not self.ended and self.error is None:
            self.error = error
        self.stop_sending = True

    def take_head(self, event: HeadReceived, read_ns: Ns) -> None:
        """The final response head arrived."""
        self._begin_response(event.head, read_ns)

    def _begin_response(self, head: ResponseHead, read_ns: Ns) -> None:
        self.head = head
        self.received_events += 1
        leg = self.leg
        leg.times[_RESPONSE_START] = leg.times[_RESPONSE_HEAD_END] = read_ns
        leg.status = head.status
        if head.status >= 300:
            self.stop_sending = True
        if self.exchange.on_head is not None:
            self.exchange.on_head(head)

    def take_data(self, event: DataReceived, read_ns: Ns) -> None:
        """A piece of the response body arrived."""
        self._add_body(event.data, read_ns)

    def _add_body(self, data: bytes, read_ns: Ns) -> None:
        self.received_events += 1
        self._chunks.append(data)
        self._received_body_bytes += len(data)
        leg = self.leg
        leg.times[_RESPONSE_END] = read_ns
        leg.response_body_bytes = self._received_body_bytes
        if read_ns == leg.times[_RESPONSE_HEAD_END]:
            leg.response_body_with_head_bytes = self._received_body_bytes
        limit = self.exchange.limits.response_body_bytes
        if self._received_body_bytes > limit:
            self.fail(ResponseTooLarge(f"the response body is larger than {limit} bytes"))

    def take_whole(self, head: ResponseHead, body: bytes, read_ns: Ns) -> None:
        """The response arrived at once, from its head to its end."""
        self._begin_response(head, read_ns)
        if body:
            self._add_body(body, read_ns)
        self.take_end(_NONE, read_ns)

    def take_end(self, trailers: Headers, read_ns: Ns) -> None:
        """The response is complete."""
        self.received_events += 1
        self.trailers = trailers
        if self.error is None:
            self.ended = True
            self.leg.times[_RESPONSE_END] = read_ns

    def took(
        self, body_bytes: int, started: Ns, ended: Ns, *, end: bool, acked_bytes: int | None = None
    ) -> None:
        """The operating system took the request up to `body_bytes` of its body.

        `acked_bytes`, if there is news of it, is how much of the body was acknowledged by then.
        """
        leg = self.leg
        if not self._started:
            self._started = True
            leg.times[_REQUEST_START] = started
        leg.times[_REQUEST_END] = ended
        advanced = body_bytes > self.body_sent
        if acked_bytes is not None:
            advanced |= acked_bytes > (leg.body_acked_bytes or 0)
            leg.body_acked_bytes = acked_bytes
        self.body_sent = leg.body_sent_bytes = body_bytes
        if end:
            self.end_flushed = leg.upload_complete = True
        if advanced and self.exchange.on_progress is not None:
            self._report_progress(self.exchange.on_progress)

    def acked(self, body_bytes: int, finished: bool, at: Ns | None = None) -> None:
        """The peer's transport acknowledged `body_bytes` of the body, perhaps its end.

        `at` is when its word of that arrived, if not now.
        """
        leg = self.leg
        advanced = body_bytes > (leg.body_acked_bytes or 0)
        leg.body_acked_bytes = body_bytes
        if finished:
            # It may arrive before the system call that sent the last byte has returned.
            sent = leg.times[_REQUEST_END]
            if leg.times[_REQUEST_ACKED] is None:
                at = at or self.exchange.recorder.now()
                leg.times[_REQUEST_ACKED] = max(at, sent or at)
        if advanced and self.exchange.on_progress is not None:
            self._report_progress(self.exchange.on_progress)

    def response(self) -> RawResponse:
        """The complete response."""
        if self.head is None or self.error is not None or not self.ended:
            raise RuntimeError("the response is not complete")
        return RawResponse(head=self.head, body=b"".join(self._chunks), trailers=self.trailers)

    def _report_progress(self, tell: Callable[[Progress], None]) -> None:
        total = self.exchange.head.content_length
        tell(Progress(self.body_sent, total, self.leg.body_acked_bytes))
