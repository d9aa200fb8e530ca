"""Whatever arrives: no hang, no exception, and never a body that differs from what was sent."""

from __future__ import annotations

import pytest
from aioquic.h3.connection import ErrorCode
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http3.conftest import MakePair
from tests.http3.pair import CLIENT, SERVER, Pair, Upload, client_configuration, make_machine
from tests.peers.certificates import Certificates
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.http3 import Http3Machine
from trilane.transport.protocols.http3_close import CloseKind
from trilane.transport.protocols.http3_frames import (
    ControlStreamWatch,
    FrameReader,
    decode_varint,
    encode_varint,
)

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

varints = st.one_of(st.integers(0, 80), st.integers(0, (1 << 62) - 1))
frame_types = st.one_of(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xD, 0x21, 0x41]), varints)
status_block = st.sampled_from([b"\x00\x00\xd9", b"\x00\x00\xd9\xd9", b"\x00\x00\xd8", b"\x02\x00"])


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    payload = draw(st.one_of(st.binary(max_size=40), status_block))
    length = draw(st.one_of(st.just(len(payload)), varints))
    return encode_varint(draw(frame_types)) + encode_varint(length) + payload


stream_bytes = st.lists(st.one_of(frames(), st.binary(max_size=20)), max_size=6).map(b"".join)


def settle(pair: Pair, steps: int = 300) -> None:
    """Let everything that was started run its course, within bounds."""
    pair.run(
        lambda: pair.link.next_delivery_s() is None and not pair.machine.transmit(pair.now_s),
        max_steps=steps,
    )


def explained(machine: Http3Machine) -> bool:
    return machine.close_cause is None or bool(machine.close_cause.reason)


@EXAMPLES
@given(st.lists(st.binary(max_size=1500), max_size=8), st.booleans())
def test_arbitrary_datagrams(
    certificates: Certificates, make_pair: MakePair, datagrams: list[bytes], connected: bool
) -> None:
    if connected:
        pair = make_pair()
        machine, now_s = pair.machine, pair.now_s
    else:
        machine, now_s = make_machine(client_configuration(certificates)), 1000.0
        machine.connect(SERVER, now_s)
        machine.transmit(now_s)
    for data in datagrams:
        machine.receive_datagram(data, SERVER, now_s)
        machine.receive_datagram(data, CLIENT, now_s)
        machine.transmit(now_s)

    assert machine.close_cause is None


@EXAMPLES
@given(data=st.data())
def test_corrupted_datagrams(make_pair: MakePair, data: st.DataObject) -> None:
    """Every datagram of the server is cut or changed somewhere; QUIC takes it for loss."""
    pair = make_pair()
    stream_id = Upload(pair, b"").stream_id
    pair.step()
    for original, address in pair.server.quic.datagrams_to_send(pair.now_s):
        assert address == CLIENT
        position = data.draw(st.integers(0, len(original) - 1))
        flipped = original[position] ^ data.draw(st.integers(1, 255))
        changed = original[:position] + bytes([flipped]) + original[position + 1 :]
        for damaged in (changed, original[:position]):
            pair.machine.receive_datagram(damaged, SERVER, pair.now_s)
    pair.run(lambda: pair.server.requests.get(stream_id) is not None)

    assert pair.machine.close_cause is None


@EXAMPLES
@given(stream_bytes, st.booleans(), st.integers(1, 50))
def test_arbitrary_bytes_on_a_request_stream(
    make_pair: MakePair, answer: bytes, end: bool, piece: int
) -> None:
    pair = make_pair(response_head_bytes=2000)

    def respond(stream_id: int) -> None:
        for start in range(0, len(answer), piece):
            pair.server.quic.send_stream_data(stream_id, answer[start : start + piece])
        pair.server.quic.send_stream_data(stream_id, b"", end)

    pair.server.answer = respond
    Upload(pair, b"")
    pair.run(lambda: bool(pair.server.requests))
    settle(pair)

    assert explained(pair.machine)
    cause = pair.machine.close_cause
    assert cause is None or cause.kind is CloseKind.VIOLATION


@EXAMPLES
@given(varints, stream_bytes, st.booleans())
def test_arbitrary_bytes_on_a_unidirectional_stream(
    make_pair: MakePair, stream_type: int, content: bytes, end: bool
) -> None:
    pair = make_pair()
    stream_id = pair.server.quic.get_next_available_stream_id(is_unidirectional=True)
    pair.server.quic.send_stream_data(stream_id, encode_varint(stream_type) + content, end)
    Upload(pair, b"")
    pair.run(lambda: bool(pair.server.requests) or pair.machine.close_cause is not None)
    settle(pair)

    cause = pair.machine.close_cause
    assert cause is None or cause.kind is CloseKind.VIOLATION


@EXAMPLES
@given(stream_bytes)
def test_arbitrary_frames_on_the_control_stream(make_pair: MakePair, content: bytes) -> None:
    pair = make_pair()
    control = pair.server.h3._local_control_stream_id
    assert control is not None
    pair.server.quic.send_stream_data(control, content)
    Upload(pair, b"")
    pair.run(lambda: bool(pair.server.requests) or pair.machine.close_cause is not None)
    settle(pair)

    cause = pair.machine.close_cause
    assert cause is None or cause.kind is CloseKind.VIOLATION


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, 0x31), st.binary(max_size=60)), min_size=1, max_size=5))
def test_arbitrary_quic_frames(make_pair: MakePair, payload: list[tuple[int, bytes]]) -> None:
    """Well-encrypted packets of a server gone mad, below the stream layer."""
    pair = make_pair()
    server = pair.server.quic
    builder = QuicPacketBuilder(
        host_cid=server.host_cid,
        peer_cid=server._peer_cid.cid,
        version=server._version or 1,
        is_client=False,
        max_datagram_size=1200,
        packet_number=server._packet_number,
    )
    builder.start_packet(QuicPacketType.ONE_RTT, server._cryptos[Epoch.ONE_RTT])
    for kind, content in payload:
        builder.start_frame(kind, capacity=64).push_bytes(content)
    datagrams, _ = builder.flush()
    for datagram in datagrams:
        pair.machine.receive_datagram(datagram, SERVER, pair.now_s)
    pair.machine.transmit(pair.now_s)

    assert explained(pair.machine)


