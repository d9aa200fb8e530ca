"""A machine under test, with a frame factory for its peer."""

from __future__ import annotations

from typing import TypeVar

from h2.settings import SettingCodes
from hyperframe.frame import Frame

from tests.apart import apart
from tests.http2.frame_factory import FrameFactory, parse_frames
from trilane.transport.config import Limits
from trilane.transport.message import Headers, RequestHead, parse_url
from trilane.transport.protocols.events import Event
from trilane.transport.protocols.http2 import Http2Machine

F = TypeVar("F", bound=Frame)
E = TypeVar("E")


def upload_head(
    length: int | None = None, *, method: str = "POST", headers: dict[str, str] | None = None
) -> RequestHead:
    return RequestHead(
        method=method,
        url=parse_url("https://example.test/upload?x=1"),
        headers=Headers(headers or {}),
        content_length=length,
    )


class Client:
    """The machine after the exchange of SETTINGS; keeps the events and frames it produced."""

    def __init__(
        self,
        settings: dict[SettingCodes | int, int] | None = None,
        *,
        limits: Limits | None = None,
    ) -> None:
        self.machine = Http2Machine(limits or Limits())
        self.peer = FrameFactory()
        self.frames: list[Frame] = []
        self.events: list[Event] = []
        self.receive(self.peer.settings(settings), self.peer.settings_ack())
        self.flush()
        self.frames.clear()

    def receive(self, *parts: bytes) -> list[Event]:
        """Feed bytes from the peer and return what the machine made of them."""
        events = apart(self.machine.receive_data(b"".join(parts)))
        self.events += events
        return events

    def flush(self) -> list[Frame]:
        """Take what the machine wants sent, as frames."""
        data = b"".join(bytes(part) for part in self.machine.transmit())
        self.events += self.machine.take_events()
        frames = parse_frames(data)
        self.frames += frames
        return frames

    def begin(self, length: int | None = None) -> int:
        """Begin an upload and send its head."""
        stream_id = self.machine.send_head(upload_head(length), end=False)
        self.flush()
        return stream_id

    def get(self) -> int:
        """Send a request without a body."""
        stream_id = self.machine.send_head(upload_head(0, method="GET"), end=True)
        self.flush()
        return stream_id

    def sent(self, kind: type[F]) -> list[F]:
        """Frames of one kind that were sent so far."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def saw(self, kind: type[E]) -> list[E]:
        """Events of one kind that were seen so far."""
        return [event for event in self.events if isinstance(event, kind)]
