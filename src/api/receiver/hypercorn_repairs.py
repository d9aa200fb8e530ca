"""hypercorn as the receiver needs it: one that outlives a refused upload.

The one place that touches hypercorn's inside; `tests/cli/test_receiver_hypercorn.py` notices when
it changes. What hypercorn 0.18 does, and why it is changed here:

- It looks up the stream of every DATA frame without asking whether it still exists, so a body that
  is on its way while the response has been sent ends the whole h2 connection.
- It has no option for the h2 flow-control windows, and 64 KiB would be all that an upload over h2
  is measured by.
- On asyncio, closing TLS under a client that is still sending raises an SSLError nobody expects,
  and ending with a connection open makes Python 3.11 report the task's cancellation as a fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

import hypercorn.asyncio.run
import hypercorn.protocol
from h2.errors import ErrorCodes
from h2.events import Event, StreamEnded
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol

_STREAM_WINDOW_BYTES = 1024 * 1024
_CONNECTION_WINDOW_BYTES = 8 * 1024 * 1024
_DEFAULT_WINDOW_BYTES = 65535  # RFC 9113 §6.9.2


def install() -> None:
    """Make hypercorn use these classes for new connections."""
    hypercorn.protocol.H2Protocol = ReceiverH2  # type: ignore[attr-defined]
    hypercorn.asyncio.run.TCPServer = ReceiverTcpServer  # type: ignore[attr-defined]


def ignore_cancelled_connections(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exception handler for an asyncio loop that runs hypercorn."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


class ReceiverTcpServer(TCPServer):
    """A TCP connection on asyncio."""

    async def _close(self) -> None:
        # "Application data after close notify": the client was still sending.
        with contextlib.suppress(ssl.SSLError):
            await super()._close()


class ReceiverH2(H2Protocol):
    """hypercorn's HTTP/2 server with larger windows, which takes an early response for granted."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.streams = _Streams()
        self._ended: set[int] = set()
        """Streams whose request is complete."""
        self.connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes(code): value for code, value in self.connection.local_settings.items()
            }
            | {SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW_BYTES},
        )

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Send the preface, then open the connection's window."""
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(
            _CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES
        )
        await self._flush()

    async def _handle_events(self, events: list[Event]) -> None:
        self._ended.update(event.stream_id for event in events if isinstance(event, StreamEnded))
        await super()._handle_events(events)

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        if stream_id in self.stream_buffers:
            return
        if stream_id not in self._ended:
            # RFC 9113 §8.1: the response is complete, the rest of the request is not needed. A
            # stream the client has reset meanwhile is a ProtocolError here.
            with contextlib.suppress(ProtocolError):
                self.connection.reset_stream(stream_id, ErrorCodes.NO_ERROR)
                await self._flush()
        self._ended.discard(stream_id)


class _Streams(dict[int, Any]):
    """Streams by number, where one that is gone takes what still arrives for it."""

    def __missing__(self, stream_id: int) -> _GoneStream:
        return _GoneStream()


class _GoneStream:
    async def handle(self, event: StreamEvent) -> None:
        """Drop what arrived too late."""