class History:
    """Requests that begin, are given up, answered, refused and stopped in any order."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.uploads: list[Upload] = []
        self.given_up: set[int] = set()
        pair.server.answer = lambda _stream_id: None
        pair.each_step = self.feed

    def feed(self) -> None:
        for upload in self.uploads:
            if upload.stream_id not in self.given_up:
                upload.feed()

    def begin(self, number: int) -> None:
        self.uploads.append(Upload(self.pair, bytes([number]) * (number * 20_000)))

    def wait(self, number: int) -> None:
        self.pair.alarm_s = self.pair.now_s + 0.02 * number
        while self.pair.now_s < self.pair.alarm_s:
            self.pair.step()

    def reset(self, number: int) -> None:
        upload = self._chosen(number)
        if upload is not None and upload.stream_id not in self.given_up:
            self.given_up.add(upload.stream_id)
            self.pair.machine.reset_stream(upload.stream_id)
            self.pair.machine.forget_stream(upload.stream_id)

    def stop(self, number: int) -> None:
        if (stream := self._on_server(number)) is not None:
            self.pair.server.quic.stop_stream(stream.stream_id or 0, ErrorCode.H3_NO_ERROR)

    def refuse(self, number: int) -> None:
        if (stream := self._on_server(number)) is not None:
            stream.sender.reset(ErrorCode.H3_REQUEST_REJECTED)

    def respond(self, number: int) -> None:
        stream = self._on_server(number)
        if stream is not None and not stream.sender._buffer_stop:
            self.pair.server.respond(stream.stream_id or 0)

    def _chosen(self, number: int) -> Upload | None:
        return self.uploads[number % len(self.uploads)] if self.uploads else None

    def _on_server(self, number: int) -> QuicStream | None:
        """The stream as the server has it, unless it is over or was refused."""
        upload = self._chosen(number)
        if upload is None or upload.stream_id not in self.pair.server.requests:
            return None
        stream = self.pair.server.quic._streams.get(upload.stream_id)
        if stream is None or stream.sender._reset_error_code is not None:
            return None
        return stream


ACTS = {
    "begin": History.begin,
    "wait": History.wait,
    "reset": History.reset,
    "stop": History.stop,
    "refuse": History.refuse,
    "respond": History.respond,
}
acts = st.lists(st.tuples(st.sampled_from(list(ACTS)), st.integers(0, 5)), max_size=25)


@EXAMPLES
@given(acts, st.integers(0, 1000))
def test_arbitrary_histories(
    make_pair: MakePair, history: list[tuple[str, int]], seed: int
) -> None:
    conditions = LinkConditions(loss=0.05, jitter_s=0.005, duplication=0.05)
    pair = make_pair(conditions=conditions, seed=seed)
    story = History(pair)
    for act, number in history:
        ACTS[act](story, number)
    story.wait(50)

    assert pair.machine.close_cause is None
    for upload in story.uploads:
        request = pair.server.requests.get(upload.stream_id)
        received = bytes(request.body) if request else b""
        assert upload.body.startswith(received)
        if request and request.ended:
            assert received == upload.body


# --- the parts --------------------------------------------------------------------------------


@given(st.integers(0, (1 << 62) - 1), st.binary(max_size=3))
def test_varints_come_back(value: int, rest: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(encoded + rest, 0) == (value, len(encoded))
    for end in range(len(encoded)):
        assert decode_varint(encoded[:end], 0) == (None, 0)


def test_too_large_a_varint() -> None:
    with pytest.raises(OverflowError):
        encode_varint(1 << 62)


well_formed = st.lists(st.tuples(frame_types, st.binary(max_size=30)), max_size=8)


@given(well_formed, st.integers(1, 40))
def test_frames_are_found_whatever_the_pieces(written: list[tuple[int, bytes]], piece: int) -> None:
    data = b"".join(
        encode_varint(kind) + encode_varint(len(payload)) + payload for kind, payload in written
    )
    reader = FrameReader(keep=frozenset({7}))
    seen = [
        frame
        for start in range(0, len(data), piece)
        for frame in reader.feed(data[start : start + piece])
    ]

    assert [(frame.kind, frame.length) for frame in seen] == [
        (kind, len(payload)) for kind, payload in written
    ]
    for frame, (kind, payload) in zip(seen, written, strict=True):
        assert frame.payload == (payload if kind == 7 and len(payload) <= 8 else None)


@given(st.integers(0, (1 << 62) - 1), st.integers(1, 9))
def test_goaway_is_found_on_the_control_stream_only(value: int, piece: int) -> None:
    goaway = b"\x07" + encode_varint(len(encode_varint(value))) + encode_varint(value)
    for stream_type, found in ((0, [value]), (1, []), (2, []), (0x40, [])):
        watch = ControlStreamWatch()
        data = encode_varint(stream_type) + b"\x04\x00" + goaway
        named = [
            each
            for start in range(0, len(data), piece)
            for each in watch.feed(3, data[start : start + piece], ended=False)
        ]
        assert named == found
        assert watch.feed(3, b"", ended=True) == []
