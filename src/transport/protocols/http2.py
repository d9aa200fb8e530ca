"""HTTP/2 without I/O (RFC 9113): the h2 library behind the engine's machine interface.

h2 keeps the protocol state, HPACK and the windows. Around it, `http2_receive` maps its events to
the engine's, `http2_core` bounds what waits to be sent, and this module lays out DATA frames
itself, for h2 serialises them one by one with several copies. What h2 leaves out is added: running
streams go on after GOAWAY, a response that lies about its length ends its stream and not the
connection, and floods are bounded.
"""

from __future__ import annotations

from h2.errors import ErrorCodes

from ..buffers import Buffer
from ..config import HttpVersion, Limits
from ..message import RequestHead
from . import h2_private
from .events import Event
from .http2_core import Http2Core
from .http2_fields import HeadEncoder
from .http2_frames import (
    HEADER_BYTES,
    begins_with_message,
    data_frames,
    data_headers,
    head_frames,
    request_frames,
)
from .http2_queue import OutChunk
from .http2_receive import Http2Receiver
from .machine import StreamTotals

_LAST_STREAM_ID = 2**31 - 1


class Http2Machine:
    """The client's end of one HTTP/2 connection; implements `StreamMachine`."""

    version = HttpVersion.HTTP2

    def __init__(self, limits: Limits) -> None:
        self._core = Http2Core(limits)
        self._heads = HeadEncoder(self._core.h2.encoder)
        self._receiver = Http2Receiver(self._core, limits.response_head_bytes)

    # --- requests ---------------------------------------------------------------------------

    @property
    def available_streams(self) -> int:
        """How many more requests may begin now; 0 after GOAWAY or termination."""
        core = self._core
        if core.over or core.goaway is not None:
            return 0
        unused_ids = (_LAST_STREAM_ID - core.h2.highest_outbound_stream_id) // 2
        free = core.stream_limit - len(core.open)
        return free if 0 <= free <= unused_ids else max(0, min(free, unused_ids))

    def send_head(self, head: RequestHead, *, end: bool) -> int:
        """Begin a request and return its stream id. `end`: no body follows."""
        if self.available_streams <= 0:
            raise RuntimeError("no stream is available")
        core = self._core
        block = self._heads.encode(head)
        record = core.begin(head.method, end=end)
        frame_bytes = core.h2.max_outbound_frame_size
        frames = head_frames(record.stream_id, block, frame_bytes, end=end)
        core.queue.push(OutChunk(record.stream_id, frames, end=end))
        return record.stream_id

    def send_whole(self, head: RequestHead, body: bytes) -> tuple[int, bytes] | None:
        """Begin and end a request, if nothing waits to be sent before it and all of it may be.

        Returns:
            The stream id, and what the caller sends, all of it, before anything else; None, and
            nothing done, when the request has to be queued.
        """
        core, size = self._core, len(body)
        h2 = core.h2
        if core.queue.chunks or size > h2.outbound_flow_control_window:
            return None
        if size > core.initial_windows[1] or not self.available_streams:
            return None
        block = self._heads.encode(head)
        record = core.begin(head.method, body_bytes=size, end=True)
        frames = request_frames(record.stream_id, block, body, h2.max_outbound_frame_size)
        record.sent_bytes = len(frames)
        return record.stream_id, frames

    def send_budget(self, stream_id: int) -> int:
        """Body bytes that may be passed to `send_body` now; 0 means wait for StreamWritable."""
        return self._core.ask_budget(stream_id)

    def send_body(self, stream_id: int, data: Buffer, *, end: bool) -> None:
        """Queue body bytes (copied), at most `send_budget`; `end` marks the last call.

        The end of a stream that is over meanwhile is ignored.
        """
        core, view = self._core, memoryview(data)
        record = core.records.get(stream_id)
        if not view and (record is None or record.over or core.over):
            return
        if record is None or record.local_ended or len(view) > core.budget(stream_id):
            raise RuntimeError(f"stream {stream_id} has ended or has no budget for this body")
        frames = self._lay_out(stream_id, view, end=end)
        core.queue.push(OutChunk(stream_id, frames, len(view), is_body=True, end=end))
        core.guard.earn_bytes(len(view))
        if end:
            record.local_ended = True
            core.close_if_complete(record)

    def range_budget(self, stream_id: int) -> int:
        """Bytes of a file that `begin_range` takes now; 0 means ask again after `receive_data`."""
        return self._core.spare_window(stream_id)

    def begin_range(self, stream_id: int, most_bytes: int) -> list[tuple[bytes, int]]:
        """Account for bytes of a file that the caller writes next, as far as the budget goes.

        They do not end the body, and nothing of the stream may wait in the queue.

        Returns:
            The headers of the DATA frames to lay out, each with the size of its payload.
        """
        core = self._core
        byte_count = min(most_bytes, core.spare_window(stream_id))
        if byte_count <= 0:
            return []
        h2_private.take_window(core.h2, stream_id, byte_count)
        headers = data_headers(stream_id, byte_count, core.h2.max_outbound_frame_size)
        core.records[stream_id].sent_bytes += byte_count + HEADER_BYTES * len(headers)
        core.guard.earn_bytes(byte_count)
        return headers

    def give_up_range(self, stream_id: int, headers: list[tuple[bytes, int]]) -> None:
        """Take frames back that were not written; their stream is to be reset."""
        byte_count = sum([size for _, size in headers])
        record = self._core.records.get(stream_id)
        if record is not None:
            record.sent_bytes -= byte_count + HEADER_BYTES * len(headers)
        h2_private.return_connection_window(self._core.h2, byte_count)

    def reset_stream(self, stream_id: int, *, response_complete: bool = False) -> None:
        """Give the stream up with RST_STREAM; what waits of its body is not sent."""
        code = ErrorCodes.NO_ERROR if response_complete else ErrorCodes.CANCEL
        self._core.reset(stream_id, code)

    def stream_totals(self, stream_id: int) -> StreamTotals:
        """HTTP-layer byte counts of a stream: what its request and its response are made of."""
        record = self._core.records[stream_id]
        return StreamTotals(record.sent_bytes, record.received_bytes)

    def forget_stream(self, stream_id: int) -> None:
        """Drop what is kept about a finished stream."""
        self._core.forget(stream_id)

    # --- the connection ---------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes read from the peer; `b""` means end of file."""
        core = self._core
        if not core.over:
            if data:
                self._receiver.receive(data)
            else:
                self._receiver.end_of_file()
            core.wake_starved()
        events, core.events = core.events, []
        return events

    @property
    def has_output(self) -> bool:
        """Whether `transmit` would return anything."""
        return bool(self._core.queue.chunks)

    @property
    def output_bytes(self) -> int:
        """How many bytes `transmit` would return."""
        return self._core.queue.byte_count

    def transmit(self) -> list[Buffer]:
        """Take everything that is to be sent now, in order; the caller sends all of it."""
        return [chunk.data for chunk in self.transmit_chunks()]

    def transmit_chunks(self, limit_bytes: int | None = None) -> list[OutChunk]:
        """`transmit`, with what each chunk is; call `take_events` afterwards.

        With a limit, whole chunks up to about so many bytes: what stays can still be dropped when
        its stream is reset.
        """
        chunks = self._core.queue.take(limit_bytes)
        for chunk in chunks:
            record = self._core.records.get(chunk.stream_id)
            if record is not None and (chunk.is_body or begins_with_message(chunk.data)):
                record.sent_bytes += len(chunk.data)
        self._core.wake_starved()
        return chunks

    def take_events(self) -> list[Event]:
        """Events that other calls than `receive_data` brought: a drained buffer is writable."""
        events, self._core.events = self._core.events, []
        return events

    def ping(self, payload: bytes) -> None:
        """Send a PING with 8 bytes of payload; `PingAcked` tells of the answer."""
        if not self._core.over:
            self._core.h2.ping(payload)
            self._core.collect()

    def close(self) -> None:
        """Say GOAWAY and stop: bodies that wait are not sent, what arrives is not read."""
        self._core.stop(ErrorCodes.NO_ERROR, b"")

    def _lay_out(self, stream_id: int, view: memoryview, *, end: bool) -> bytes:
        h2 = self._core.h2
        h2_private.take_window(h2, stream_id, len(view))
        if end:
            h2_private.end_stream(h2, stream_id)
        return data_frames(stream_id, view, h2.max_outbound_frame_size, end=end)
