"""One HTTP/3 connection of the receiver: aioquic's events in, ASGI applications beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from aioquic.h3.connection import ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, QuicEvent, StreamReset

from .asgi import EARLY_HINT, Scope
from .h3_exchange import H3Exchange, Headers

# An application that reads slowly (`throttle`) is allowed this much; aioquic grants credit for
# what has arrived, read or not, so beyond it datagrams are left unread, as on a congested path.
_BACKLOG_LIMIT_BYTES = 256 * 1024


class H3Session:
    """Streams of one connection. It does no I/O: whoever calls it transmits afterwards.

    Args:
        quic: the connection.
        start: runs the application for a new request.
        transmit: called when a response has something to send.
    """

    def __init__(
        self,
        quic: QuicConnection,
        start: Callable[[H3Exchange], None],
        transmit: Callable[[], None],
    ) -> None:
        self._quic = quic
        self._start = start
        self._transmit = transmit
        self._h3: H3Connection | None = None
        self._exchanges: dict[int, H3Exchange] = {}

    @property
    def congested(self) -> bool:
        """Whether datagrams had better be dropped until the applications have caught up."""
        backlog = sum(exchange.backlog_bytes for exchange in self._exchanges.values())
        return backlog > _BACKLOG_LIMIT_BYTES

    def handle(self, event: QuicEvent) -> None:
        """Take one event of the connection."""
        if isinstance(event, ProtocolNegotiated):
            self._h3 = H3Connection(self._quic)
        elif isinstance(event, StreamReset):
            self._disconnect(event.stream_id)
        elif isinstance(event, ConnectionTerminated):
            for stream_id in list(self._exchanges):
                self._disconnect(stream_id)
        if self._h3 is not None:
            for h3_event in self._h3.handle_event(event):
                self._handle_h3(h3_event)

    def fail(self, exchange: H3Exchange) -> None:
        """The application broke: give its stream up."""
        for stream_id, known in list(self._exchanges.items()):
            if known is exchange:
                self._quic.reset_stream(stream_id, ErrorCode.H3_INTERNAL_ERROR)
                self._disconnect(stream_id)
        self._transmit()

    def send_headers(self, stream_id: int, headers: Headers) -> None:
        """Send a response head."""
        if self._h3 is not None:
            self._h3.send_headers(stream_id, headers)
            self._transmit()

    def send_body(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """Send response bytes; after the last ones an unfinished upload is told to stop."""
        if self._h3 is None:
            return
        self._h3.send_data(stream_id, data, end)
        if end and not self._exchanges.pop(stream_id).request_ended:
            # RFC 9114 §4.1: a complete response may come before the request has been read.
            self._quic.stop_stream(stream_id, ErrorCode.H3_NO_ERROR)
        self._transmit()

    def _handle_h3(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            if event.stream_id not in self._exchanges:
                sink = _StreamSink(self, event.stream_id)
                exchange = H3Exchange(_scope(event.headers), sink)
                self._exchanges[event.stream_id] = exchange
                self._start(exchange)
            self._feed(event.stream_id, b"", ended=event.stream_ended)
        elif isinstance(event, DataReceived):
            self._feed(event.stream_id, event.data, ended=event.stream_ended)

    def _feed(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.feed(data, ended=ended)

    def _disconnect(self, stream_id: int) -> None:
        exchange = self._exchanges.pop(stream_id, None)
        if exchange is not None:
            exchange.disconnect()


@dataclass(frozen=True, slots=True)
class _StreamSink:
    session: H3Session
    stream_id: int

    def send_headers(self, headers: Headers) -> None:
        self.session.send_headers(self.stream_id, headers)

    def send_body(self, data: bytes, *, end: bool) -> None:
        self.session.send_body(self.stream_id, data, end=end)


def _scope(headers: list[tuple[bytes, bytes]]) -> Scope:
    pseudo = {name: value for name, value in headers if name.startswith(b":")}
    path, _, query = pseudo[b":path"].partition(b"?")
    return {
        "type": "http",
        "http_version": "3",
        "method": pseudo[b":method"].decode("ascii"),
        "scheme": "https",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "headers": [(name, value) for name, value in headers if not name.startswith(b":")],
        "extensions": {EARLY_HINT: {}},
    }
