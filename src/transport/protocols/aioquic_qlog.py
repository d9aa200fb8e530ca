"""A qlog without credentials: aioquic writes header fields as they are."""

from __future__ import annotations

from typing import Any

from aioquic.quic.logger import QuicLoggerTrace

from ..message import shown_value

_HIDDEN = b"***"


class DiscreetTrace:
    """Stands for a `QuicLoggerTrace`, and hides what secrets header fields and queries hold."""

    def __init__(self, trace: QuicLoggerTrace) -> None:
        self._trace = trace

    def encode_http3_headers_frame(
        self, length: int, headers: list[tuple[bytes, bytes]], stream_id: int
    ) -> dict[str, Any]:
        """What the log says of a HEADERS frame."""
        shown = [(name, _shown(name, value)) for name, value in headers]
        return self._trace.encode_http3_headers_frame(length, shown, stream_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trace, name)


def _shown(name: bytes, value: bytes) -> bytes:
    if name == b":path" and b"?" in value:
        return value.partition(b"?")[0] + b"?" + _HIDDEN
    return shown_value(name.decode("latin-1"), value.decode("latin-1")).encode("latin-1")
