"""What a request looks like on the wire."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes
from hpack import Decoder, NeverIndexedHeaderTuple
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.http2.client import Client, upload_head
from tests.http2.frame_factory import PREFACE, parse_frames
from trilane.transport.config import Limits
from trilane.transport.protocols.http2 import Http2Machine
from trilane.transport.protocols.http2_core import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES


def sent_fields(client: Client, decoder: Decoder | None = None) -> list[tuple[str, str]]:
    frame = client.sent(HeadersFrame)[-1]
    return [(str(name), str(value)) for name, value in (decoder or Decoder()).decode(frame.data)]


def test_the_preface_comes_first_and_refuses_push() -> None:
    machine = Http2Machine(Limits(response_head_bytes=1000))
    sent = b"".join(bytes(part) for part in machine.transmit())
    assert sent.startswith(PREFACE)
    settings, window = parse_frames(sent)
    assert isinstance(settings, SettingsFrame)
    assert settings.settings[SettingCodes.ENABLE_PUSH] == 0
    assert settings.settings[SettingCodes.MAX_HEADER_LIST_SIZE] == 1000
    assert settings.settings[SettingCodes.INITIAL_WINDOW_SIZE] == STREAM_WINDOW_BYTES
    assert isinstance(window, WindowUpdateFrame)
    assert window.stream_id == 0
    assert window.window_increment == CONNECTION_WINDOW_BYTES - 65535


def test_the_head_has_pseudo_fields_first_and_lower_case_names() -> None:
    client = Client()
    client.machine.send_head(upload_head(5, headers={"X-Token": " Ab "}), end=False)
    client.flush()
    assert sent_fields(client) == [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.test"),
        (":path", "/upload?x=1"),
        ("x-token", "Ab"),
        ("content-length", "5"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "is_secret", "is_remembered"),
    [
        ("authorization", "Bearer 1", True, False),
        ("proxy-authorization", "Basic 1", True, False),
        ("cookie", "a=1", True, False),
        ("cookie", "a=" + "1" * 18, False, True),
        ("content-type", "multipart/form-data; boundary=b", False, False),
        ("content-type", "text/plain", False, True),
        ("x-token", "1", False, True),
    ],
)
def test_secrets_and_boundaries_are_kept_out_of_the_compression(
    name: str, value: str, *, is_secret: bool, is_remembered: bool
) -> None:
    client, decoder = Client(), Decoder()
    client.machine.send_head(upload_head(5, headers={name: value}), end=False)
    client.flush()
    fields = decoder.decode(client.sent(HeadersFrame)[-1].data)
    (found,) = (field for field in fields if str(field[0]) == name)
    assert (str(found[1]), isinstance(found, NeverIndexedHeaderTuple)) == (value, is_secret)
    in_table = (name.encode(), value.encode()) in decoder.header_table.dynamic_entries
    assert in_table == is_remembered


def test_fields_of_one_connection_are_dropped() -> None:
    client = Client()
    headers = {
        "Connection": "close, X-Hop",
        "X-Hop": "1",
        "Keep-Alive": "5",
        "Proxy-Connection": "x",
        "Transfer-Encoding": "chunked",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAA",
        "TE": "gzip",
        "X-Kept": "1",
    }
    client.machine.send_head(upload_head(None, headers=headers), end=False)
    client.flush()
    assert [name for name, _ in sent_fields(client) if not name.startswith(":")] == ["x-kept"]


def test_te_trailers_stays() -> None:
    client = Client()
    client.machine.send_head(upload_head(None, headers={"TE": "trailers"}), end=False)
    client.flush()
    assert ("te", "trailers") in sent_fields(client)


@pytest.mark.parametrize(("method", "announced"), [("POST", True), ("PUT", True), ("GET", False)])
def test_an_empty_body_is_announced_where_one_is_expected(method: str, *, announced: bool) -> None:
    client = Client()
    client.machine.send_head(upload_head(0, method=method), end=True)
    client.flush()
    assert (("content-length", "0") in sent_fields(client)) is announced
    assert "END_STREAM" in client.sent(HeadersFrame)[0].flags


def test_a_large_head_goes_on_in_continuation_frames() -> None:
    client = Client()
    headers = {f"x-{number}": "~" * 1000 for number in range(40)}
    client.machine.send_head(upload_head(None, headers=headers), end=False)
    client.flush()
    blocks = [client.sent(HeadersFrame)[0].data]
    blocks += [frame.data for frame in client.sent(ContinuationFrame)]
    assert len(blocks) > 1
    assert max(len(block) for block in blocks) <= 16384
    fields = list(Decoder(max_header_list_size=1 << 20).decode(b"".join(blocks)))
    assert len(fields) == 4 + 40


def test_the_body_is_laid_out_in_frames_of_the_peers_size() -> None:
    client = Client(
        {SettingCodes.MAX_FRAME_SIZE: 20_000, SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20}
    )
    client.receive(client.peer.window_update(0, 1 << 20))
    stream_id = client.begin(50_001)
    body = bytes(range(256)) * 196
    client.machine.send_body(stream_id, memoryview(body)[:50_001], end=True)
    client.flush()
    frames = client.sent(DataFrame)
    assert [len(frame.data) for frame in frames] == [20_000, 20_000, 10_001]
    assert b"".join(frame.data for frame in frames) == body[:50_001]
    assert ["END_STREAM" in frame.flags for frame in frames] == [False, False, True]


@pytest.mark.parametrize("size", [16384, 32768])
def test_the_end_is_on_the_last_frame_when_the_body_fills_it(size: int) -> None:
    client = Client()
    stream_id = client.begin(size)
    client.machine.send_body(stream_id, bytes(size), end=True)
    client.flush()
    assert [len(frame.data) for frame in client.sent(DataFrame)] == [16384] * (size // 16384)
    assert "END_STREAM" in client.sent(DataFrame)[-1].flags


def test_the_end_may_come_alone() -> None:
    client = Client()
    stream_id = client.begin()
    client.machine.send_body(stream_id, b"abc", end=False)
    client.machine.send_body(stream_id, b"", end=True)
    client.flush()
    assert [(frame.data, "END_STREAM" in frame.flags) for frame in client.sent(DataFrame)] == [
        (b"abc", False),
        (b"", True),
    ]


def test_the_callers_buffer_is_copied() -> None:
    client = Client()
    stream_id = client.begin()
    buffer = bytearray(b"first")
    client.machine.send_body(stream_id, buffer, end=False)
    buffer[:] = b"other"
    client.flush()
    assert client.sent(DataFrame)[0].data == b"first"


def test_sent_bytes_are_the_streams_frames_as_transmitted() -> None:
    client = Client()
    stream_id = client.machine.send_head(upload_head(20_000), end=False)
    client.machine.send_body(stream_id, bytes(20_000), end=True)
    assert client.machine.stream_totals(stream_id).sent_bytes == 0
    data = b"".join(bytes(part) for part in client.machine.transmit())
    assert client.machine.stream_totals(stream_id).sent_bytes == len(data)
    assert len(data) == sum(9 + frame.body_len for frame in parse_frames(data))


def test_giving_a_request_up_adds_nothing_to_its_bytes() -> None:
    client = Client()
    stream_id = client.begin()
    client.flush()
    before = client.machine.stream_totals(stream_id).sent_bytes
    client.machine.reset_stream(stream_id)
    assert [type(frame) for frame in client.flush()] == [RstStreamFrame]
    assert client.machine.stream_totals(stream_id).sent_bytes == before > 0


def test_a_reset_drops_what_waits_of_the_body_and_gives_the_window_back() -> None:
    client = Client()
    stream_id, other = client.begin(), client.begin()
    client.machine.send_body(stream_id, bytes(60_000), end=False)
    assert client.machine.send_budget(other) == 65535 - 60_000
    client.machine.reset_stream(stream_id)
    assert client.machine.send_budget(other) == 65535
    assert [type(frame) for frame in client.flush()] == [RstStreamFrame]
    assert client.sent(RstStreamFrame)[0].error_code == 0x8
    assert client.machine.available_streams == 99


def test_a_head_that_waits_is_sent_even_if_its_stream_is_reset() -> None:
    # The next request's fields may refer to what this one put into the HPACK table.
    client = Client()
    decoder = Decoder()
    first = client.machine.send_head(upload_head(5, headers={"x-same": "value"}), end=False)
    client.machine.reset_stream(first)
    client.machine.send_head(upload_head(5, headers={"x-same": "value"}), end=False)
    client.flush()
    for frame in client.sent(HeadersFrame):
        assert dict(decoder.decode(frame.data, raw=True))[b"x-same"] == b"value"
    assert len(client.sent(HeadersFrame)) == 2


def test_giving_up_after_the_complete_response_says_no_error() -> None:
    client = Client()
    stream_id = client.begin()
    client.receive(client.peer.response(stream_id, 413, end=True))
    client.machine.reset_stream(stream_id, response_complete=True)
    client.machine.reset_stream(stream_id)  # a no-op: it is over
    client.flush()
    assert [frame.error_code for frame in client.sent(RstStreamFrame)] == [0x0]


def test_misuse_is_an_error_of_ours() -> None:
    client = Client()
    stream_id = client.begin()
    with pytest.raises(RuntimeError):
        client.machine.send_body(stream_id, bytes(65536), end=False)
    client.machine.send_body(stream_id, b"", end=True)
    with pytest.raises(RuntimeError):
        client.machine.send_body(stream_id, b"x", end=True)


def test_the_encoders_table_stays_small_and_in_step() -> None:
    client = Client({SettingCodes.HEADER_TABLE_SIZE: 1 << 20})
    decoder = Decoder()
    decoder.max_allowed_table_size = 1 << 20
    for size in (None, 65536, 65536, 100):
        if size is not None:
            client.receive(client.peer.settings({SettingCodes.HEADER_TABLE_SIZE: size}))
            decoder.max_allowed_table_size = size
        for number in range(60):
            headers = {"x-long": f"{number:0200}", "x-same": "value"}
            stream_id = client.machine.send_head(upload_head(5, headers=headers), end=False)
            client.flush()
            assert ("x-long", f"{number:0200}") in sent_fields(client, decoder)
            client.machine.reset_stream(stream_id)
            client.machine.forget_stream(stream_id)
        assert decoder.header_table_size <= 4096
