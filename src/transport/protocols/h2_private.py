"""The one place that touches what the h2 library does not document as its interface.

A canary test fails when a new h2 release moves any of it.
"""

from __future__ import annotations

import logging

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, ConnectionState, H2Connection
from h2.settings import SettingCodes, Settings
from h2.stream import (
    H2Stream,
    H2StreamStateMachine,
    StreamClosedBy,
    StreamInputs,
    StreamState,
)
from h2.windows import WindowManager
from hpack import Decoder, Encoder
from hpack.hpack import encode_integer

#: Cap on the HPACK table our requests fill: h2 would follow the peer's wish up to 4 GiB, and
#: search it linearly for each field.
MAX_ENCODER_TABLE_BYTES = 4096
#: Four zero bits for "without indexing", then the entry of the static table (RFC 7541 §5.1, A).
_CONTENT_LENGTH_LITERAL, _CONTENT_TYPE_LITERAL = b"\x0f\x0d", b"\x0f\x10"
# At DEBUG hpack writes down every field, cookies included: whoever turns on all logs of a program
# does not mean that. A level somebody has chosen stays.
if logging.getLogger("hpack").level == logging.NOTSET:
    logging.getLogger("hpack").setLevel(logging.INFO)

#: RFC 9113 §6.9.1.
_MAX_WINDOW_BYTES = 2**31 - 1
# By name: an enum's members are looked up each time.
_CLIENT_OPEN = ConnectionState.CLIENT_OPEN
_OPEN, _HALF_CLOSED_LOCAL = StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL
_MAY_RECEIVE = frozenset((_OPEN, _HALF_CLOSED_LOCAL))
_RECV_END_STREAM = StreamClosedBy.RECV_END_STREAM


def new_connection(settings: dict[SettingCodes, int], head_bytes: int) -> H2Connection:
    """A client connection that announces `settings` in its first frame.

    Args:
        settings: the initial settings of this side.
        head_bytes: largest field list accepted (name, value and 32 for each field).
    """
    config = H2Configuration(
        client_side=True,
        header_encoding=None,
        # `http2_fields` does both, in one pass.
        normalize_outbound_headers=False,
        validate_outbound_headers=False,
    )
    connection = H2Connection(config)
    connection.local_settings = Settings(client=True, initial_values=settings)
    connection.decoder.max_header_list_size = head_bytes
    return connection


def unindexed_content_type(value: bytes) -> bytes:
    """A field for a block, which no table takes up."""
    return _unindexed(_CONTENT_TYPE_LITERAL, value)


def unindexed_content_length(value: bytes) -> bytes:
    """A field for a block, which no table takes up."""
    return _unindexed(_CONTENT_LENGTH_LITERAL, value)


def _unindexed(name: bytes, value: bytes) -> bytes:
    """A literal without indexing (RFC 7541 §6.2.2); one never indexed would be called a secret."""
    size = len(value)
    if size < 127:
        return b"%b%c%b" % (name, size, value)
    return name + bytes(encode_integer(size, 7)) + value


def initial_windows(connection: H2Connection) -> tuple[int, int]:
    """What a new stream may receive and send, by the settings of both sides."""
    settings = connection.local_settings, connection.remote_settings
    return settings[0].initial_window_size, settings[1].initial_window_size


def begin_stream(
    connection: H2Connection,
    stream_id: int,
    method: str,
    windows: tuple[int, int],
    *,
    body_bytes: int = 0,
    end: bool,
) -> None:
    """Account for a request head laid out without h2's `send_headers`; streams are available.

    Args:
        connection: the connection.
        stream_id: the next one.
        method: of the request.
        windows: the connection's `initial_windows`.
        body_bytes: how much of a body is laid out behind it.
        end: nothing follows that.
    """
    if connection.state_machine.state is not _CLIENT_OPEN:
        connection.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
    if stream_id <= connection.highest_outbound_stream_id:
        connection._begin_new_stream(stream_id, AllowedStreamIDs.ODD)  # noqa: SLF001 - refuses it
    inbound_bytes, outbound_bytes = windows
    stream = H2Stream(stream_id, connection.config, inbound_bytes, outbound_bytes - body_bytes)
    stream.max_outbound_frame_size = connection.max_outbound_frame_size
    stream.request_method = method.encode("ascii")
    machine = stream.state_machine
    machine.state = _HALF_CLOSED_LOCAL if end else _OPEN
    machine.client = machine.headers_sent = True
    connection.streams[stream_id] = stream
    connection.highest_outbound_stream_id = stream_id
    connection.outbound_flow_control_window -= body_bytes


