"""aioquic's own asyncio client, as its HTTP/3 example uses it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol, QuicStreamHandler
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent

from .client import AsyncClient, Source, require_ok

_BOUNDARY = b"benchmark-boundary"
_HEAD = (
    b"--" + _BOUNDARY + b"\r\n"
    b'Content-Disposition: form-data; name="file"; filename="upload.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
_TAIL = b"\r\n--" + _BOUNDARY + b"--\r\n"


class AioquicClient(AsyncClient):
    """aioquic keeps whatever it is given until it is acknowledged, so the file is read whole."""

    async def open(self) -> None:
        """Begin, inside the event loop."""
        configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN)
        configuration.load_verify_locations(self.target.ca)
        self._stack = AsyncExitStack()
        host, port = self.target.address
        protocol = await self._stack.enter_async_context(
            connect(host, port, configuration=configuration, create_protocol=_Protocol)
        )
        assert isinstance(protocol, _Protocol)
        self._protocol = protocol

    async def upload(self, path: str, source: Source) -> bytes:
        """POST the source; see `AsyncClient.upload`."""
        data = source.read_bytes() if isinstance(source, Path) else source
        return await self._protocol.post(self.target.authority, path, _HEAD + data + _TAIL)

    async def close(self) -> None:
        """Close the connections."""
        await self._stack.aclose()


class _Protocol(QuicConnectionProtocol):
    """HTTP/3 on one connection."""

    def __init__(
        self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None
    ) -> None:
        super().__init__(quic, stream_handler)
        self._http = H3Connection(quic)
        self._status: dict[int, int] = {}
        self._received: dict[int, bytes] = {}
        self._answers: dict[int, asyncio.Future[bytes]] = {}

    async def post(self, authority: str, path: str, body: bytes) -> bytes:
        """POST a multipart body and wait for the response."""
        stream_id = self._quic.get_next_available_stream_id()
        self._received[stream_id] = b""
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._answers[stream_id] = answer
        fields = {
            ":method": "POST",
            ":scheme": "https",
            ":authority": authority,
            ":path": path,
            "content-type": f"multipart/form-data; boundary={_BOUNDARY.decode()}",
            "content-length": str(len(body)),
        }
        headers = [(name.encode(), value.encode()) for name, value in fields.items()]
        self._http.send_headers(stream_id, headers)
        self._http.send_data(stream_id, body, end_stream=True)
        self.transmit()
        return await answer

    def quic_event_received(self, event: QuicEvent) -> None:
        """Take what the connection says."""
        for each in self._http.handle_event(event):
            self._take(each)

    def _take(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self._status[event.stream_id] = int(dict(event.headers).get(b":status", b"0"))
        elif isinstance(event, DataReceived):
            self._received[event.stream_id] += event.data
        if isinstance(event, (HeadersReceived, DataReceived)) and event.stream_ended:
            status = self._status.pop(event.stream_id)
            body = self._received.pop(event.stream_id)
            self._answers.pop(event.stream_id).set_result(require_ok(status, body))
