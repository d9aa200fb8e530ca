"""A bound on frames that cost us work and bring nothing (RFC 9113 §10.5).

There is no clock here, so the bound is a purse: it begins full, each frame that brings nothing
takes one coin, and what an honest exchange consists of (requests, body bytes either way) fills it.
"""

from __future__ import annotations

from h2.errors import ErrorCodes

from .http2_frames import Frame, FrameType, Violation

#: Frames a peer may send without anything useful happening: 0.1 s of work, and 170 KB of answers.
#: nghttp2 allows 1 000 unsent answers, Go 10 000; a server that sends a PING every second through
#: an hour of silence stays below.
PURSE_FRAMES = 10_000
#: What a body of this size pays for one frame. A server that credits our window for every 512
#: bytes, on the stream and on the connection, sends two frames for them.
BYTES_PER_FRAME = 256
#: A request pays for its share of everything that is not a body.
FRAMES_PER_REQUEST = 100
#: In bytes' worth, so that small bodies count without rounding.
_FULL = PURSE_FRAMES * BYTES_PER_FRAME
#: SETTINGS entries are kept, and cost as much as frames.
_SETTING_BYTES = 6

_FREE = frozenset((FrameType.DATA, FrameType.GOAWAY, FrameType.PUSH_PROMISE))


class FloodGuard:
    """The purse of one connection."""

    __slots__ = ("_coins",)

    def __init__(self) -> None:
        self._coins = _FULL

    def charge(self, frame: Frame) -> None:
        """Pay for a frame by its type; DATA is paid for by `charge_empty_data` where it must be.

        Raises:
            Violation: the purse is empty.
        """
        if frame.kind in _FREE:
            return
        entries = frame.payload_bytes // _SETTING_BYTES if frame.kind == FrameType.SETTINGS else 0
        self._coins -= (1 + entries) * BYTES_PER_FRAME
        if self._coins < 0:
            raise _empty()

    def charge_one(self) -> None:
        """Pay for a frame that is not SETTINGS.

        Raises:
            Violation: the purse is empty.
        """
        self._coins -= BYTES_PER_FRAME
        if self._coins < 0:
            raise _empty()

    def charge_empty_data(self) -> None:
        """Pay for a DATA frame without data that ends nothing.

        Raises:
            Violation: the purse is empty.
        """
        self.charge_one()

    def earn_bytes(self, body_bytes: int) -> None:
        """Body bytes were sent or received."""
        self._coins = min(self._coins + body_bytes, _FULL)

    def earn_request(self, body_bytes: int = 0) -> None:
        """A request began, and so much of its body was sent with it."""
        self.earn_bytes(FRAMES_PER_REQUEST * BYTES_PER_FRAME + body_bytes)


def _empty() -> Violation:
    return Violation(
        f"the peer sent over {PURSE_FRAMES} control frames while nothing useful happened",
        ErrorCodes.ENHANCE_YOUR_CALM,
    )
