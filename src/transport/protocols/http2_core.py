"""The state of one HTTP/2 connection that sending and receiving share."""

from __future__ import annotations

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from ..config import Limits
from ..message import Headers, ResponseHead
from . import h2_private
from .events import ConnectionTerminated, Event, StreamWritable
from .fields import LengthCheck
from .http2_flood import FloodGuard
from .http2_frames import GoAway, goaway_frame, split_frames
from .http2_queue import OutChunk, OutQueue

#: Received DATA is acknowledged at once, for responses are bounded elsewhere
#: (`Limits.response_body_bytes`). So the windows only have to cover the path: 4 MiB per stream
#: carries 320 Mbit/s at 100 ms, and one connection carries four such answers.
STREAM_WINDOW_BYTES = 4 * 1024 * 1024
CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
_DEFAULT_WINDOW_BYTES = 65535
#: What RFC 9113 §6.5.2 recommends as the least, assumed while the peer does not say.
UNANNOUNCED_STREAMS = 100
_NO_TRAILERS = Headers()
#: What a stream is expected to send at a time while others wait.
TURN_BYTES = 64 * 1024


class StreamRecord:
    """Byte counts and progress of one request; h2 keeps its protocol state."""

    __slots__ = (
        "head",
        "length",
        "local_ended",
        "method",
        "over",
        "received_bytes",
        "remote_ended",
        "sent_bytes",
        "stream_id",
        "trailers",
    )

    def __init__(self, stream_id: int, method: str, *, local_ended: bool) -> None:
        self.stream_id = stream_id
        self.method = method
        self.length: LengthCheck | None = None
        """Set once the final response head arrived."""
        self.head: tuple[ResponseHead, int | None] | None = None
        """What h2 has just made of a field block, and the length that announces, until the receiver
        has looked at it."""
        self.trailers = _NO_TRAILERS
        self.sent_bytes = 0
        self.received_bytes = 0
        self.local_ended = local_ended
        """The end of the request is queued or sent."""
        self.remote_ended = False
        """The response is complete."""
        self.over = False
        """Nothing more happens on it: reset, refused, or complete on both sides."""


