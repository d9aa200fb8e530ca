"""The undocumented parts of h2 that `h2_private` relies on are where it expects them."""

from __future__ import annotations

import pytest
from h2.connection import H2Connection
from h2.exceptions import ProtocolError, StreamIDTooLowError
from h2.settings import SettingCodes
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple

from tests.http2.frame_factory import FrameFactory
from trilane.transport.protocols import h2_private

REQUEST = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]


def started() -> tuple[H2Connection, FrameFactory]:
    connection = h2_private.new_connection({SettingCodes.ENABLE_PUSH: 0}, 1234)
    connection.initiate_connection()
    peer = FrameFactory()
    connection.receive_data(peer.settings())
    connection.send_headers(1, REQUEST)
    return connection, peer


#: What `h2_private` looks at or calls, by where it is; a test's name says which is missing.
NAMES = [
    *(("connection", name) for name in ("_begin_new_stream", "decoder", "encoder", "streams")),
    *(("connection", name) for name in ("local_settings", "remote_settings", "_closed_streams")),
    *(("connection", name) for name in ("outbound_flow_control_window", "state_machine")),
    *(("connection", name) for name in ("config", "max_outbound_frame_size", "_data_to_send")),
    ("connection", "_inbound_flow_control_window_manager"),
    ("connection", "highest_outbound_stream_id"),
    *(("stream", name) for name in ("_expected_content_length", "_inbound_window_manager")),
    *(("stream", name) for name in ("closed", "request_method", "state_machine")),
    *(("stream", name) for name in ("max_outbound_frame_size", "outbound_flow_control_window")),
    *(("state", name) for name in ("client", "headers_received", "headers_sent")),
    *(("state", name) for name in ("process_input", "state", "stream_closed_by")),
    *(("window", name) for name in ("_bytes_processed", "current_window_size")),
    ("window", "max_window_size"),
    *(("encoder", name) for name in ("header_table_size", "table_size_changes")),
    *(("table", name) for name in ("dynamic_entries", "_maxsize", "resized")),
    ("decoder", "max_header_list_size"),
]


@pytest.mark.parametrize(("where", "name"), NAMES)
def test_the_names_are_there(where: str, name: str) -> None:
    connection, _ = started()
    stream = connection.streams[1]
    places: dict[str, object] = {
        "connection": connection,
        "stream": stream,
        "state": stream.state_machine,
        "window": stream._inbound_window_manager,
        "encoder": connection.encoder,
        "decoder": connection.decoder,
        "table": connection.decoder.header_table,
    }
    assert hasattr(places[where], name)


def counted(connection: H2Connection, stream_id: int) -> dict[str, object]:
    """All that h2 keeps account of in a connection and one of its streams."""
    stream = connection.streams[stream_id]
    machine = {
        name: value
        for name, value in vars(stream.state_machine).items()
        if name not in {"stream_id", "stream_closed_by"}
    }
    return {
        "connection": connection.state_machine.state,
        "highest": connection.highest_outbound_stream_id,
        "open": connection.open_outbound_streams,
        "machine": machine,
        "method": stream.request_method,
        "windows": [
            (each.current_window_size, each.max_window_size, each._bytes_processed)
            for each in (
                connection._inbound_flow_control_window_manager,
                stream._inbound_window_manager,
            )
        ],
        "outbound": (
            connection.outbound_flow_control_window,
            stream.outbound_flow_control_window,
        ),
    }


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("window", [65535, 1 << 20])
def test_a_stream_begun_without_h2_is_one_it_has_begun(window: int, *, end: bool) -> None:
    ours, theirs = twins(window)
    h2_private.begin_stream(ours, 3, "POST", h2_private.initial_windows(ours), end=end)
    theirs.send_headers(3, REQUEST, end_stream=end)
    assert counted(ours, 3) == counted(theirs, 3)


