"""`micro`: nanoseconds of trilane's own building blocks, without a network."""

from __future__ import annotations

import struct
from collections.abc import Callable
from time import process_time_ns

from trilane.transport.config import Limits
from trilane.transport.message import Headers, RequestHead, parse_url
from trilane.transport.profile.moments import Moment
from trilane.transport.profile.profile import fold
from trilane.transport.profile.recorder import Recorder
from trilane.transport.protocols.http1 import Http1Machine
from trilane.transport.protocols.http2 import Http2Machine

from .machine import machine
from .measuring import Series
from .micro_h3 import PACKETS_IN_TRAIN, TRAINS_IN_ACK, Acknowledgements, Trains
from .receiver_process import Receiver
from .report import Column, Report
from .worker import Found

_Block = tuple[Callable[[], object], int]
"""What is called, and how many of what is named one call handles."""

_HEAD = RequestHead(
    method="POST",
    url=parse_url("https://localhost/count"),
    headers=Headers([("Content-Type", "multipart/form-data; boundary=abc"), ("Accept", "*/*")]),
    content_length=65536,
)
_TURN = bytes(65536)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
#: SETTINGS with an initial window of 2^30 (RFC 9113 §6.5.2).
_SETTINGS = struct.pack(">BHBBLHL", 0, 6, 4, 0, 0, 4, 2**30)


def micro(rounds: int) -> Report:
    """Measure each building block, `rounds` times."""
    nowhere = Receiver(tls="", plain="", ca="", compiler="none", pid=0)
    report = Report(
        command="micro",
        settings={"what": "processor time of one of what is named", "rounds": rounds},
        machine=machine(nowhere),
        absent={},
        columns=[Column("ns", lambda found: found.cpu_s * 1e9, 0, is_main=True)],
    )
    report.add([_series(name, block, rounds) for name, block in _blocks().items()])
    return report


def _series(name: str, block: _Block, rounds: int) -> Series:
    _time(block, 200)
    return Series(name, "cpu", [_time(block, 2000) for _ in range(rounds)])


def _time(block: _Block, calls: int) -> Found:
    call, units = block
    began = process_time_ns()
    for _ in range(calls):
        call()
    each_ns = (process_time_ns() - began) / calls / units
    return Found(
        durations_ns=[round(each_ns)],
        elapsed_ns=round(each_ns),
        cpu_s=each_ns / 1e9,
        memory_growth_bytes=0,
    )


def _blocks() -> dict[str, _Block]:
    recorder = Recorder()
    recorder.begin_leg("https://localhost/count")
    return {
        "moment: mark": (lambda: recorder.mark(Moment.REQUEST_END), 1),
        "profile: fold a record": (lambda: fold(recorder), 1),
        "h1: request of 64 KiB, response": (_H1Requests().once, 1),
        "h2: DATA frame of 16 KiB": (_H2Upload().frames, len(_TURN) // 2**14),
        "h2: WINDOW_UPDATE": (_H2Upload().updates, 2),
        "h3: packet of a train, built": (Trains().build, PACKETS_IN_TRAIN),
        "h3: packet of a train, acknowledged": (
            Acknowledgements().once,
            PACKETS_IN_TRAIN * TRAINS_IN_ACK,
        ),
    }


class _H1Requests:
    """Requests with a body, one after the other on one machine."""

    def __init__(self) -> None:
        self._machine = Http1Machine(Limits())

    def once(self) -> None:
        """One request and its response."""
        stream_id = self._machine.send_head(_HEAD, end=False)
        self._machine.send_body(stream_id, _TURN, end=True)
        self._machine.transmit()
        self._machine.receive_data(_ANSWER)
        self._machine.forget_stream(stream_id)


class _H2Upload:
    """A body without end on one stream, whose windows are given back as they are used."""

    def __init__(self) -> None:
        self._machine = Http2Machine(Limits())
        self._machine.receive_data(_SETTINGS)
        self._stream_id = self._machine.send_head(_HEAD, end=False)
        self._machine.transmit_chunks()
        self._machine.receive_data(_window_update(0, 2**30))
        self._returned = _window_update(self._stream_id, 1) + _window_update(0, 1)
        self._used_bytes = 0

    def frames(self) -> None:
        """One turn of body bytes laid out and taken; now and then the windows are given back."""
        self._machine.send_body(self._stream_id, _TURN, end=False)
        self._machine.transmit_chunks()
        self._used_bytes += len(_TURN)
        if self._used_bytes >= 2**29:
            self._machine.receive_data(_window_update(self._stream_id, self._used_bytes))
            self._machine.receive_data(_window_update(0, self._used_bytes))
            self._used_bytes = 0

    def updates(self) -> None:
        """What a receiver says after reading a piece."""
        self._machine.receive_data(self._returned)


def _window_update(stream_id: int, byte_count: int) -> bytes:
    return struct.pack(">BHBBLL", 0, 4, 8, 0, stream_id, byte_count)
