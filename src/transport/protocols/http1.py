"""HTTP/1.1 without I/O: one request after the other over h11 (RFC 9112).

h11 knows the grammar and the message states. This machine gives it the shape of the other
protocols, and adds what a client needs beyond it: bounds on complete heads and trailers, byte
counts, requests answered before they were sent completely, and one reusable flag that says when
the next request may follow.

An exchange that is as plain as most are (`http1_plain.py`) is carried without h11, which is told of
the request as soon as anything else comes, and goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import cast

import h11

from ..buffers import Buffer
from ..config import HttpVersion, Limits, ProxyServer
from ..errors import InvalidHeader
from ..message import Headers, RequestHead, ResponseHead
from .events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
)
from .fields import announces_length, headers_from
from .h11_private import new_request, unparsed_bytes
from .http1_plain import REFUSED_FIELDS, PlainHeads
from .http_connect import proxy_authorization
from .machine import StreamTotals

#: Body bytes queued at most before `transmit` must take them: one buffer of the driver.
SEND_BUFFER_BYTES = 256 * 1024
#: 1xx responses to one request. A server that reports the progress of a long upload (102, 104)
#: sends many; one that never stops would keep a client waiting for ever without being idle.
MAX_INTERIM_RESPONSES = 1000
#: A peer's garbage is quoted in a reason only so far.
_REASON_CHARS = 200

_STATUS_HINT_TOO_LARGE = 431
_GREETING = b"HTTP/1."
_NO_FIELDS = Headers()


class _Violation(Exception):
    """What the peer did wrong; never leaves this module."""

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


@dataclass(slots=True)
class _Message:
    """One request and its response."""

    stream_id: int
    untold: RequestHead | None = None
    """The head, as long as h11 has not been told of this request."""
    body_bytes: int = 0
    """Of the request, so far."""
    sent_bytes: int = 0
    received_bytes: int = 0
    """As fed, a partial event included; without what came after the response."""
    parsed_bytes: int = 0
    interim_responses: int = 0
    request_ended: bool = False
    head_received: bool = False
    response_ended: bool = False


class _FileBytes:
    """Stands for body bytes the driver sends itself: h11 promises to call nothing but `len`."""

    __slots__ = ("_count",)

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


class Http1Machine:
    """The client's side of one HTTP/1.1 connection; implements `StreamMachine`.

    Stream ids count requests, from 1. A request that is given up, or answered before it was sent
    to its end, leaves the connection unusable: HTTP/1.1 has no way to end it otherwise.
    """

    version = HttpVersion.HTTP1

    def __init__(self, limits: Limits, forwarder: ProxyServer | None = None) -> None:
        """Be ready for the first request; `forwarder` is the proxy that is to forward them."""
        self._forwarder = forwarder
        self._head_limit_bytes = limits.response_head_bytes
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.response_head_bytes)
        self._plain = PlainHeads()
        self._messages: dict[int, _Message] = {}
        self._current: _Message | None = None
        self._requests = 0
        self._reusable = True
        self._out: list[Buffer] = []
        self._queued_body_bytes = 0

    # --- HttpMachine --------------------------------------------------------------------------

    @property
    def available_streams(self) -> int:
        """1 between requests while the connection may be used again, otherwise 0."""
        return int(self._reusable and self._current is None)

    @property
    def head_begun(self) -> bool:
        """Whether a part of a response head, but not its end, has arrived."""
        message = self._current
        return (
            message is not None
            and not message.head_received
            and message.received_bytes > message.parsed_bytes
        )

    def send_head(self, head: RequestHead, *, end: bool) -> int:
        """Begin a request; see `HttpMachine.send_head`. A body of unknown length goes chunked.

        Raises:
            InvalidHeader: the method or a field cannot be sent in HTTP/1.1, or would change what
                the connection is; nothing was queued and the machine is as it was.
        """
        if not self.available_streams:
            raise RuntimeError("this connection takes no request now")
        if end and head.content_length:
            raise RuntimeError("a body was announced and none follows")
        plain = self._plain.request_head_bytes(head) if self._forwarder is None else None
        request = _h11_request(head, end=end, forwarder=self._forwarder) if plain is None else None
        self._requests += 1
        message = _Message(self._requests, head if request is None else None)
        self._messages[message.stream_id] = self._current = message
        if plain is not None:
            self._out.append(plain)
        elif request is not None:
            self._out += self._give(request)
        if end:
            self._end_request(message)
        return message.stream_id

    def send_whole(self, head: RequestHead, body: Buffer) -> tuple[int, Buffer]:
        """Begin and end a request whose body is at hand.

        Returns:
            The stream id, and what the caller sends, all of it, before anything else: `transmit`
            has nothing for it.

        Raises:
            InvalidHeader: see `send_head`.
        """
        size = len(body)
        plain = None
        if self.available_streams and self._forwarder is None and size == head.content_length:
            plain = self._plain.request_head_bytes(head)
        if plain is None:
            stream_id = self.send_head(head, end=not size)
            if size:
                self.send_body(stream_id, body, end=True)
            return stream_id, b"".join(self.transmit())
        self._requests = stream_id = self._requests + 1
        data = b"".join((plain, body))
        self._messages[stream_id] = self._current = _Message(
            stream_id, head, size, len(data), request_ended=True
        )
        return stream_id, data

    def send_budget(self, stream_id: int) -> int:
        """Room in our buffer; 0 once the request was sent to its end or given up."""
        message = self._current
        if message is None or message.stream_id != stream_id or message.request_ended:
            return 0
        return max(0, SEND_BUFFER_BYTES - self._queued_body_bytes)

    def send_body(self, stream_id: int, data: Buffer, *, end: bool) -> None:
        """Queue body bytes; see `HttpMachine.send_body`. `transmit` returns `data` itself."""
        message = self._expect_sending(stream_id)
        if len(data):
            self._out += self._framed(message, data)
            self._queued_body_bytes += len(data)
        if end:
            self._end_request(message)

    def pass_body(self, stream_id: int, byte_count: int, *, end: bool) -> None:
        """Account for body bytes that the driver sends itself, after all that `transmit` gave.

        Only for a body of announced length: chunks would need framing around them.
        """
        message = self._expect_sending(stream_id)
        if self._out:
            raise RuntimeError("what is queued must be sent first")
        if len(self._framed(message, _FileBytes(byte_count))) > 1:
            raise RuntimeError("a chunked body cannot be passed by")
        message.sent_bytes += byte_count
        if end:
            self._end_request(message)

    def reset_stream(self, stream_id: int, *, response_complete: bool = False) -> None:
        """Give a request up, and the connection with it. A no-op when it is over."""
        del response_complete  # there is no code to choose
        if self._current is not None and self._current.stream_id == stream_id:
            self.close()

    def stream_totals(self, stream_id: int) -> StreamTotals:
        """Head, framing and body bytes so far; those of `transmit` count once it gave them."""
        message = self._messages[stream_id]
        return StreamTotals(message.sent_bytes, message.received_bytes)

    def received_bytes(self, stream_id: int) -> int:
        """The received ones of `stream_totals`."""
        return self._messages[stream_id].received_bytes

    def forget_stream(self, stream_id: int) -> None:
        """Drop what is kept about a finished request."""
        self._messages.pop(stream_id, None)

    def close(self) -> None:
        """Take no more requests; HTTP/1.1 says nothing at the end."""
        self._reusable = False
        self._current = None
        self._out.clear()

    # --- StreamMachine ------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes read from the peer; see `StreamMachine.receive_data`.

        Bytes after a complete response, and what comes after the connection ended, are dropped.
        """
        message = self._current
        if message is None:
            return self._unasked(data) if self._reusable else []
        if message.response_ended:
            self._reusable = False
            return []
        if message.untold is not None:
            whole = self.receive_whole(data)
            if whole is not None:
                return _events(message, *whole)
            self._tell_h11(message, message.body_bytes)
        if not data:
            self._reusable = False
        elif not _may_be_http1(data, message.received_bytes):
            # Not left to h11, which waits for an empty line that another protocol never sends.
            return [self._terminated(f"the peer does not speak HTTP/1.1: {data[:32]!r}")]
        message.received_bytes += len(data)
        self._h11.receive_data(data)
        events: list[Event] = []
        try:
            self._parse(message, events, at_end=not data)
        except _Violation as violation:
            events.append(self._terminated(str(violation), too_large=violation.too_large))
        except h11.RemoteProtocolError as error:
            too_large = error.error_status_hint == _STATUS_HINT_TOO_LARGE
            reason = f"the peer broke HTTP/1.1: {error}"
            events.append(self._terminated(reason, too_large=too_large))
        return _joined(events)

    def receive_whole(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Take a whole response that came in one piece: its head and its body.

        None when the bytes are anything else: they are for `receive_data`.
        """
        message = self._current
        if message is None or message.untold is None or not message.request_ended:
            return None
        found = self._plain.whole_response(data, self._head_limit_bytes)
        if found is None:
            return None
        head, head_bytes = found
        message.received_bytes = len(data)
        message.parsed_bytes = head_bytes
        message.head_received = message.response_ended = True
        # h11 was never told of the request, so it is ready for the next one.
        self._current = None
        return head, data[head_bytes:]

    def transmit(self) -> list[Buffer]:
        """Take everything to be sent, in order; body bytes are the caller's own objects."""
        out, self._out = self._out, []
        self._queued_body_bytes = 0
        if self._requests in self._messages:
            self._messages[self._requests].sent_bytes += sum(map(len, out))
        return out

    # --- sending ------------------------------------------------------------------------------

    def _expect_sending(self, stream_id: int) -> _Message:
        message = self._current
        if message is None or message.stream_id != stream_id or message.request_ended:
            raise RuntimeError(f"request {stream_id} takes no body")
        return message

    def _give(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> list[Buffer]:
        try:
            return list(self._h11.send_with_data_passthrough(event) or ())
        except h11.LocalProtocolError as exc:
            raise RuntimeError(f"the request breaks its own head: {exc}") from exc

    def _framed(self, message: _Message, data: Buffer | _FileBytes) -> list[Buffer]:
        """Body bytes with what HTTP/1.1 puts around them."""
        message.body_bytes += len(data)
        head = message.untold
        if head is not None and message.body_bytes <= (head.content_length or 0):
            return [cast("Buffer", data)]
        self._tell_h11(message, message.body_bytes - len(data))
        # h11 hands on the very object it is given (its sendfile support), whatever its type.
        return self._give(h11.Data(data=cast("bytes", data)))

    def _tell_h11(self, message: _Message, body_bytes: int) -> None:
        """Bring h11 to where a plain request is; it is its business from now on."""
        head, message.untold = message.untold, None
        if head is None:
            return
        self._give(_h11_request(head, end=False, forwarder=self._forwarder))
        if body_bytes:
            self._give(h11.Data(data=cast("bytes", _FileBytes(body_bytes))))
        if message.request_ended:
            self._give(h11.EndOfMessage())

    def _end_request(self, message: _Message) -> None:
        head = message.untold
        if head is None or message.body_bytes != head.content_length:
            self._tell_h11(message, message.body_bytes)
            self._out += self._give(h11.EndOfMessage())
        message.request_ended = True
        if message.response_ended:
            self._finish()

    # --- receiving ----------------------------------------------------------------------------

    def _parse(self, message: _Message, events: list[Event], *, at_end: bool) -> None:
        if at_end and not message.head_received:
            raise _Violation(
                "the peer closed the connection in the middle of the response head"
                if message.received_bytes
                else "the peer closed the connection without a response"
            )
        while not message.response_ended:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                break
            events.append(self._event(message, event, self._parsed(message)))

    def _event(self, message: _Message, event: object, byte_count: int) -> Event:
        if isinstance(event, h11.Data):
            return DataReceived(message.stream_id, bytes(event.data), byte_count)
        if byte_count > self._head_limit_bytes:
            raise _Violation(
                f"a head or trailer section of the response is larger than "
                f"{self._head_limit_bytes} bytes",
                too_large=True,
            )
        match event:
            case h11.InformationalResponse():
                message.interim_responses += 1
                if message.interim_responses > MAX_INTERIM_RESPONSES:
                    raise _Violation(f"more than {MAX_INTERIM_RESPONSES} 1xx responses")
                return InterimReceived(message.stream_id, _response_head(event))
            case h11.Response():
                message.head_received = True
                head = _response_head(event)
                if "transfer-encoding" in head.headers and "content-length" in head.headers:
                    # RFC 9112 §6.3: the former counts; what follows is not to be trusted.
                    self._reusable = False
                return HeadReceived(message.stream_id, head, byte_count)
            case h11.EndOfMessage():
                self._end_response(message)
                return ResponseEnded(message.stream_id, headers_from(event.headers.raw_items()))
        raise RuntimeError(f"h11 said {event!r} in the middle of a response")

    def _end_response(self, message: _Message) -> None:
        message.response_ended = True
        surplus_bytes = unparsed_bytes(self._h11)
        if surplus_bytes:
            # RFC 9112 §6.3: more than was announced is not a response to anything.
            message.received_bytes -= surplus_bytes
            self._reusable = False
        if message.request_ended:
            self._finish()

    def _finish(self) -> None:
        """Both sides have ended."""
        self._current = None
        if (self._h11.our_state, self._h11.their_state) != (h11.DONE, h11.DONE):
            # One side said Connection: close, or speaks HTTP/1.0 (RFC 9112 §9.3).
            self._reusable = False
        if self._reusable:
            self._h11.start_next_cycle()

    def _parsed(self, message: _Message) -> int:
        parsed_bytes = message.received_bytes - unparsed_bytes(self._h11)
        byte_count = parsed_bytes - message.parsed_bytes
        message.parsed_bytes = parsed_bytes
        return byte_count

    def _unasked(self, data: bytes) -> list[Event]:
        if data:
            return [self._terminated("the peer sent bytes that nobody asked for")]
        return [self._terminated("the peer closed the idle connection", clean=True)]

    def _terminated(
        self, reason: str, *, too_large: bool = False, clean: bool = False
    ) -> ConnectionTerminated:
        self.close()
        return ConnectionTerminated(
            reason=reason[:_REASON_CHARS],
            error_code=None,
            by_peer=True,
            clean=clean,
            too_large=too_large,
        )


def _h11_request(head: RequestHead, *, end: bool, forwarder: ProxyServer | None) -> h11.Request:
    if head.method == "CONNECT":
        raise InvalidHeader("CONNECT opens a tunnel; it cannot be sent as a request")
    fields = [("Host", head.url.origin.authority), *head.headers.fields]
    target = head.url.target
    if forwarder is not None:
        # RFC 9112 §3.2.2: a proxy is told the whole URL.
        target = str(head.url)
        authorization = proxy_authorization(forwarder)
        if authorization is not None:
            fields.append(("Proxy-Authorization", authorization))
    if head.content_length is None and not end:
        fields.append(("Transfer-Encoding", "chunked"))
    elif announces_length(head):
        fields.append(("Content-Length", str(head.content_length)))
    refused = REFUSED_FIELDS.intersection([name.lower() for name, _ in head.headers.fields])
    if refused:
        raise InvalidHeader(f"the connection writes {', '.join(sorted(refused))} itself")
    try:
        # RFC 9110 §5.5: white space around a value is not part of it.
        encoded = [
            (name.encode("ascii"), value.strip(" \t").encode("latin-1")) for name, value in fields
        ]
        return new_request(head.method, target, encoded)
    except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
        raise InvalidHeader(f"the request head cannot be sent in HTTP/1.1: {exc}") from exc


def _response_head(event: h11.Response | h11.InformationalResponse) -> ResponseHead:
    return ResponseHead(status=event.status_code, headers=headers_from(event.headers.raw_items()))


def _events(message: _Message, head: ResponseHead, body: bytes) -> list[Event]:
    """Those of a response that came whole."""
    stream_id = message.stream_id
    events: list[Event] = [HeadReceived(stream_id, head, message.parsed_bytes)]
    if body:
        events.append(DataReceived(stream_id, body, len(body)))
    events.append(ResponseEnded(stream_id, _NO_FIELDS))
    return events


def _may_be_http1(data: bytes, offset: int) -> bool:
    expected = _GREETING[offset : offset + len(data)]
    return data[: len(expected)] == expected


def _joined(events: list[Event]) -> list[Event]:
    """Pieces of a body that came with one read as one event: a peer may send tiny chunks."""
    joined: list[Event] = []
    for is_data, group in groupby(events, key=lambda event: isinstance(event, DataReceived)):
        if not is_data:
            joined += group
            continue
        pieces = [event for event in group if isinstance(event, DataReceived)]
        data = b"".join(piece.data for piece in pieces)
        byte_count = sum(piece.byte_count for piece in pieces)
        joined.append(DataReceived(pieces[0].stream_id, data, byte_count))
    return joined
