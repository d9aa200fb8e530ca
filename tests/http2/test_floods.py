"""Frames that bring nothing are bounded (RFC 9113 §10.5); honest traffic is not."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from tests.http2.client import Client
from tests.http2.frame_factory import FrameFactory
from trilane.transport.protocols.events import ConnectionTerminated
from trilane.transport.protocols.http2_flood import PURSE_FRAMES

ENHANCE_YOUR_CALM = 0xB

FLOODS: dict[str, Callable[[FrameFactory], bytes]] = {
    "PING": lambda peer: peer.ping(),
    "PING ACK": lambda peer: peer.ping(ack=True),
    "SETTINGS": lambda peer: peer.settings(),
    "SETTINGS with many values": lambda peer: peer.raw(
        4, 0, 0, b"".join(struct.pack(">HL", 0x1000 + number, number) for number in range(100))
    ),
    "SETTINGS ACK": lambda peer: peer.settings_ack(),
    "RST_STREAM": lambda peer: peer.reset(1, 0x8),
    "PRIORITY": lambda peer: peer.raw(2, 0, 1, b"\x00\x00\x00\x03\x10"),
    "WINDOW_UPDATE": lambda peer: peer.window_update(0, 1),
    "unknown frames": lambda peer: peer.raw(0xBE, 0, 1, b"?"),
    "empty DATA": lambda peer: peer.data(3, b""),
    "padding": lambda peer: peer.data(3, b"", padding=0),
    "interim responses": lambda peer: peer.response(5, 100),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_end_the_connection(name: str) -> None:
    client = Client()
    closed, answering, _ = client.begin(), client.begin(), client.begin()
    client.machine.reset_stream(closed)
    client.receive(client.peer.response(answering, 200))
    received = 0
    while not client.saw(ConnectionTerminated):
        assert received <= PURSE_FRAMES + 100
        client.receive(*(FLOODS[name](client.peer) for _ in range(100)))
        received += 100
    (over,) = client.saw(ConnectionTerminated)
    assert over.error_code == ENHANCE_YOUR_CALM
    client.flush()
    assert client.sent(GoAwayFrame)[0].error_code == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("block", [b"", b"\x00"])
def test_a_flood_of_continuation_frames_ends_the_connection(block: bytes) -> None:
    client = Client()
    stream_id = client.get()
    client.receive(client.peer.raw_headers(stream_id, b"", end_headers=False))
    received = 0
    while not client.saw(ConnectionTerminated) and received < 64:
        client.receive(client.peer.continuation(stream_id, block))
        received += 1
    assert client.saw(ConnectionTerminated)[0].error_code == ENHANCE_YOUR_CALM


def test_a_server_that_credits_every_512_bytes_is_not_a_flood() -> None:
    client = Client({SettingCodes.INITIAL_WINDOW_SIZE: 65536})
    stream_id = client.begin()
    for _ in range(PURSE_FRAMES):
        client.machine.send_body(stream_id, bytes(512), end=False)
        client.flush()
        client.receive(client.peer.window_update(0, 512), client.peer.window_update(stream_id, 512))
    assert client.machine.send_budget(stream_id) > 0


def test_requests_pay_for_what_surrounds_them() -> None:
    client = Client()
    for _ in range(2 * PURSE_FRAMES // 50):
        stream_id = client.get()
        client.receive(*(client.peer.ping() for _ in range(50)))
        client.receive(client.peer.response(stream_id, 204, end=True))
        client.machine.forget_stream(stream_id)
    assert client.machine.available_streams == 100