def take_head(connection: H2Connection, stream_id: int, *, end: bool) -> bool:
    """Account for a response head that is known to be good; False: h2 knows what becomes of it."""
    stream = connection.streams.get(stream_id)
    if stream is None:
        return False
    machine = stream.state_machine
    if machine.state not in _MAY_RECEIVE or machine.headers_received:
        return False
    machine.headers_received = True
    # An interim response may have announced one.
    stream._expected_content_length = None  # noqa: SLF001 - see `skip_length_check`
    if end:
        _end_received(machine)
    return True


def take_data(connection: H2Connection, stream_id: int, byte_count: int, *, end: bool) -> bool:
    """Account for a DATA frame without padding; False: h2 knows what becomes of it.

    The window that it took is given back when half of it is used: `data_to_send` tells the peer.
    """
    stream = connection.streams.get(stream_id)
    if stream is None:
        return False
    machine = stream.state_machine
    shared = connection._inbound_flow_control_window_manager  # noqa: SLF001
    own = stream._inbound_window_manager  # noqa: SLF001
    if (
        machine.state not in _MAY_RECEIVE
        or not machine.headers_received
        or min(shared.current_window_size, own.current_window_size) < byte_count
    ):
        return False
    shared.current_window_size -= byte_count
    own.current_window_size -= byte_count
    if end:
        _end_received(machine)
    if _is_little(shared, byte_count) and _is_little(own, byte_count):
        shared._bytes_processed += byte_count  # noqa: SLF001 - as `process_bytes` does
        # A stream that has ended for h2 has no window to give back.
        if machine.state is not StreamState.CLOSED:
            own._bytes_processed += byte_count  # noqa: SLF001
    else:
        connection.acknowledge_received_data(byte_count, stream_id)
    return True


def take_response(
    connection: H2Connection, stream_id: int, byte_count: int, *, after_head: bool = False
) -> bool:
    """Account for a response to a request that has ended, and forget its stream.

    As `take_head`, `take_data` and `forget_stream` do together, for a head that is known to be good
    and one DATA frame that ends the stream; or, after the head, the latter two. False, and nothing
    done, where they would do more.
    """
    stream = connection.streams.get(stream_id)
    if stream is None:
        return False
    machine = stream.state_machine
    shared = connection._inbound_flow_control_window_manager  # noqa: SLF001
    if (
        machine.state is not _HALF_CLOSED_LOCAL
        or bool(machine.headers_received) is not after_head
        or not _is_quiet(shared, byte_count)
        or not _is_quiet(stream._inbound_window_manager, byte_count)  # noqa: SLF001
    ):
        return False
    shared.current_window_size -= byte_count
    shared._bytes_processed += byte_count  # noqa: SLF001 - as `process_bytes` does
    del connection.streams[stream_id]
    connection._closed_streams[stream_id] = _RECV_END_STREAM  # noqa: SLF001
    return True


def _is_quiet(window: WindowManager, byte_count: int) -> bool:
    """Whether the window has room for the bytes, and need not be given back after them."""
    processed: int = window._bytes_processed + byte_count  # noqa: SLF001
    return window.current_window_size > byte_count and processed < window.max_window_size // 2


def _end_received(machine: H2StreamStateMachine) -> None:
    """The other side has ended a stream that it may send on."""
    if machine.state is _OPEN:
        machine.state = StreamState.HALF_CLOSED_REMOTE
    else:
        machine.state = StreamState.CLOSED
        machine.stream_closed_by = _RECV_END_STREAM


def _is_little(window: WindowManager, byte_count: int) -> bool:
    """Whether h2 would only add it to what is to be given back later."""
    processed: int = window._bytes_processed + byte_count  # noqa: SLF001
    return window.current_window_size > 0 and processed < window.max_window_size // 2


def has_output(connection: H2Connection) -> bool:
    """Whether h2 has frames to send: `data_to_send` makes two objects to say no."""
    return bool(connection._data_to_send)  # noqa: SLF001