class Http2Core:
    """Streams, windows, the bounded output, and how they end."""

    def __init__(self, limits: Limits) -> None:
        self.h2: H2Connection = h2_private.new_connection(
            {
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.response_head_bytes,
            },
            limits.response_head_bytes,
        )
        self.queue = OutQueue()
        self.guard = FloodGuard()
        self.events: list[Event] = []
        self.records: dict[int, StreamRecord] = {}
        self.open: set[int] = set()
        """Streams that are not over on both sides."""
        self.stream_limit = UNANNOUNCED_STREAMS
        """How many streams the peer lets us have open at a time."""
        self.initial_windows = h2_private.initial_windows(self.h2)
        self.goaway: GoAway | None = None
        self.over = False
        """The connection has ended: nothing is read, nothing new is sent."""
        # Streams whose budget was asked for and found empty, the longest waiting first.
        self._starved: dict[int, None] = {}
        # Streams that were told of their budget and have not asked for it yet.
        self._promised: set[int] = set()
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)
        self.queue.push(OutChunk(0, self.h2.data_to_send()))

    def begin(self, method: str, *, body_bytes: int = 0, end: bool) -> StreamRecord:
        """Begin a request on the next stream, which is available.

        Args:
            method: its method.
            body_bytes: how much of its body is laid out with its head.
            end: that is all of it.
        """
        h2 = self.h2
        stream_id = (h2.highest_outbound_stream_id + 1) | 1  # RFC 9113 §5.1.1
        windows = self.initial_windows
        h2_private.begin_stream(h2, stream_id, method, windows, body_bytes=body_bytes, end=end)
        self.records[stream_id] = record = StreamRecord(stream_id, method, local_ended=end)
        self.open.add(stream_id)
        self.guard.earn_request(body_bytes)
        return record

    def settings_changed(self) -> None:
        """Take over what h2 knows of both sides' settings."""
        limit = self.h2.remote_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)
        self.stream_limit = UNANNOUNCED_STREAMS if limit is None else limit
        self.initial_windows = h2_private.initial_windows(self.h2)

    def forget(self, stream_id: int) -> None:
        """Drop what is kept about a stream."""
        self.records.pop(stream_id, None)
        if self._starved or self._promised:
            self._stop_waiting(stream_id)

    def window(self, stream_id: int) -> int:
        """Body bytes that the peer takes of a stream now; never negative."""
        record = self.records.get(stream_id)
        if self.over or record is None or record.over or record.local_ended:
            return 0
        # RFC 9113 §6.9.2: windows may be negative after the peer lowered its initial window.
        return max(0, h2_private.window(self.h2, stream_id))

    def budget(self, stream_id: int) -> int:
        """Body bytes that may be queued for a stream; never negative."""
        return min(self.window(stream_id), self.queue.room_bytes)

    def spare_window(self, stream_id: int) -> int:
        """`window`, without what was promised to streams that have not asked for it yet."""
        window = self.window(stream_id)
        if not self._promised or not window:
            return window
        return max(0, min(window, self.h2.outbound_flow_control_window - self._promised_bytes()))

    def ask_budget(self, stream_id: int) -> int:
        """`budget`; when it is 0, the stream counts as waiting for it to rise."""
        budget = self.budget(stream_id)
        self._promised.discard(stream_id)
        if budget == 0 and stream_id in self.open:
            self._starved[stream_id] = None
        return budget

    def wake_starved(self) -> None:
        """Say `StreamWritable` to as many starved streams as what all share is enough for.

        Waking them all for a window that one of them empties costs a turn of each: with a hundred
        uploads that was most of the work. Who is woken has a turn's worth promised until it asks.
        """
        if not self._starved:
            return
        shared = min(self.h2.outbound_flow_control_window, self.queue.room_bytes)
        spare = shared - self._promised_bytes()
        for stream_id in list(self._starved):
            if spare <= 0:
                return
            budget = self.budget(stream_id)
            if budget > 0:
                spare -= min(budget, TURN_BYTES)
                del self._starved[stream_id]
                self._promised.add(stream_id)
                self.events.append(StreamWritable(stream_id))

    def _promised_bytes(self) -> int:
        return sum(min(self.budget(each), TURN_BYTES) for each in self._promised)

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """Send RST_STREAM and finish the stream; nothing when it is closed already."""
        if self.over or h2_private.is_closed(self.h2, stream_id):
            return
        self.h2.reset_stream(stream_id, code)
        record = self.records.get(stream_id)
        if record is not None:
            self.finish(record)
        self.collect()

    def finish(self, record: StreamRecord) -> None:
        """Nothing more happens on the stream; what waits of its body is dropped."""
        record.over = True
        self.open.discard(record.stream_id)
        self._stop_waiting(record.stream_id)
        dropped = self.queue.drop_body(record.stream_id)
        h2_private.return_connection_window(self.h2, dropped)
        h2_private.forget_stream(self.h2, record.stream_id)

    def close_if_complete(self, record: StreamRecord) -> None:
        """Take note of a stream that is complete on both sides."""
        if record.local_ended and record.remote_ended:
            record.over = True
            self.open.discard(record.stream_id)
            h2_private.forget_stream(self.h2, record.stream_id)

    def answered(self, record: StreamRecord, body_bytes: int, *, after_head: bool = False) -> bool:
        """Take note of a response to a request that has ended: a known head, and so much body.

        Args:
            record: of the request.
            body_bytes: in the one frame that ends the stream.
            after_head: the head was taken before.

        Returns:
            Whether that was done; False, and nothing was, when h2 has to know more of it.
        """
        stream_id = record.stream_id
        if not h2_private.take_response(self.h2, stream_id, body_bytes, after_head=after_head):
            return False
        record.remote_ended = record.over = True
        self.open.discard(stream_id)
        self.guard.earn_bytes(body_bytes)
        return True

    def collect(self) -> None:
        """Queue what h2 wants sent, each frame for its stream."""
        if h2_private.has_output(self.h2):
            for stream_id, frame in split_frames(self.h2.data_to_send()):
                self.queue.push(OutChunk(stream_id, frame))

    def stop(self, code: int, debug: bytes) -> None:
        """End the connection from this side with GOAWAY; waiting bodies are not sent."""
        if self.over:
            return
        self.over = True
        self.queue.drop_body()
        self.queue.push(OutChunk(0, goaway_frame(code, debug)))

    def _stop_waiting(self, stream_id: int) -> None:
        self._starved.pop(stream_id, None)
        self._promised.discard(stream_id)

    def terminated(self, event: ConnectionTerminated) -> None:
        """The connection has ended for the reason given."""
        self.over = True
        self.events.append(event)
