"""The undocumented parts of h2 that `h2_private` relies on are where it expects them."""

from __future__ import annotations

from collections import deque

import pytest
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hpack import Decoder, NeverIndexedHeaderTuple

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
def test_boundaries_stay_out_of_the_table_and_are_no_secret(length: int) -> None:
    connection, _ = started()
    decoder, form = Decoder(), f"multipart/form-data; boundary={'b' * length}".encode()
    for _ in range(2):
        before = len(connection.encoder.header_table.dynamic_entries)
        block = connection.encoder.encode([(b"content-type", form), (b"x-other", b"1")])
        decoded, other = decoder.decode(block, raw=True)
        assert (tuple(decoded), tuple(other)) == ((b"content-type", form), (b"x-other", b"1"))
        assert not isinstance(decoded, NeverIndexedHeaderTuple)
    assert len(connection.encoder.header_table.dynamic_entries) == before
    assert (b"content-type", form) not in connection.encoder.header_table.dynamic_entries
    assert decoder.header_table.dynamic_entries == deque([(b"x-other", b"1")])


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
