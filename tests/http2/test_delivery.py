"""Our machine and an h2 server, wired with random chunking: every body arrives exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived as ServerData
from h2.events import RequestReceived, StreamEnded
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.apart import apart
from tests.http2.client import upload_head
from trilane.transport.config import Limits
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseEnded,
    StreamReset,
    StreamWritable,
)
from trilane.transport.protocols.http2 import Http2Machine


class Server:
    """An h2 server that credits windows as it is told, and keeps each stream's body."""

    def __init__(self, window: int) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.bodies: dict[int, bytearray] = {}
        self.finished: list[int] = []
        self._uncredited: dict[int, int] = {}

    def receive(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            match event:
                case RequestReceived():
                    self.bodies[event.stream_id] = bytearray()
                case ServerData():
                    self.bodies[event.stream_id] += event.data
                    self._uncredited[event.stream_id] = (
                        self._uncredited.get(event.stream_id, 0) + event.flow_controlled_length
                    )
                case StreamEnded():
                    self.finished.append(event.stream_id)
                    self._answer(event.stream_id)
                case _:
                    pass

    def credit(self) -> None:
        for stream_id, count in self._uncredited.items():
            if count:
                self.h2.increment_flow_control_window(count)
                if stream_id not in self.finished:
                    self.h2.increment_flow_control_window(count, stream_id)
        self._uncredited.clear()

    def resize(self, window: int) -> None:
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})

    def _answer(self, stream_id: int) -> None:
        body = bytes(self.bodies[stream_id][-10:])
        self.h2.send_headers(stream_id, [(b":status", b"200")])
        self.h2.send_data(stream_id, body, end_stream=True)


class Transfer:
    """Uploads of several bodies at once, in turns."""

    def __init__(self, sizes: list[int], windows: list[int], random: Random) -> None:
        self.random = random
        self.windows = windows
        self.machine, self.server = Http2Machine(Limits()), Server(windows[0])
        self.bodies: dict[int, bytes] = {}
        for size in sizes:
            stream_id = self.machine.send_head(upload_head(size), end=False)
            self.bodies[stream_id] = random.randbytes(size)
        self.left = {stream_id: memoryview(body) for stream_id, body in self.bodies.items()}
        # As a driver does, a stream without a budget is left alone until it is writable.
        self.awake = set(self.bodies)
        self.answers = dict.fromkeys(self.bodies, b"")
        self.ended: set[int] = set()

    def turn(self, *, generous: bool) -> None:
        """Each side does something; in a generous turn the server gives all the window it can."""
        for stream_id in list(self.left):
            if stream_id in self.awake:
                self._send(stream_id)
        for piece in self._chunked(b"".join(map(bytes, self.machine.transmit()))):
            self.server.receive(piece)
        self._handle(self.machine.take_events())
        if generous or self.random.random() < 0.5:
            self.server.credit()
        if generous or self.random.random() < 0.1:
            self.server.resize(65535 if generous else self.random.choice(self.windows))
        for piece in self._chunked(self.server.h2.data_to_send()):
            self._receive(piece)

    def _send(self, stream_id: int) -> None:
        rest = self.left[stream_id]
        wanted = self.random.choice([1, 999, 70_000])
        budget = self.machine.send_budget(stream_id)
        count = min(budget, wanted, len(rest))
        end = count == len(rest)
        if not budget and not end:
            self.awake.discard(stream_id)
        if count or end:
            self.machine.send_body(stream_id, rest[:count], end=end)
            self.left[stream_id] = rest[count:]
        if end:
            del self.left[stream_id]

    def _receive(self, piece: bytes) -> None:
        self._handle(apart(self.machine.receive_data(piece)))

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            assert not isinstance(event, (StreamReset, ConnectionTerminated))
            if isinstance(event, StreamWritable):
                self.awake.add(event.stream_id)
            if isinstance(event, DataReceived):
                self.answers[event.stream_id] += event.data
            if isinstance(event, ResponseEnded):
                self.ended.add(event.stream_id)

    def _chunked(self, data: bytes) -> Iterator[bytes]:
        while data:
            size = self.random.choice([1, 8, 9, 500, 100_000])
            yield data[:size]
            data = data[size:]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 16384, 65536, 300_000]), min_size=1, max_size=8),
    windows=st.lists(st.sampled_from([0, 1, 5_000, 65535, 200_000]), min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
)
def test_bodies_arrive_exactly_once(sizes: list[int], windows: list[int], seed: int) -> None:
    transfer = Transfer(sizes, windows, Random(seed))
    turns = 0
    while len(transfer.ended) < len(sizes):
        turns += 1
        assert turns < 20_000
        transfer.turn(generous=turns > 200)
    assert {key: bytes(body) for key, body in transfer.server.bodies.items()} == transfer.bodies
    assert sorted(transfer.server.finished) == sorted(transfer.bodies)
    assert transfer.answers == {key: body[-10:] for key, body in transfer.bodies.items()}
