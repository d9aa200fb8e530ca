"""What plain hypercorn serves: an ASGI application that answers with a receipt of what it got.

Query switches: `status=307` for that status instead of 200, `location=URL` for a Location field,
`body_bytes=N` for that many zero bytes instead of the receipt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

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
    switches = dict(parse_qsl(scope["query_string"].decode()))
    fields = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
    pseudo = [(":method", scope["method"]), (":path", scope["path"])]
    answer = receipt_of([*pseudo, *fields], bytes(body)).to_json()
    if "body_bytes" in switches:
        answer = bytes(int(switches["body_bytes"]))
    headers = [(b"content-length", str(len(answer)).encode())]
    if "location" in switches:
        headers.append((b"location", switches["location"].encode()))
    status = int(switches.get("status", "200"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
