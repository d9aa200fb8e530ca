"""The HTTP/1.1 driver: one request at a time over a byte stream, and no standing tasks."""

from __future__ import annotations

from collections.abc import Awaitable

import anyio

from ..body import Body, BodyReader
from ..buffers import Buffer
from ..config import Limits, ProxyServer
from ..errors import ClientClosed, ConnectionLost
from ..net.loop_clock import loop_clock
from ..net.stream import ByteStream, PromptStream
from ..profile.moments import ConnectionFacts
from ..protocols.http1 import Http1Machine
from ..protocols.http_connect import authentication_error
from .connection import Connection, ConnectionState
from .exchange import Exchange, RawResponse, out_of_time
from .http1_conversation import Conversation, send_head
from .http1_writer import ended_early

#: Bodies of known length up to this size leave with the head, in one write. It fits the receive
#: window every peer starts with (65,535 bytes), so no peer needs to read for the write to end.
WHOLE_BODY_BYTES = 64 * 1024


class Http1Connection(Connection):
    """An established connection that speaks HTTP/1.1.

    It is used again only when request and response were both carried to their ends and both sides
    allow it (RFC 9112 §9.3); in every other case the exchange leaves it CLOSED.
    """

    keeps_deadlines = True
    state: ConnectionState = ConnectionState.OPEN
    """Whether it takes requests."""

    def __init__(
        self,
        stream: ByteStream,
        facts: ConnectionFacts,
        limits: Limits,
        forwarder: ProxyServer | None = None,
    ) -> None:
        """Take over a connected stream, to an origin or to a proxy that forwards to any."""
        self.facts = facts
        self._stream = stream
        self._prompt = stream if isinstance(stream, PromptStream) else None
        self._machine = Http1Machine(limits, forwarder)
        self._forwarder = forwarder
        self._busy = False
        self._conversation: Conversation | None = None
        self._clock_s = loop_clock()

    @property
    def active_requests(self) -> int:
        """0 or 1."""
        return int(self._busy)

    @property
    def available_requests(self) -> int:
        """0 or 1."""
        return int(self.state is ConnectionState.OPEN and not self._busy)

    def is_alive(self) -> bool:
        """Whether a request may be given to it now; see `Connection.is_alive`."""
        usable = self.state is ConnectionState.OPEN and not self._busy
        return usable and self._stream.is_idle_and_alive()

    async def exchange(self, exchange: Exchange) -> RawResponse:
        """Carry one request; see `Connection.exchange`."""
        if self._busy or self.state is not ConnectionState.OPEN:
            raise ConnectionLost("the connection takes no more requests", retryable=True)
        self._busy = True
        body = exchange.body
        try:
            content = b"" if body is None else _at_hand(exchange, body)
            if body is None or content is not None:
                response = await self._send_whole(exchange, content or b"")
            else:
                response = await self._with_reader(exchange, body)
            return self._from_origin(response)
        finally:
            self._busy = False
            self._finish()

    async def run(self) -> None:
        """Do nothing: requests bring their own tasks."""

    def retire(self) -> None:
        """Take no more requests and close when the running one is done."""
        if not self._busy:
            self._close()
        elif self.state is ConnectionState.OPEN:
            self.state = ConnectionState.DRAINING

    async def aclose(self) -> None:
        """Close now; a pending exchange fails with ClientClosed."""
        if self._conversation is not None:
            self._conversation.fail(_client_closed())
        self._close()

    def _from_origin(self, response: RawResponse) -> RawResponse:
        """The response, unless it is the proxy's demand for credentials."""
        if self._forwarder is not None and response.head.status == 407:
            offered = response.head.headers.get_list("proxy-authenticate")
            raise authentication_error(self._forwarder, offered)
        return response

    async def _with_reader(self, exchange: Exchange, body: Body) -> RawResponse:
        """Carry it with a body that has to be read."""
        with anyio.CancelScope(deadline=exchange.deadline_s):
            reader = await body.open()
            try:
                if not _leaves_with_head(exchange, body):
                    self._refuse_when_closed()
                    stream_id = send_head(self._machine, exchange)
                    return await self._begin(exchange, stream_id, has_body=True).send_from(reader)
                return await self._send_whole(exchange, await _read_whole(body, reader))
            finally:
                await reader.aclose()
        raise out_of_time(exchange.timeouts, exchange.recorder)

    def _send_whole(self, exchange: Exchange, content: Buffer) -> Awaitable[RawResponse]:
        """Carry it with a body, perhaps empty, that is at hand."""
        self._refuse_when_closed()
        stream_id, data = self._machine.send_whole(exchange.head, content)
        conversation = self._begin(exchange, stream_id, has_body=len(content) > 0)
        return conversation.send_whole(data, len(content))

    def _begin(self, exchange: Exchange, stream_id: int, *, has_body: bool) -> Conversation:
        """From here on the connection is reusable only if all goes well."""
        self._conversation = conversation = Conversation(
            self._stream,
            self._prompt,
            self._machine,
            exchange,
            self._clock_s,
            stream_id=stream_id,
            has_body=has_body,
        )
        return conversation

    def _refuse_when_closed(self) -> None:
        if self.state is ConnectionState.CLOSED:
            raise _client_closed()

    def _finish(self) -> None:
        conversation, self._conversation = self._conversation, None
        if conversation is not None and not conversation.clean:
            self._machine.close()
        if self.state is ConnectionState.DRAINING or not self._machine.available_streams:
            self._close()

    def _close(self) -> None:
        self.state = ConnectionState.CLOSED
        self._machine.close()
        self._stream.close()


def _at_hand(exchange: Exchange, body: Body) -> bytes | None:
    """The whole body, if it leaves with the head and need not be read."""
    if body.length == 0:
        return b""
    pieces = body.in_memory() if _leaves_with_head(exchange, body) else None
    return None if pieces is None else b"".join(pieces)


def _leaves_with_head(exchange: Exchange, body: Body) -> bool:
    small = body.length is not None and body.length <= WHOLE_BODY_BYTES
    return small and not exchange.expect_continue


async def _read_whole(body: Body, reader: BodyReader) -> memoryview:
    total = body.length or 0
    buffer = memoryview(bytearray(total))
    filled = 0
    while filled < total:
        count = await reader.readinto(buffer[filled:])
        if count == 0:
            raise ended_early(total, filled)
        filled += count
    return buffer


def _client_closed() -> ClientClosed:
    return ClientClosed("the client was closed while the request ran")
