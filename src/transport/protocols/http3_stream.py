"""One request on an HTTP/3 connection: where its body lies in the stream, and what came back."""

from __future__ import annotations

from bisect import bisect_right

from aioquic.h3.events import DataReceived as H3Data
from aioquic.h3.events import H3Event
from aioquic.h3.events import HeadersReceived as H3Headers

from ..message import Headers, RequestHead, ResponseHead
from .aioquic_private import SendHalf
from .aioquic_trains import BulkStream
from .events import (
    DataReceived,
    Event,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
    ResponseReceived,
)
from .fields import (
    LengthCheck,
    MalformedResponse,
    announced_length,
    headers_from,
    response_head,
)
from .http3_frames import DATA, HEADERS, FrameReader, whole_frame_at

#: RFC 9114 §4.2.2: what a field section's size limit adds to each field.
_FIELD_OVERHEAD_BYTES = 32


#: Response heads remembered; with a date in them, a server has a few in each second.
_KNOWN_HEADS = 32
_NO_TRAILERS = Headers()

KnownHeads = dict[bytes, tuple[ResponseHead, int | None]]
"""By field section, what it means, and the length of the body that it announces, but for HEAD.

Without a dynamic table (see `RequestOnlyH3Connection`) the same bytes always mean the same.
"""


class ResponseHeadTooLarge(Exception):
    """A field section beyond our limit; handled inside the machine."""


class BodyMap:
    """Translates stream offsets into body offsets, past the headers of DATA frames."""

    __slots__ = ("_body_starts", "_stream_starts", "body_bytes", "stream_end")

    def __init__(self) -> None:
        self._stream_starts: list[int] = []
        self._body_starts: list[int] = []
        self.body_bytes = 0
        self.stream_end = 0

    def add(self, stream_start: int, length: int) -> None:
        """Note that the next `length` body bytes begin at this stream offset."""
        if stream_start != self.stream_end or not self._stream_starts:
            self._stream_starts.append(stream_start)
            self._body_starts.append(self.body_bytes)
        self.body_bytes += length
        self.stream_end = stream_start + length

    def within(self, stream_offset: int) -> int:
        """Body bytes among the first `stream_offset` bytes of the stream."""
        run = bisect_right(self._stream_starts, stream_offset) - 1
        if run < 0:
            return self._body_starts[0] if self._body_starts else 0
        last = run + 1 == len(self._stream_starts)
        ceiling = self.body_bytes if last else self._body_starts[run + 1]
        return min(self._body_starts[run] + stream_offset - self._stream_starts[run], ceiling)

    def forget_below(self, stream_offset: int) -> None:
        """Drop what is only needed for offsets below this one."""
        run = bisect_right(self._stream_starts, stream_offset) - 1
        if run > 0:
            del self._stream_starts[:run], self._body_starts[:run]


