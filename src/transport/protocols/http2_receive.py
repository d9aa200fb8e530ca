"""The receiving half of the HTTP/2 machine: frames in, events of the engine out."""

from __future__ import annotations

from h2 import events as h2_events
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError
from h2.exceptions import ProtocolError as H2ProtocolError
from h2.settings import SettingCodes

from ..message import ResponseHead
from . import h2_private
from .events import (
    ConnectionTerminated,
    DataReceived,
    GoAwayReceived,
    HeadReceived,
    InterimReceived,
    PingAcked,
    ResponseEnded,
    ResponseReceived,
    SendingStopped,
    StreamLimitChanged,
    StreamReset,
)
from .fields import (
    LengthCheck,
    MalformedResponse,
    announced_length,
    headers_from,
    response_head,
)
from .http2_core import Http2Core, StreamRecord
from .http2_frames import (
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    HEADER_BYTES,
    MESSAGE_FRAMES,
    Frame,
    FrameCutter,
    FrameType,
    GoAway,
    Violation,
    head_too_large,
    parse_goaway,
    whole_frame_at,
    window_increment,
)

#: Response heads remembered; with a date in them, a server has a few in each second.
_KNOWN_HEADS = 32
# What is compared with each frame's type, as plain numbers.
_DATA, _HEADERS, _WINDOW_UPDATE = map(
    int, (FrameType.DATA, FrameType.HEADERS, FrameType.WINDOW_UPDATE)
)