@pytest.mark.parametrize("size", [1, 16384])
def test_a_stream_begun_with_its_body_is_one_whose_body_h2_has_sent(size: int) -> None:
    ours, theirs = twins(65535)
    windows = h2_private.initial_windows(ours)
    h2_private.begin_stream(ours, 3, "POST", windows, body_bytes=size, end=True)
    theirs.send_headers(3, REQUEST)
    theirs.send_data(3, bytes(size), end_stream=True)
    assert counted(ours, 3) == counted(theirs, 3)


def test_a_stream_is_begun_only_where_h2_would_begin_it() -> None:
    for make in (h2_begins, we_begin):
        connection, _ = started()
        make(connection, 5)
        with pytest.raises(StreamIDTooLowError):
            make(connection, 3)
        connection.close_connection()
        with pytest.raises(ProtocolError):
            make(connection, 7)


def h2_begins(connection: H2Connection, stream_id: int) -> None:
    connection.send_headers(stream_id, REQUEST)


def we_begin(connection: H2Connection, stream_id: int) -> None:
    windows = h2_private.initial_windows(connection)
    h2_private.begin_stream(connection, stream_id, "POST", windows, end=False)


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("sent", [True, False])
def test_a_response_taken_without_h2_is_one_it_has_taken(*, ended: bool, sent: bool) -> None:
    """Head, body and end; the request may have ended before, or not."""
    ours, theirs = twins(65535)
    peers = FrameFactory()
    if sent:
        for each in (ours, theirs):
            each.end_stream(1)
    theirs.receive_data(peers.response(1, 200))
    assert h2_private.take_head(ours, 1, end=False)
    assert counted(ours, 1) == counted(theirs, 1)
    for size, end in ((1, False), (0, False), (16384, ended)):
        theirs.receive_data(peers.data(1, bytes(size), end=end))
        theirs.acknowledge_received_data(size, 1)
        assert h2_private.take_data(ours, 1, size, end=end)
        if not (ended and sent and end):
            assert counted(ours, 1) == counted(theirs, 1)
    # Over on both sides, it is forgotten.
    h2_private.forget_stream(ours, 1)
    assert theirs.open_outbound_streams == (not (ended and sent))
    assert ours.streams.keys() == theirs.streams.keys()
    assert ours._closed_streams == theirs._closed_streams


@pytest.mark.parametrize("window", [100, 5000, 65535])
@pytest.mark.parametrize("size", [1, 1000, 16384])
@pytest.mark.parametrize("after_head", [False, True])
def test_a_response_taken_at_once_is_one_taken_step_by_step(
    size: int, window: int, *, after_head: bool
) -> None:
    ours, theirs = twins(window)
    at_once = 0
    for stream_id in range(3, 131, 2):
        for each in (ours, theirs):
            windows = h2_private.initial_windows(each)
            h2_private.begin_stream(each, stream_id, "POST", windows, end=True)
        if after_head:
            assert h2_private.take_head(ours, stream_id, end=False)
        taken = h2_private.take_response(ours, stream_id, size, after_head=after_head)
        at_once += taken
        for each in (theirs,) if taken else (ours, theirs):
            if not (after_head and each is ours):
                assert h2_private.take_head(each, stream_id, end=False)
            fits = h2_private.take_data(each, stream_id, size, end=True)
            assert fits == (size <= window)
            if not fits:
                each.reset_stream(stream_id)
            h2_private.forget_stream(each, stream_id)
        assert stream_id not in ours.streams
        assert ours._closed_streams == theirs._closed_streams
        assert counted(ours, 1) == counted(theirs, 1)
        assert ours.data_to_send() == theirs.data_to_send()
    assert (at_once > 0) == (2 * size < window)


@pytest.mark.parametrize("before", ["nothing", "head", "reset", "unknown", "no end"])
def test_what_is_no_whole_response_to_a_request_that_has_ended_is_left(before: str) -> None:
    connection, peer = started()
    if before != "no end":
        connection.end_stream(1)
    if before == "head":
        connection.receive_data(peer.response(1, 200))
    if before == "reset":
        connection.reset_stream(1)
    stream_id = 3 if before == "unknown" else 1
    if before == "nothing":
        assert not h2_private.take_response(connection, stream_id, 5, after_head=True)
    taken = h2_private.take_response(connection, stream_id, 5)
    assert taken is (before == "nothing")
    # No stream is there for a second one, or else nothing was done.
    assert not h2_private.take_response(connection, 1, 5) or before == "unknown"


