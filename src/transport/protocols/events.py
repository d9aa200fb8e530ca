"""The one event vocabulary of HTTP/1.1, HTTP/2 and HTTP/3: what a peer did, in past tense.

Nobody changes an event. Those that each response is made of are not frozen all the same, for that
makes them cost three times as much.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SourceError
from ..message import Headers, ResponseHead


@dataclass(frozen=True, slots=True)
class InterimReceived:
    """A 1xx response head arrived (RFC 9110 §15.2)."""

    stream_id: int
    head: ResponseHead


@dataclass(slots=True)
class HeadReceived:
    """The final response head arrived."""

    stream_id: int
    head: ResponseHead
    byte_count: int
    """Bytes the head took at the HTTP layer: head and framing, as received."""


@dataclass(slots=True)
class DataReceived:
    """A piece of the response body arrived."""

    stream_id: int
    data: bytes
    byte_count: int
    """Bytes it took at the HTTP layer, framing included."""


@dataclass(slots=True)
class ResponseEnded:
    """The response is complete."""

    stream_id: int
    trailers: Headers


@dataclass(slots=True)
class ResponseReceived:
    """The response arrived whole, from its final head to its end, without trailers.

    The same as `HeadReceived`, `DataReceived` and `ResponseEnded`, where a machine has it at once.
    """

    stream_id: int
    head: ResponseHead
    head_byte_count: int
    """Bytes the head took at the HTTP layer; see `HeadReceived`."""
    body: bytes
    """At least one byte."""
    body_byte_count: int
    """Bytes the body took; see `DataReceived`."""


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream ended without a complete response: by the peer, or by us for what it did."""

    stream_id: int
    error_code: int
    retryable: bool
    """The peer promised that it did not process the request: RST_STREAM(REFUSED_STREAM)
    (RFC 9113 §8.7), H3_REQUEST_REJECTED (RFC 9114 §4.1.1), or above a GOAWAY's last stream."""
    reason: str = ""
    """What was wrong with the response, when this side gave the stream up for it."""
    too_large: bool = False
    """`reason` is a response head beyond our limit."""


@dataclass(frozen=True, slots=True)
class SendingStopped:
    """The peer wants no more of the request body; the response is, or will be, complete.

    HTTP/2: RST_STREAM(NO_ERROR) after a complete response (RFC 9113 §8.1); HTTP/3: STOP_SENDING
    (RFC 9114 §4.1).
    """

    stream_id: int
    error_code: int


@dataclass(frozen=True, slots=True)
class StreamWritable:
    """`send_budget(stream_id)` rose above zero."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class BodyAcked:
    """The peer's transport acknowledged the stream up to here (HTTP/3 only).

    TCP acknowledges for a whole connection, so there the kernel is asked instead.
    """

    stream_id: int
    offset: int
    """Contiguous stream bytes acknowledged, framing included."""
    finished: bool
    """The end of the stream was acknowledged too."""


@dataclass(frozen=True, slots=True)
class BodyUnreadable:
    """Bytes of a file could not be read when they were to be sent; the stream was reset."""

    stream_id: int
    error: SourceError


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer takes no new requests on this connection (RFC 9113 §6.8, RFC 9114 §5.2)."""

    last_stream_id: int
    """Requests above this one were not processed."""
    error_code: int


@dataclass(frozen=True, slots=True)
class StreamLimitChanged:
    """The peer changed how many requests may run at once."""

    max_streams: int


@dataclass(frozen=True, slots=True)
class PingAcked:
    """A PING sent by `ping(payload)` came back (HTTP/2)."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """The QUIC handshake is complete (HTTP/3 only; TCP machines begin after TLS)."""

    alpn: str | None
    session_resumed: bool
    early_data_accepted: bool


@dataclass(frozen=True, slots=True)
class HandshakeConfirmed:
    """The server has said that it has the client's Finished (HANDSHAKE_DONE, RFC 9001 §4.1.2)."""


@dataclass(frozen=True, slots=True)
class ConnectionTerminated:
    """The connection is over; every open stream ends with this reason."""

    reason: str
    error_code: int | None
    by_peer: bool
    clean: bool
    """Nothing was violated: end of file between requests, GOAWAY(NO_ERROR), idle timeout."""
    too_large: bool = False
    """`reason` is a response head beyond our limit."""


Event = (
    InterimReceived
    | HeadReceived
    | DataReceived
    | ResponseEnded
    | ResponseReceived
    | StreamReset
    | SendingStopped
    | StreamWritable
    | BodyAcked
    | BodyUnreadable
    | GoAwayReceived
    | StreamLimitChanged
    | PingAcked
    | HandshakeCompleted
    | HandshakeConfirmed
    | ConnectionTerminated
)
