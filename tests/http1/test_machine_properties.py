"""Whatever a peer sends, in whatever pieces, the machine answers in its own events."""

from __future__ import annotations

from dataclasses import dataclass, field

import h11
from hypothesis import given
from hypothesis import strategies as st

from tests.http1.support import head
from trilane.transport.config import Limits
from trilane.transport.message import Headers, ResponseHead
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
)
from trilane.transport.protocols.http1 import Http1Machine

LIMITS = Limits(response_head_bytes=300)

# Pieces of real responses, so that random strings of them get deep into the grammar.
FRAGMENTS = st.sampled_from(
    [
        b"HTTP/1.1 ",
        b"HTTP/1.0 ",
        b"200 OK\r\n",
        b"100 Continue\r\n",
        b"103 Early Hints\r\n",
        b"101 Switching Protocols\r\n",
        b"204 No Content\r\n",
        b"413 Too Large\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"X: " + b"y" * 200 + b"\r\n",
        b" folded\r\n",
        b"\r\n",
        b"\n",
        b"\n\r\n",
        b"\r",
        b"5\r\nhello\r\n",
        b"hello",
        b"0\r\n",
        b"0;" + b"e" * 200 + b"\r\n",
        b"\x00",
        b"\xff",
    ]
)
WIRE = st.lists(FRAGMENTS | st.binary(max_size=20), max_size=20).map(b"".join)
PROMISING = WIRE.map(lambda data: b"HTTP/1.1 200 OK\r\n" + data)


@dataclass
class Outcome:
    """What a sequence of events amounts to, however it was cut."""

    interim: list[ResponseHead] = field(default_factory=list)
    head: ResponseHead | None = None
    body: bytes = b""
    framed_bytes: int = 0
    trailers: Headers | None = None
    ends: list[tuple[bool, bool]] = field(default_factory=list)

    def add(self, event: Event) -> None:
        match event:
            case InterimReceived():
                assert self.head is None
                self.interim.append(event.head)
            case HeadReceived():
                assert self.head is None
                assert event.byte_count <= LIMITS.response_head_bytes
                self.head = event.head
                self.framed_bytes += event.byte_count
            case DataReceived():
                assert self.head is not None
                assert self.trailers is None
                assert event.byte_count >= len(event.data) > 0
                self.body += event.data
                self.framed_bytes += event.byte_count
            case ResponseEnded():
                assert self.head is not None
                assert self.trailers is None
                self.trailers = event.trailers
            case ConnectionTerminated():
                assert self.trailers is None
                assert event.reason
                self.ends.append((event.clean, event.too_large))
            case _:
                raise AssertionError(event)


def fed(pieces: list[bytes], *, method: str = "GET") -> tuple[Outcome, Http1Machine]:
    machine = Http1Machine(LIMITS)
    machine.send_head(head(method=method), end=True)
    machine.transmit()
    outcome = Outcome()
    for piece in pieces:
        finished = machine.available_streams == 1
        for event in machine.receive_data(piece):
            if finished:  # what comes between requests can only end the connection
                assert isinstance(event, ConnectionTerminated)
            else:
                outcome.add(event)
    return outcome, machine


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]


@given(data=WIRE | PROMISING, sizes=st.lists(st.integers(1, 9), max_size=60), eof=st.booleans())
def test_arbitrary_bytes_in_arbitrary_pieces(data: bytes, sizes: list[int], eof: bool) -> None:
    end = [b""] if eof else []
    whole, first = fed(([data] if data else []) + end)
    pieces, second = fed(cut(data, sizes) + end)
    received = first.stream_totals(1).received_bytes
    assert whole == pieces
    assert received <= len(data)
    assert whole.framed_bytes <= received
    assert len(whole.ends) <= 1
    if eof:
        assert whole.trailers is not None or whole.ends == [(False, whole.ends[0][1])]
        assert first.available_streams == second.available_streams == 0
    if whole.ends:
        assert first.available_streams == second.available_streams == 0


@given(
    status=st.integers(200, 599),
    interim=st.lists(st.sampled_from([100, 102, 103]), max_size=3),
    body=st.binary(max_size=300),
    chunk=st.integers(1, 100),
    chunked=st.booleans(),
    sizes=st.lists(st.integers(1, 50), max_size=40),
)
def test_what_an_h11_server_says_is_understood(
    *, status: int, interim: list[int], body: bytes, chunk: int, chunked: bool, sizes: list[int]
) -> None:
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(server.next_event(), h11.Request)
    assert isinstance(server.next_event(), h11.EndOfMessage)
    wire = b"".join(
        server.send(h11.InformationalResponse(status_code=code, headers=[])) for code in interim
    )
    if status in {204, 304}:
        body = b""
    framing = [] if chunked else [("Content-Length", str(len(body)))]
    wire += server.send(h11.Response(status_code=status, headers=framing))
    for at in range(0, len(body), chunk):
        wire += server.send(h11.Data(data=body[at : at + chunk]))
    wire += server.send(h11.EndOfMessage())
    outcome, machine = fed(cut(wire, sizes))
    assert [found.status for found in outcome.interim] == interim
    assert outcome.head is not None
    assert outcome.head.status == status
    assert outcome.body == body
    assert outcome.ends == []
    assert machine.available_streams == 1
    assert machine.stream_totals(1).received_bytes == len(wire)


@given(
    pieces=st.lists(st.binary(max_size=200), max_size=12),
    known=st.booleans(),
    taken=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_what_is_sent_is_understood_by_an_h11_server(
    pieces: list[bytes], known: bool, taken: list[bool]
) -> None:
    body = b"".join(pieces)
    machine, wire = Http1Machine(Limits()), b""
    stream = machine.send_head(head(len(body) if known else None), end=False)
    for piece, take in zip(pieces, taken, strict=False):
        machine.send_body(stream, memoryview(piece), end=False)
        wire += b"".join(machine.transmit()) if take else b""
    machine.send_body(stream, b"", end=True)
    wire += b"".join(machine.transmit())
    assert machine.stream_totals(stream).sent_bytes == len(wire)
    server = h11.Connection(h11.SERVER)
    server.receive_data(wire)
    assert isinstance(server.next_event(), h11.Request)
    received = b""
    while isinstance(event := server.next_event(), h11.Data):
        received += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert received == body
    assert server.trailing_data == (b"", False)