def forget_stream(connection: H2Connection, stream_id: int) -> None:
    """Drop a stream that is over, as h2 does when it counts those that are not."""
    stream = connection.streams.get(stream_id)
    if stream is not None and stream.state_machine.state is StreamState.CLOSED:
        del connection.streams[stream_id]
        by = stream.state_machine.stream_closed_by
        connection._closed_streams[stream_id] = by  # noqa: SLF001


class TableMark:
    """Which entries an HPACK table has; says whether that changed since it was last asked.

    A new entry goes to the front, and only a new entry or another size pushes old ones out
    (RFC 7541 §2.3.2, §4). So an unchanged table has the same first entry and the same size.
    """

    __slots__ = ("_coder", "_first", "_size")

    def __init__(self, coder: Encoder | Decoder) -> None:
        self._coder = coder
        self._first: object = None
        self._size = -1

    def changed(self) -> bool:
        """Whether the same bytes may mean something else than when this was last asked."""
        table = self._coder.header_table
        entries, size = table.dynamic_entries, table._maxsize  # noqa: SLF001 - spares two calls
        first = entries[0] if entries else None
        same = first is self._first and size == self._size and not table.resized
        self._first, self._size = first, size
        return not same


def window(connection: H2Connection, stream_id: int) -> int:
    """Body bytes that may be sent on a stream; may be negative, and 0 when h2 has forgotten it."""
    stream = connection.streams.get(stream_id)
    if stream is None:
        return 0
    shared: int = connection.outbound_flow_control_window
    return min(shared, stream.outbound_flow_control_window)


def take_window(connection: H2Connection, stream_id: int, byte_count: int) -> None:
    """Account for DATA frames laid out without h2's `send_data`; at most the window."""
    connection.outbound_flow_control_window -= byte_count
    _stream(connection, stream_id).outbound_flow_control_window -= byte_count


def give_window(connection: H2Connection, stream_id: int, byte_count: int) -> bool:
    """Account for a WINDOW_UPDATE without h2's frames, states and events; 0 is the connection.

    False, and nothing done, when it is not an ordinary one: h2 knows what becomes of it.
    """
    owner = connection.streams.get(stream_id) if stream_id else connection
    if owner is None or not 0 < byte_count <= _MAX_WINDOW_BYTES:
        return False
    window_bytes = owner.outbound_flow_control_window + byte_count
    if window_bytes > _MAX_WINDOW_BYTES:
        return False
    owner.outbound_flow_control_window = window_bytes
    return True


def end_stream(connection: H2Connection, stream_id: int) -> None:
    """Tell h2 that a DATA frame laid out without it carries END_STREAM."""
    _stream(connection, stream_id).state_machine.process_input(StreamInputs.SEND_END_STREAM)


def return_connection_window(connection: H2Connection, byte_count: int) -> None:
    """Take back what `take_window` accounted for, for DATA that will never be sent."""
    connection.outbound_flow_control_window += byte_count


def skip_length_check(connection: H2Connection, stream_id: int) -> None:
    """Leave Content-Length to us: h2 ends the whole connection for a mismatch, and misses some.

    RFC 9113 §8.1.1 calls it a stream error.
    """
    if stream_id in connection.streams:
        _stream(connection, stream_id)._expected_content_length = None  # noqa: SLF001 - the point


def is_closed(connection: H2Connection, stream_id: int) -> bool:
    """Whether both sides of a stream are over, so that nothing may be sent on it."""
    return stream_id not in connection.streams or _stream(connection, stream_id).closed


def bound_encoder_table(connection: H2Connection) -> None:
    """After SETTINGS_HEADER_TABLE_SIZE: keep the encoder's table small and the peer's in step.

    RFC 7541 §4.2: the smallest size since the last field block is signalled, then the final one.
    """
    encoder = connection.encoder
    final = min(encoder.header_table_size, MAX_ENCODER_TABLE_BYTES)
    smallest = min([final, *encoder.table_size_changes])
    encoder.header_table_size = final
    encoder.table_size_changes = [smallest, final] if smallest < final else [final]
    encoder.header_table.resized = True


def _stream(connection: H2Connection, stream_id: int) -> H2Stream:
    return connection.streams[stream_id]
