"""What plain hypercorn serves: an ASGI application that answers with a receipt of what it got."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.peers.receivers import receipt_of

Message = dict[str, Any]


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Read the whole body, then answer."""
    if scope["type"] != "http":
        return
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message["more_body"]
    fields = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
    pseudo = [(":method", scope["method"]), (":path", scope["path"])]
    answer = receipt_of([*pseudo, *fields], bytes(body)).to_json()
    length = str(len(answer)).encode()
    head = {"status": 200, "headers": [(b"content-length", length)]}
    await send({"type": "http.response.start", **head})
    await send({"type": "http.response.body", "body": answer})
