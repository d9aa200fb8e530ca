"""One request on its way, as the estimator sees it: samples read from its leg."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import HttpVersion
from ..profile.moments import Moment, Ns
from ..profile.recorder import Leg
from .observations import Source
from .transfers import Transfer

#: How late a TCP peer may acknowledge (RFC 9293 §3.8.6.3: usually 40 ms, half a second at most)
#: and we may notice; what is acknowledged later than that had waited in our own buffers.
LATE_ACK_NS = 50_000_000
_NS_PER_MS = 1_000_000


@dataclass(slots=True, eq=False, kw_only=True)
class Flight:
    """A leg from its being given to a connection until its end; compared by identity."""

    leg: Leg
    counts: bool
    """Whether it is listened to: its peer is outside, or those inside are listened to as well."""
    is_get: bool
    has_body: bool
    expects_continue: bool = False
    """The body waits for `100 Continue`."""

    @property
    def begun_at(self) -> Ns:
        """When the engine turned to it."""
        return self.leg.times[Moment.FETCH_START] or 0

    @property
    def last_byte_at(self) -> Ns:
        """When it last received something, or was begun."""
        times = self.leg.times
        received = (times[Moment.INTERIM_START], times[Moment.RESPONSE_END])
        return max(self.begun_at, *(at or 0 for at in received), times[Moment.RESPONSE_START] or 0)

    @property
    def received_bytes(self) -> int:
        """Body bytes received so far."""
        return self.leg.response_body_bytes

    def http_rtt(self) -> tuple[float, Source] | None:
        """Milliseconds from the end of the request to its response, and of which kind.

        Without a body it is Chromium's: request start to the end of the response head. With one,
        the time of the upload must not be in it: the last byte given to the operating system to
        the first of the response, less what that byte is known to have waited before it left.
        """
        times = self.leg.times
        if self.has_body:
            start, end = times[Moment.REQUEST_END], times[Moment.RESPONSE_START]
        else:
            start, end = times[Moment.REQUEST_START], times[Moment.RESPONSE_HEAD_END]
        if not self.leg.upload_complete or start is None or end is None or end <= start:
            return None
        if not self.has_body:
            return (end - start) / _NS_PER_MS, Source.HTTP
        return (end - start - self._buffered_ns(start)) / _NS_PER_MS, Source.HTTP_UPLOAD

    def transport_rtt(self) -> tuple[float, Source] | None:
        """The connection's smoothed round trip in milliseconds, and whose it is."""
        reading, connection = self.leg.reading, self.leg.connection
        rtt_ms = None if reading is None else reading.rtt_ms
        if rtt_ms is None or connection is None:
            return None
        is_quic = connection.version is HttpVersion.HTTP3
        return rtt_ms, Source.QUIC if is_quic else Source.TCP

    def download(self, now: Ns | None = None) -> Transfer | None:
        """The response's body as far as it came in pieces; up to `now` while it still comes.

        What the read of the head brought along has no duration of its own.
        """
        times, leg = self.leg.times, self.leg
        start = times[Moment.RESPONSE_HEAD_END]
        end = times[Moment.RESPONSE_END] if now is None else now
        byte_count = leg.response_body_bytes - leg.response_body_with_head_bytes
        if start is None or end is None or byte_count <= 0:
            return None
        return Transfer(start, end, byte_count, self._least_rtt_ns())

    def upload(self, now: Ns | None = None) -> Transfer | None:
        """The body, until it was acknowledged, or `now` while it is still on its way.

        None when it has no length: it is made while it is sent, and tells how fast that goes.
        """
        leg, start = self.leg, self._body_start()
        if not self.has_body or leg.body_bytes is None or start is None:
            return None
        end = self._acked_at() or now
        if end is None or not leg.body_acked_bytes:
            return None
        return Transfer(
            start, end, leg.body_acked_bytes, self._least_rtt_ns(), until_acked=now is None
        )

    def _body_start(self) -> Ns | None:
        times, connection = self.leg.times, self.leg.connection
        if connection is None or not self.expects_continue:
            return times[Moment.REQUEST_START]
        # Only HTTP/1.1 waits; when no answer comes, the body starts at a moment nobody noted.
        if connection.version is HttpVersion.HTTP1:
            return times[Moment.INTERIM_START]
        return times[Moment.REQUEST_START]

    def _acked_at(self) -> Ns | None:
        """When the last byte was acknowledged, at the latest by a response to all of it."""
        times = self.leg.times
        acked, response_start = times[Moment.REQUEST_ACKED], times[Moment.RESPONSE_START]
        if acked is None or response_start is None:
            return acked
        request_end = times[Moment.REQUEST_END]
        early = request_end is None or response_start < request_end
        return acked if early else min(acked, response_start)

    def _buffered_ns(self, request_end: Ns) -> Ns:
        """How long the last byte was in our own send buffer, as far as that can be told.

        QUIC has none: its last byte was given to the system when it was its turn to leave.
        """
        acked, transport = self._acked_at(), self.transport_rtt()
        if acked is None or transport is None or transport[1] is Source.QUIC:
            return 0
        waited_ns = acked - round(transport[0] * _NS_PER_MS) - request_end
        return waited_ns if waited_ns > LATE_ACK_NS else 0

    def _least_rtt_ns(self) -> Ns | None:
        sample = self.leg.sample
        if sample is None:
            return None
        rtt_ms = sample.rtt_ms if sample.min_rtt_ms is None else sample.min_rtt_ms
        return None if rtt_ms is None else round(rtt_ms * _NS_PER_MS)
