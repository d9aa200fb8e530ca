"""The one place that touches what the h2 library does not document as its interface.

A canary test fails when a new h2 release moves any of it.
"""

from __future__ import annotations

import logging

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionInputs, H2Connection
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamInputs, StreamState
from hpack import Decoder, Encoder
from hpack.hpack import encode_integer

#: Cap on the HPACK table our requests fill: h2 would follow the peer's wish up to 4 GiB, and
#: search it linearly for each field.
MAX_ENCODER_TABLE_BYTES = 4096
#: Four zero bits for "without indexing", then entry 31 of the static table (RFC 7541 §5.1, A).
_CONTENT_TYPE_LITERAL = b"\x0f\x10"
# At DEBUG hpack writes down every field, cookies included: whoever turns on all logs of a program
# does not mean that. A level somebody has chosen stays.
if logging.getLogger("hpack").level == logging.NOTSET:
    logging.getLogger("hpack").setLevel(logging.INFO)

#: RFC 9113 §6.9.1.
_MAX_WINDOW_BYTES = 2**31 - 1
_MAY_RECEIVE = frozenset((StreamState.OPEN, StreamState.HALF_CLOSED_LOCAL))


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
    connection.encoder = _FormEncoder()
    connection.local_settings = Settings(client=True, initial_values=settings)
    connection.decoder.max_header_list_size = head_bytes
    return connection


class _FormEncoder(Encoder):
    """Keeps the Content-Type of a form out of its table, where it would push others out.

    Every form has a boundary of its own. It goes as a literal without indexing (RFC 7541 §6.2.2),
    which, unlike one that is never indexed, calls nothing a secret.
    """

    def add(self, to_add: tuple[bytes, bytes], sensitive: bool, huffman: bool = False) -> bytes:
        """See `Encoder.add`."""
        name, value = to_add
        if sensitive or name != b"content-type" or b"boundary=" not in value:
            return super().add(to_add, sensitive, huffman)
        return _CONTENT_TYPE_LITERAL + bytes(encode_integer(len(value), 7)) + value


def begin_stream(connection: H2Connection, stream_id: int, method: str, *, end: bool) -> None:
    """Account for a request head laid out without h2's `send_headers`; streams are available."""
    # A property that forgets the streams that are over.
    _ = connection.open_outbound_streams
    connection.state_machine.process_input(ConnectionInputs.SEND_HEADERS)
    stream = connection._begin_new_stream(stream_id, AllowedStreamIDs.ODD)  # noqa: SLF001
    stream.state_machine.process_input(StreamInputs.SEND_HEADERS)
    stream.request_method = method.encode("ascii")
    if end:
        stream.state_machine.process_input(StreamInputs.SEND_END_STREAM)


def take_head(connection: H2Connection, stream_id: int, *, end: bool) -> bool:
    """Account for a response head that is known to be good; False: h2 knows what becomes of it."""
    stream = connection.streams.get(stream_id)
    if stream is None or stream.state_machine.state not in _MAY_RECEIVE:
        return False
    if stream.state_machine.headers_received:
        return False
    stream.state_machine.process_input(StreamInputs.RECV_HEADERS)
    if end:
        stream.state_machine.process_input(StreamInputs.RECV_END_STREAM)
    return True


def take_data(connection: H2Connection, stream_id: int, byte_count: int, *, end: bool) -> bool:
    """Account for a DATA frame without padding; False: h2 knows what becomes of it."""
    stream = connection.streams.get(stream_id)
    if stream is None or stream.state_machine.state not in _MAY_RECEIVE:
        return False
    shared = connection._inbound_flow_control_window_manager  # noqa: SLF001
    own = stream._inbound_window_manager  # noqa: SLF001
    if min(shared.current_window_size, own.current_window_size) < byte_count:
        return False
    if not stream.state_machine.headers_received:
        return False
    shared.window_consumed(byte_count)
    own.window_consumed(byte_count)
    stream.state_machine.process_input(StreamInputs.RECV_DATA)
    if end:
        stream.state_machine.process_input(StreamInputs.RECV_END_STREAM)
    return True


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
        first = table.dynamic_entries[0] if table.dynamic_entries else None
        same = first is self._first and table.maxsize == self._size and not table.resized
        self._first, self._size = first, table.maxsize
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
