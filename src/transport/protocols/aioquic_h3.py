"""aioquic's HTTP/3 layer, made to fit requests.

Part of `aioquic_private`, under the same canary test.
"""

# ruff: noqa: SLF001  -- private names are what this module is for

from __future__ import annotations

from typing import cast

from aioquic.h3.connection import H3Connection, H3Stream, HeadersState, MessageError, Setting
from aioquic.h3.events import H3Event
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.logger import QuicLoggerTrace

from .aioquic_qlog import DiscreetTrace
from .fields import MalformedResponse


class RequestOnlyH3Connection(H3Connection):
    """An `H3Connection` for requests: bounded, and forgiving towards the other streams.

    - Header blocks cannot grow when they are decoded: without a dynamic table (RFC 9204 §3.2.3,
      capacity 0) no few bytes can stand for a large field again and again, and no response waits
      for another stream. Responses to uploads are too small to miss it.
    - Nothing may be pushed (RFC 9114 §7.2.7): an upload's answer is all we want.
    - A malformed response ends its stream and not the connection (RFC 9114 §4.1.2).
    - Content-Length is not compared here: the library does not know which responses have no
      content (to HEAD, and 304) and would close the connection over one.
    """

    def __init__(self, quic: QuicConnection, *, max_field_section_bytes: int) -> None:
        self._max_field_section_bytes = max_field_section_bytes
        self._malformed: dict[int, str] = {}
        super().__init__(quic)
        if self._quic_logger is not None:
            self._quic_logger = cast("QuicLoggerTrace", DiscreetTrace(self._quic_logger))

    @property
    def is_logged(self) -> bool:
        """Whether a qlog is written."""
        return self._quic_logger is not None

    def raise_malformed(self, stream_id: int) -> None:
        """Say whether what was handed in last was in order.

        Raises:
            MalformedResponse: it was not.
        """
        reason = self._malformed.pop(stream_id, None)
        if reason is not None:
            raise MalformedResponse(reason)

    @property
    def has_table(self) -> bool:
        """Whether requests are compressed with a dynamic table (RFC 9204 §3.2)."""
        settings = self.received_settings
        return settings is not None and settings.get(Setting.QPACK_MAX_TABLE_CAPACITY, 0) > 0

    def begin_request(self, stream_id: int, *, end: bool) -> None:
        """Take note of a head that is sent without `send_headers`; `end`: no body follows."""
        stream = self._stream[stream_id] = H3Stream(stream_id)
        stream.headers_send_state = HeadersState.AFTER_HEADERS
        stream.sending_ended = end

    def drop(self, stream_id: int) -> None:
        """Forget a request; no event of its stream may be handed in any more."""
        self._stream.pop(stream_id, None)

    def _init_connection(self) -> None:
        self._max_table_capacity = 0
        self._blocked_streams = 0
        self._max_push_id = None
        self._decoder = type(self._decoder)(0, 0)
        super()._init_connection()

    def _get_local_settings(self) -> dict[int, int]:
        return {
            Setting.QPACK_MAX_TABLE_CAPACITY: 0,
            Setting.QPACK_BLOCKED_STREAMS: 0,
            Setting.MAX_FIELD_SECTION_SIZE: self._max_field_section_bytes,
        }

    def _check_content_length(self, stream: H3Stream) -> None:
        pass

    def _receive_stream_data(self, event: StreamDataReceived) -> list[H3Event]:
        try:
            return super()._receive_stream_data(event)
        except MessageError as exc:
            self._malformed[event.stream_id] = exc.reason_phrase
            return []


class FieldCompressor:
    """QPACK without a dynamic table: the same fields always make the same bytes."""

    def __init__(self, h3: RequestOnlyH3Connection) -> None:
        # Of the connection's kind, and never told of the peer's settings.
        self._encoder = type(h3._encoder)()

    def compress(self, fields: list[tuple[bytes, bytes]]) -> bytes:
        """A field section.

        Raises:
            ValueError: a field is too large.
        """
        _, section = self._encoder.encode(0, fields)
        return bytes(section)
