"""The streams of HTTP/3: heads of requests in; responses, resets and GOAWAY as events out."""

from __future__ import annotations

from aioquic.quic import events as quic_events
from aioquic.quic.connection import QuicConnection
from aioquic.quic.connection import stream_is_unidirectional as is_unidirectional

from ..errors import InvalidHeader
from ..message import RequestHead
from . import aioquic_private as private
from .aioquic_h3 import RequestOnlyH3Connection
from .events import Event, GoAwayReceived, HeadReceived, SendingStopped, StreamReset
from .fields import MalformedResponse, request_fields
from .http3_fields import FieldEncoder
from .http3_frames import (
    H3_EXCESSIVE_LOAD,
    H3_ID_ERROR,
    H3_MESSAGE_ERROR,
    H3_NO_ERROR,
    H3_REQUEST_REJECTED,
    ControlStreamWatch,
    headers_frame,
)
from .http3_stream import KnownHeads, RequestStream, ResponseHeadTooLarge

#: RFC 9114 §5.2: what a server that has refused nothing yet may name.
_HIGHEST_GOAWAY_ID = (1 << 62) - 4


class Http3Receiver:
    """Feeds the library's HTTP/3 layer and translates what comes out."""

    def __init__(
        self, quic: QuicConnection, streams: dict[int, RequestStream], *, head_limit_bytes: int
    ) -> None:
        """Begin HTTP/3 on a connection whose handshake has begun.

        Args:
            quic: the connection.
            streams: the open requests, shared with the machine.
            head_limit_bytes: a larger response head is refused.
        """
        self.h3 = RequestOnlyH3Connection(quic, max_field_section_bytes=head_limit_bytes)
        self.first_refused_id: int | None = None
        """Requests from this one on were refused by GOAWAY; None before one came."""
        self._quic = quic
        self._streams = streams
        self._control = ControlStreamWatch()
        self._head_limit_bytes = head_limit_bytes
        self._known_heads: KnownHeads = {}
        self._fields = FieldEncoder(self.h3)

    def send_head(self, stream_id: int, head: RequestHead, *, end: bool) -> None:
        """Begin a request on a new stream; `end`: no body follows.

        Raises:
            InvalidHeader: a header field is too large for QPACK.
        """
        try:
            # A qlog is to tell of each frame.
            if self.h3.has_table or self.h3.is_logged:
                self.h3.send_headers(stream_id, request_fields(head), end_stream=end)
                return
            frame = headers_frame(self._fields.encode(head))
        except ValueError as exc:
            # QPACK's encoder takes names and values of up to 65 535 bytes.
            self.h3.drop(stream_id)
            raise InvalidHeader(f"HTTP/3 cannot carry a header field: {exc}") from exc
        self.h3.begin_request(stream_id, end=end)
        self._quic.send_stream_data(stream_id, frame, end)

    def translate(self, event: quic_events.QuicEvent) -> list[Event]:
        """Take one event of the QUIC layer."""
        match event:
            case quic_events.StreamDataReceived() if is_unidirectional(event.stream_id):
                self.h3.handle_event(event)
                return self._watch_control(event)
            case quic_events.StreamDataReceived():
                return self._take_response(event)
            case quic_events.StreamReset():
                return self._take_reset(event)
            case quic_events.StopSendingReceived():
                self.h3.handle_event(event)
                return [SendingStopped(event.stream_id, event.error_code)]
        return []

    def abandon(self, stream_id: int, code: int) -> None:
        """RESET_STREAM, and STOP_SENDING while the peer may still send."""
        self._quic.reset_stream(stream_id, code)
        if private.is_receiving(self._quic, stream_id):
            self._quic.stop_stream(stream_id, code)

    def _take_response(self, event: quic_events.StreamDataReceived) -> list[Event]:
        stream = self._streams.get(event.stream_id)
        if stream is None or stream.failed:
            return []
        if event.end_stream:
            plain = stream.take_plain(event.data, self._known_heads)
            if plain is not None:
                return plain
        first = not stream.received_bytes
        translated: list[Event]
        try:
            stream.take_bytes(event.data, self._head_limit_bytes)
            parsed = self.h3.handle_event(event)
            self.h3.raise_malformed(event.stream_id)
            translated = stream.translate(parsed, self._head_limit_bytes)
        except ResponseHeadTooLarge:
            reason = f"the response head is larger than {self._head_limit_bytes} bytes"
            return self._refuse(stream, H3_EXCESSIVE_LOAD, reason, too_large=True)
        except MalformedResponse as exc:
            return self._refuse(stream, H3_MESSAGE_ERROR, f"malformed response: {exc}")
        # A qlog is to tell of each frame.
        if first and not self.h3.is_logged and translated:
            self._remember(stream, event.data, translated[0])
        return translated

    def _remember(self, stream: RequestStream, data: bytes, found: Event) -> None:
        """Keep the head that a response began with, if it is not an interim one."""
        if isinstance(found, HeadReceived):
            stream.remember(data, found.head, self._known_heads)

    def _refuse(
        self, stream: RequestStream, code: int, reason: str, *, too_large: bool = False
    ) -> list[Event]:
        stream.failed = True
        self.abandon(stream.stream_id, code)
        return [
            StreamReset(stream.stream_id, code, retryable=False, reason=reason, too_large=too_large)
        ]

    def _take_reset(self, event: quic_events.StreamReset) -> list[Event]:
        stream = self._streams.get(event.stream_id)
        if is_unidirectional(event.stream_id) or stream is not None:
            self.h3.handle_event(event)
        if stream is None or stream.failed or stream.response_ended:
            return []
        stream.failed = True
        # RFC 9114 §4.1.1: rejected means that no processing took place.
        retryable = event.error_code == H3_REQUEST_REJECTED
        return [StreamReset(event.stream_id, event.error_code, retryable)]

    def _watch_control(self, event: quic_events.StreamDataReceived) -> list[Event]:
        events: list[Event] = []
        for named in self._control.feed(event.stream_id, event.data, ended=event.end_stream):
            # RFC 9114 §5.2: a request's id, and never larger than the one before.
            highest = _HIGHEST_GOAWAY_ID if self.first_refused_id is None else self.first_refused_id
            if named is None or named % 4 or named > highest:
                self._quic.close(error_code=H3_ID_ERROR, reason_phrase="invalid GOAWAY")
                break
            self.first_refused_id = named
            events.append(GoAwayReceived(named - 4, H3_NO_ERROR))
            events.extend(self._refused_from(named))
        return events

    def _refused_from(self, first_refused_id: int) -> list[Event]:
        refused = [
            stream
            for stream in self._streams.values()
            if stream.stream_id >= first_refused_id and not stream.failed
        ]
        for stream in refused:
            stream.failed = True
        return [
            StreamReset(stream.stream_id, H3_REQUEST_REJECTED, retryable=True) for stream in refused
        ]