class Http2Receiver:
    """Takes what the peer sends and appends to the core's events."""

    __slots__ = ("_core", "_cutter", "_head_bytes", "_known_heads", "_table")

    def __init__(self, core: Http2Core, head_bytes: int) -> None:
        self._core = core
        self._cutter = FrameCutter(head_bytes)
        self._head_bytes = head_bytes
        self._known_heads: dict[bytes, tuple[ResponseHead, int | None]] = {}
        """By field block: what it means as long as HPACK's table is as it is, and the length of the
        body that it announces, but for HEAD."""
        self._table = h2_private.TableMark(core.h2.decoder)

    def receive(self, data: bytes) -> None:
        """Take bytes; a violation ends the connection and is told as an event."""
        try:
            if self._cutter.between_frames:
                data = data[self._take_plain_frames(data) :]
            if data:
                for frame in self._cutter.feed(data):
                    self._frame(frame)
        except Violation as violation:
            reason, code = str(violation), int(violation.code)
            self._core.stop(code, reason.encode("ascii", "replace"))
            self._core.terminated(
                ConnectionTerminated(
                    reason, code, by_peer=False, clean=False, too_large=violation.too_large
                )
            )

    def end_of_file(self) -> None:
        """The peer closed the connection."""
        core, goaway = self._core, self._core.goaway
        failed = goaway is not None and goaway.error_code != ErrorCodes.NO_ERROR
        reason = "the peer closed the connection"
        if goaway is not None:
            reason += f" after {goaway}"
        if self._cutter.inside_frame:
            reason += ", in the middle of a frame"
        clean = not (core.open or failed or self._cutter.inside_frame)
        code = None if goaway is None else goaway.error_code
        core.queue.take()  # nobody reads it any more
        core.terminated(ConnectionTerminated(reason, code, by_peer=True, clean=clean))

    def _frame(self, frame: Frame) -> None:
        if self._take_plain(frame.kind, frame.flags, frame.stream_id, frame.payload):
            return
        core = self._core
        core.guard.charge(frame)
        record = core.records.get(frame.stream_id)
        if record is not None and frame.kind in MESSAGE_FRAMES:
            record.received_bytes += len(frame.raw)
        if frame.kind == FrameType.GOAWAY:
            self._goaway(parse_goaway(frame))
            return
        if frame.kind == FrameType.HEADERS and frame.stream_id % 2 == 0:
            # h2 would take it for a request (RFC 9113 §5.1.1: even streams are the server's).
            raise Violation("the peer opened a stream", ErrorCodes.PROTOCOL_ERROR)
        for event in self._feed(frame):
            self._translate(event, frame)
        if frame.kind in (FrameType.HEADERS, FrameType.CONTINUATION):
            self._remember(frame, record)
        core.collect()

    def _remember(self, frame: Frame, record: StreamRecord | None) -> None:
        """Keep a head that h2 found good, for as long as the same bytes mean the same."""
        found = None
        if record is not None:
            found, record.head = record.head, None
        if self._table.changed() or len(self._known_heads) >= _KNOWN_HEADS:
            self._known_heads.clear()
        elif found is not None and frame.flags & ~FLAG_END_STREAM == FLAG_END_HEADERS:
            self._known_heads[frame.payload] = found

    # --- plain frames -----------------------------------------------------------------------

    def _take_plain_frames(self, data: bytes) -> int:
        """Take the plain frames at the front; how many bytes those were."""
        done, size = 0, len(data)
        while done < size and (found := whole_frame_at(data, done)) is not None:
            kind, flags, stream_id, end = found
            payload = data[done + HEADER_BYTES : end]
            whole = 0
            if kind == _HEADERS and flags == FLAG_END_HEADERS:
                whole = self._take_whole(stream_id, payload, data, end)
            if not whole and not self._take_plain(kind, flags, stream_id, payload):
                break
            done = whole or end
        return done

    def _take_whole(self, stream_id: int, block: bytes, data: bytes, start: int) -> int:
        """Take a response that ends with the frame behind its head; where that ends.

        0, and nothing done, when it is anything but what an ordinary upload is answered with.
        """
        core = self._core
        record, known = core.records.get(stream_id), self._known_heads.get(block)
        if known is None or record is None or record.length is not None or record.over:
            return 0
        found = whole_frame_at(data, start) if record.method != "HEAD" else None
        if found is None:
            return 0
        kind, flags, next_id, end = found
        if kind != _DATA or flags != FLAG_END_STREAM or next_id != stream_id:
            return 0
        head, length = known
        body = data[start + HEADER_BYTES : end]
        size = len(body)
        if not size or (length is not None and length != size) or not core.answered(record, size):
            return 0
        core.guard.charge_one()
        head_bytes, body_bytes = HEADER_BYTES + len(block), end - start
        record.received_bytes += head_bytes + body_bytes
        core.events.append(ResponseReceived(stream_id, head, head_bytes, body, body_bytes))
        return end

    def _take_plain(self, kind: int, flags: int, stream_id: int, payload: bytes) -> bool:
        """Whether it was what nearly every response is made of, taken without h2's frames.

        A big upload gets thousands of WINDOW_UPDATE frames, and hardly anything else.
        """
        if kind == _WINDOW_UPDATE:
            return self._take_credit(stream_id, payload)
        record = self._core.records.get(stream_id)
        if record is None or record.over:
            return False
        ends = bool(flags & FLAG_END_STREAM)
        if kind == _DATA and ends and self._take_last(record, flags, payload):
            return True
        if kind == _DATA and flags & ~FLAG_END_STREAM == 0:
            taken = self._take_plain_data(record, payload, ends=ends)
        elif kind == _HEADERS and flags & ~FLAG_END_STREAM == FLAG_END_HEADERS:
            taken = self._take_known_head(record, payload, ends=ends)
        else:
            return False
        if taken and ends and not record.over:
            try:
                self._response_end(record)
            except MalformedResponse as exc:
                self._refuse(record, str(exc))
        return taken

    def _take_last(self, record: StreamRecord, flags: int, data: bytes) -> bool:
        """Whether it was the end of a response, as ordinary as a whole one."""
        size, length = len(data), record.length
        if flags != FLAG_END_STREAM or not size or length is None or not length.ends_after(size):
            return False
        core = self._core
        if not core.answered(record, size, after_head=True):
            return False
        record.received_bytes += HEADER_BYTES + size
        core.events += (
            DataReceived(record.stream_id, data, HEADER_BYTES + size),
            ResponseEnded(record.stream_id, record.trailers),
        )
        return True

    def _take_plain_data(self, record: StreamRecord, data: bytes, *, ends: bool) -> bool:
        core, size = self._core, len(data)
        if not data or record.length is None:
            return False
        if not h2_private.take_data(core.h2, record.stream_id, size, end=ends):
            return False
        record.received_bytes += HEADER_BYTES + size
        core.guard.earn_bytes(size)
        self._body(record, data, HEADER_BYTES + size)
        core.collect()
        return True

    def _take_known_head(self, record: StreamRecord, block: bytes, *, ends: bool) -> bool:
        if record.length is not None or record.method == "HEAD":
            return False
        # The table as it was when this block meant that head; h2 changes it, and we do not.
        known = self._known_heads.get(block)
        if known is None or not h2_private.take_head(self._core.h2, record.stream_id, end=ends):
            return False
        self._core.guard.charge_one()
        record.received_bytes += HEADER_BYTES + len(block)
        self._take_head(record, *known, HEADER_BYTES + len(block))
        return True

    def _take_credit(self, stream_id: int, payload: bytes) -> bool:
        """Whether it was an ordinary WINDOW_UPDATE."""
        core = self._core
        if stream_id:
            record = core.records.get(stream_id)
            if record is None or record.over:
                return False
        if not h2_private.give_window(core.h2, stream_id, window_increment(payload)):
            return False
        core.guard.charge_one()
        return True

    def _feed(self, frame: Frame) -> list[h2_events.Event]:
        try:
            return self._core.h2.receive_data(frame.raw)
        except DenialOfServiceError as exc:
            raise head_too_large(self._head_bytes) from exc
        except H2ProtocolError as exc:
            reason = str(exc) or type(exc).__name__
            raise Violation(f"the peer broke HTTP/2: {reason}", exc.error_code) from exc

    def _translate(self, event: h2_events.Event, frame: Frame) -> None:
        match event:
            case h2_events.RemoteSettingsChanged():
                self._settings(event)
            case h2_events.PingAckReceived():
                self._core.events.append(PingAcked(bytes(event.ping_data)))
            case h2_events.DataReceived():
                self._data(event, frame)
            case _:
                record = self._core.records.get(getattr(event, "stream_id", None) or 0)
                if record is not None and not record.over:
                    self._stream_event(event, record)

    def _stream_event(self, event: h2_events.Event, record: StreamRecord) -> None:
        try:
            match event:
                case h2_events.InformationalResponseReceived():
                    interim = InterimReceived(record.stream_id, response_head(event.headers))
                    self._core.events.append(interim)
                case h2_events.ResponseReceived():
                    self._head(event, record)
                case h2_events.TrailersReceived():
                    record.trailers = headers_from(event.headers)
                case h2_events.StreamEnded():
                    self._response_end(record)
                case h2_events.StreamReset():
                    self._stream_reset(event, record)
        except MalformedResponse as exc:
            self._refuse(record, str(exc))

    def _head(self, event: h2_events.ResponseReceived, record: StreamRecord) -> None:
        head = response_head(event.headers)
        length = announced_length(head, record.method)
        h2_private.skip_length_check(self._core.h2, record.stream_id)
        self._take_head(record, head, length, self._cutter.block_bytes)
        if record.method != "HEAD":
            record.head = head, length

    def _take_head(
        self, record: StreamRecord, head: ResponseHead, length: int | None, byte_count: int
    ) -> None:
        record.length = LengthCheck(length)
        self._core.events.append(HeadReceived(record.stream_id, head, byte_count))

    def _data(self, event: h2_events.DataReceived, frame: Frame) -> None:
        core = self._core
        if event.flow_controlled_length:
            core.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if event.data:
            core.guard.earn_bytes(len(event.data))
        elif event.stream_ended is None:
            core.guard.charge_empty_data()
        record = core.records.get(event.stream_id)
        if record is not None and not record.over and event.data:
            self._body(record, bytes(event.data), len(frame.raw))

    def _body(self, record: StreamRecord, data: bytes, byte_count: int) -> None:
        if record.length is None:
            return
        try:
            record.length.add(len(data))
        except MalformedResponse as exc:
            self._refuse(record, str(exc))
            return
        self._core.events.append(DataReceived(record.stream_id, data, byte_count))

    def _response_end(self, record: StreamRecord) -> None:
        if record.length is not None:
            record.length.finish()
        record.remote_ended = True
        self._core.events.append(ResponseEnded(record.stream_id, record.trailers))
        self._core.close_if_complete(record)

    def _stream_reset(self, event: h2_events.StreamReset, record: StreamRecord) -> None:
        code = int(event.error_code or 0)
        reason = "" if event.remote_reset else "the peer overflowed the stream's window"
        retryable = event.remote_reset and code == ErrorCodes.REFUSED_STREAM
        self._over(record, StreamReset(record.stream_id, code, retryable, reason))

    def _refuse(self, record: StreamRecord, reason: str) -> None:
        """End one stream for a malformed response (RFC 9113 §8.1.1)."""
        code = ErrorCodes.PROTOCOL_ERROR
        self._core.reset(record.stream_id, code)
        reset = StreamReset(record.stream_id, int(code), retryable=False, reason=reason)
        self._over(record, reset)

    def _over(self, record: StreamRecord, reset: StreamReset) -> None:
        """A stream ended early; a response that is complete stays good (RFC 9113 §8.1)."""
        self._core.finish(record)
        if record.remote_ended:
            self._core.events.append(SendingStopped(record.stream_id, reset.error_code))
        else:
            self._core.events.append(reset)

    def _settings(self, event: h2_events.RemoteSettingsChanged) -> None:
        self._core.settings_changed()
        if SettingCodes.HEADER_TABLE_SIZE in event.changed_settings:
            h2_private.bound_encoder_table(self._core.h2)
        limit = event.changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS)
        if limit is not None:
            self._core.events.append(StreamLimitChanged(limit.new_value))

    def _goaway(self, goaway: GoAway) -> None:
        # RFC 9113 §6.8: what is above the last stream was not processed, the rest goes on. A
        # graceful server says 2^31-1 first and the real number later.
        core = self._core
        core.goaway = goaway
        core.events.append(GoAwayReceived(goaway.last_stream_id, goaway.error_code))
        for stream_id in sorted(core.open):
            record = core.records.get(stream_id)
            if stream_id > goaway.last_stream_id and record is not None:
                code = int(ErrorCodes.REFUSED_STREAM)
                self._over(record, StreamReset(stream_id, code, retryable=True))