@pytest.mark.parametrize("window", [65535, 100_000])
@pytest.mark.parametrize("size", [1000, 16384])
def test_windows_are_given_back_when_h2_would(size: int, window: int) -> None:
    ours, theirs = twins(window)
    peers = FrameFactory()
    theirs.receive_data(peers.response(1, 200))
    assert h2_private.take_head(ours, 1, end=False)
    for each in (ours, theirs):
        each.clear_outbound_data_buffer()
    for _ in range(200):
        theirs.receive_data(peers.data(1, bytes(size)))
        theirs.acknowledge_received_data(size, 1)
        assert h2_private.take_data(ours, 1, size, end=False)
        assert counted(ours, 1) == counted(theirs, 1)
        assert ours.data_to_send() == theirs.data_to_send()


def test_a_head_that_ends_the_response() -> None:
    ours, theirs = twins(65535)
    theirs.receive_data(FrameFactory().response(1, 204, end=True))
    assert h2_private.take_head(ours, 1, end=True)
    assert counted(ours, 1) == counted(theirs, 1)


@pytest.mark.parametrize("before", ["nothing", "head", "end", "reset", "unknown"])
def test_what_is_out_of_place_is_left_to_h2(before: str) -> None:
    connection, peer = started()
    stream_id = 3 if before == "unknown" else 1
    if before in {"head", "end"}:
        connection.receive_data(peer.response(1, 200, end=before == "end"))
    if before == "reset":
        connection.reset_stream(1)
    # A second head, body before the head or after the end, and what belongs to no stream.
    assert h2_private.take_head(connection, stream_id, end=False) is (before == "nothing")
    can_take = before in {"nothing", "head"}
    assert h2_private.take_data(connection, stream_id, 1, end=False) is can_take


def test_more_than_a_window_is_left_to_h2() -> None:
    connection, peer = started()
    connection.receive_data(peer.response(1, 200))
    assert not h2_private.take_data(connection, 1, 65536, end=False)
    assert h2_private.take_data(connection, 1, 1, end=False)
    assert not h2_private.take_data(connection, 1, 65535, end=False)
    assert h2_private.take_data(connection, 1, 65534, end=False)


def twins(window: int) -> tuple[H2Connection, H2Connection]:
    """Two connections alike, with a request on stream 1."""
    made = [started()[0] for _ in range(2)]
    for each in made:
        each.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        each.receive_data(FrameFactory().settings_ack())
    return made[0], made[1]


@pytest.mark.parametrize("kind", [Encoder, Decoder])
def test_a_change_of_the_table_is_noticed(kind: type[Encoder | Decoder]) -> None:
    coder, peer = kind(), Encoder()
    mark = h2_private.TableMark(coder)

    def code(name: bytes, value: bytes) -> None:
        fields = peer.encode([(name, value)]) if isinstance(coder, Decoder) else b""
        if isinstance(coder, Encoder):
            coder.encode([(name, value)])
        else:
            coder.decode(fields)

    assert mark.changed()  # the first time it is asked
    assert not mark.changed()
    code(b"x-one", b"1")
    assert mark.changed()
    for _ in range(2):
        code(b"x-one", b"1")  # from the table
        code(b":method", b"GET")
        assert not mark.changed()
    # One that pushes all others out, and one that finds no room itself.
    for value in (b"v" * 4000, b"v" * 5000):
        code(b"x-large", value)
        assert mark.changed()
    coder.header_table_size = 100
    assert mark.changed()


def test_the_head_limit_reaches_the_decoder() -> None:
    connection, _ = started()
    assert connection.decoder.max_header_list_size == 1234
    assert connection.local_settings.enable_push == 0


