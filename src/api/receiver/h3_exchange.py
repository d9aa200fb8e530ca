"""One HTTP/3 request as the ASGI application sees it: an inbox of body bytes, a way to answer."""

from __future__ import annotations

from typing import Protocol, cast

import anyio

from .asgi import EARLY_HINT, Message, Scope

Headers = list[tuple[bytes, bytes]]


class ResponseSink(Protocol):
    """Where a response goes: the connection, for one stream."""

    def send_headers(self, headers: Headers) -> None:
        """Send a response head, interim or final."""
        ...

    def send_body(self, data: bytes, *, end: bool) -> None:
        """Send a piece of the response body."""
        ...


class H3Exchange:
    """Both directions of one request stream."""

    def __init__(self, scope: Scope, sink: ResponseSink) -> None:
        self.scope = scope
        self.request_ended = False
        """The client has sent its last byte."""
        self._sink = sink
        self._inbox = bytearray()
        self._end_delivered = False
        self._disconnected = False
        self._changed = anyio.Event()

    @property
    def backlog_bytes(self) -> int:
        """Body bytes that arrived and were not read yet."""
        return len(self._inbox)

    def feed(self, data: bytes, *, ended: bool) -> None:
        """Take what arrived; nothing is kept for an application that has finished."""
        if not self._disconnected:
            self._inbox += data
        self.request_ended = self.request_ended or ended
        self._changed.set()

    def disconnect(self) -> None:
        """The stream or its connection is gone, or the response is complete."""
        self._disconnected = True
        self._inbox.clear()
        self._changed.set()

    async def receive(self) -> Message:
        """ASGI's receive."""
        while not (self._disconnected or self._inbox or self._end_is_due):
            self._changed = anyio.Event()
            await self._changed.wait()
        if self._disconnected:
            return {"type": "http.disconnect"}
        body = bytes(self._inbox)
        self._inbox.clear()
        self._end_delivered = self.request_ended
        return {"type": "http.request", "body": body, "more_body": not self.request_ended}

    async def send(self, message: Message) -> None:
        """ASGI's send."""
        if self._disconnected:
            return
        if message["type"] == EARLY_HINT:
            links = cast("list[bytes]", message["links"])
            self._sink.send_headers([(b":status", b"103"), *((b"link", link) for link in links)])
        elif message["type"] == "http.response.start":
            status = b"%d" % cast("int", message["status"])
            self._sink.send_headers([(b":status", status), *cast("Headers", message["headers"])])
        else:
            more = bool(message.get("more_body", False))
            self._sink.send_body(cast("bytes", message["body"]), end=not more)
            if not more:
                self.disconnect()

    @property
    def _end_is_due(self) -> bool:
        return self.request_ended and not self._end_delivered