class RequestStream:
    """What the machine keeps about one request."""

    __slots__ = (
        "_check",
        "_frames",
        "_head",
        "_head_sizes",
        "_method",
        "_unreported_bytes",
        "acked_offset",
        "body",
        "body_length",
        "bulk",
        "end_acked",
        "end_queued",
        "end_reported",
        "failed",
        "received_bytes",
        "reported_offset",
        "response_ended",
        "sender",
        "starved",
        "stream_id",
    )

    def __init__(self, stream_id: int, head: RequestHead, sender: SendHalf, *, end: bool) -> None:
        self.stream_id = stream_id
        self.sender = sender
        self.bulk: BulkStream | None = None
        """What holds the content, when the bulk sender carries the body."""
        self.body = BodyMap()
        self.body_length = head.content_length
        self.end_queued = end
        self.starved = False
        """`send_budget` said 0 and `StreamWritable` is owed."""
        self.reported_offset = 0
        self.end_reported = False
        self.acked_offset = 0
        self.end_acked = False
        self.received_bytes = 0
        self.response_ended = False
        self.failed = False
        """Nothing that still arrives matters."""
        self._method = head.method
        self._head: ResponseHead | None = None
        self._check: LengthCheck | None = None
        self._frames = FrameReader()
        self._head_sizes: list[int] = []
        self._unreported_bytes = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes that take memory: not yet sent, or sent and not yet acknowledged."""
        return self.sender.buffered_bytes if self.bulk is None else self.bulk.content.kept_bytes

    def take_bytes(self, data: bytes, limit_bytes: int) -> None:
        """Count stream bytes before they are parsed.

        Raises:
            ResponseHeadTooLarge: a HEADERS frame announces more than the limit.
        """
        self.received_bytes += len(data)
        self._unreported_bytes += len(data)
        for frame in self._frames.feed(data):
            if frame.kind == HEADERS:
                if frame.length > limit_bytes:
                    raise ResponseHeadTooLarge
                self._head_sizes.append(frame.header_bytes + frame.length)

    def take_plain(self, data: bytes, heads: KnownHeads) -> list[Event] | None:
        """What it means, when it is all of a response whose head is known, in at most one frame.

        None, and nothing done, when it is anything else: the library knows what becomes of it.
        """
        section = whole_frame_at(data, 0, HEADERS) if not self.received_bytes else None
        known = None if section is None else heads.get(data[section[0] : section[1]])
        if section is None or known is None or self._method == "HEAD":
            return None
        head, announced = known
        head_end = section[1]
        content = whole_frame_at(data, head_end, DATA)
        body = b"" if content is None else data[content[0] : content[1]]
        end = head_end if content is None else content[1]
        if end != len(data) or announced not in (None, len(body)):
            return None
        self.received_bytes = end
        self.response_ended = True
        if body:
            return [ResponseReceived(self.stream_id, head, head_end, body, end - head_end)]
        whole = HeadReceived(self.stream_id, head, head_end)
        return [whole, ResponseEnded(self.stream_id, _NO_TRAILERS)]

    def remember(self, data: bytes, head: ResponseHead, heads: KnownHeads) -> None:
        """Keep the head that the library made of the beginning of a response."""
        section = whole_frame_at(data, 0, HEADERS)
        if section is None or self._method == "HEAD":
            return
        if len(heads) >= _KNOWN_HEADS:
            heads.clear()
        heads[data[section[0] : section[1]]] = head, announced_length(head, self._method)

    def translate(self, events: list[H3Event], limit_bytes: int) -> list[Event]:
        """What the parsed frames mean.

        Raises:
            ResponseHeadTooLarge: a field section is larger than the limit once decoded.
            MalformedResponse: the response breaks the rules of RFC 9114 §4.
        """
        translated: list[Event] = []
        for event in events:
            last = event is events[-1]
            if isinstance(event, H3Headers):
                self._take_section(event, translated, limit_bytes)
            elif isinstance(event, H3Data):
                self._take_data(event, translated, last=last)
        return translated

    def _take_section(self, event: H3Headers, out: list[Event], limit_bytes: int) -> None:
        byte_count = self._head_sizes.pop(0)
        self._unreported_bytes -= byte_count
        size = sum(len(name) + len(value) + _FIELD_OVERHEAD_BYTES for name, value in event.headers)
        if size > limit_bytes:
            raise ResponseHeadTooLarge
        if self._head is not None:
            self._end(headers_from(event.headers), out)
            return
        head = response_head(event.headers)
        if head.status < 200:
            out.append(InterimReceived(self.stream_id, head))
            return
        self._head = head
        self._check = LengthCheck(announced_length(head, self._method))
        out.append(HeadReceived(self.stream_id, head, byte_count))
        if event.stream_ended:
            self._end(_NO_TRAILERS, out)

    def _take_data(self, event: H3Data, out: list[Event], *, last: bool) -> None:
        if self._head is None or self._check is None:
            raise MalformedResponse("the stream ended without a response")
        if event.data:
            self._check.add(len(event.data))
            # Frame headers are counted with the last piece of what arrived together.
            byte_count = self._unreported_bytes if last else len(event.data)
            self._unreported_bytes -= byte_count
            out.append(DataReceived(self.stream_id, event.data, byte_count))
        if event.stream_ended:
            self._end(_NO_TRAILERS, out)

    def _end(self, trailers: Headers, out: list[Event]) -> None:
        if self._check is not None:
            self._check.finish()
        self.response_ended = True
        out.append(ResponseEnded(self.stream_id, trailers))