def test_windows_taken_are_windows_h2_counts() -> None:
    connection, peer = started()
    h2_private.take_window(connection, 1, 60_000)
    assert connection.local_flow_control_window(1) == 5535
    connection.receive_data(peer.window_update(1, 60_000))
    assert connection.local_flow_control_window(1) == 5535
    h2_private.return_connection_window(connection, 60_000)
    assert connection.local_flow_control_window(1) == 65535


@pytest.mark.parametrize("stream_id", [0, 1])
def test_windows_given_are_windows_h2_counts(stream_id: int) -> None:
    ours, peer = started()
    theirs, _ = started()
    for byte_count in (1, 70_000, 2**30):
        assert h2_private.give_window(ours, stream_id, byte_count)
        theirs.receive_data(peer.window_update(stream_id, byte_count))
    given = (ours.outbound_flow_control_window, ours.streams[1].outbound_flow_control_window)
    counted = (theirs.outbound_flow_control_window, theirs.streams[1].outbound_flow_control_window)
    assert given == counted
    assert max(given) == 65535 + 1 + 70_000 + 2**30


@pytest.mark.parametrize(
    ("stream_id", "byte_count"), [(0, 0), (1, 0), (0, 2**31 - 1), (1, 2**31 - 1), (3, 1)]
)
def test_windows_that_h2_refuses_are_left_to_it(stream_id: int, byte_count: int) -> None:
    connection, _ = started()
    assert not h2_private.give_window(connection, stream_id, byte_count)
    assert connection.outbound_flow_control_window == 65535
    assert connection.streams[1].outbound_flow_control_window == 65535


@pytest.mark.parametrize("length", [1, 60, 109, 110, 1000])
def test_what_each_request_has_for_itself_stays_out_of_the_table(
    length: int,
) -> None:
    decoder, form = Decoder(), f"multipart/form-data; boundary={'b' * length}".encode()
    block = h2_private.unindexed_content_type(form) + h2_private.unindexed_content_length(b"123")
    decoded = decoder.decode(block, raw=True)
    assert list(map(tuple, decoded)) == [(b"content-type", form), (b"content-length", b"123")]
    assert not any(isinstance(field, NeverIndexedHeaderTuple) for field in decoded)
    assert not decoder.header_table.dynamic_entries


def test_h2_still_checks_lengths_and_can_be_told_not_to() -> None:
    connection, peer = started()
    connection.receive_data(peer.response(1, 200, [("content-length", "5")]))
    assert connection.streams[1]._expected_content_length == 5
    h2_private.skip_length_check(connection, 1)
    connection.receive_data(peer.data(1, b"longer than five"))
    assert connection.streams[1]._actual_content_length == 16


def test_an_ended_stream_is_ended_for_h2() -> None:
    ours, peer = started()
    theirs, _ = started()
    h2_private.end_stream(ours, 1)
    theirs.send_data(1, b"x", end_stream=True)
    assert ours.streams[1].state_machine.state is theirs.streams[1].state_machine.state
    ours.receive_data(peer.response(1, 200, end=True))
    assert h2_private.is_closed(ours, 1)
    assert ours.open_outbound_streams == 0


def test_closed_is_closed() -> None:
    connection, _ = started()
    assert not h2_private.is_closed(connection, 1)
    connection.reset_stream(1)
    assert h2_private.is_closed(connection, 1)
    assert connection.open_outbound_streams == 0
    assert 1 not in connection.streams
    assert h2_private.is_closed(connection, 1)


def test_the_encoders_table_is_bounded_and_its_changes_signalled() -> None:
    connection, peer = started()
    connection.receive_data(peer.settings({SettingCodes.HEADER_TABLE_SIZE: 1 << 20}))
    assert connection.encoder.header_table_size == 1 << 20
    h2_private.bound_encoder_table(connection)
    assert connection.encoder.header_table_size == h2_private.MAX_ENCODER_TABLE_BYTES
    assert connection.encoder.encode([]) == b"\x3f\xe1\x1f"  # RFC 7541 §6.3: size 4096
