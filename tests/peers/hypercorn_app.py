"""What plain hypercorn serves: an ASGI application that answers with a receipt of what it got.

Query switches:

- `status=307`: that status instead of 200; `location=URL` adds a Location field
- `body_bytes=N`: that many zero bytes instead of the receipt; `body_hex=616263`: these bytes
- `type=text/plain`: a Content-Type; `cookies=a=1|b=2`: a Set-Cookie for each
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from tests.peers.receivers import receipt_of

Message = dict[str, Any]

_FIELDS = {"location": "location", "type": "content-type"}


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
    switches = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    fields = [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]]
    pseudo = [(":method", scope["method"]), (":path", scope["path"])]
    answer = receipt_of([*pseudo, *fields], bytes(body)).to_json()
    if "body_bytes" in switches:
        answer = bytes(int(switches["body_bytes"]))
    elif "body_hex" in switches:
        answer = bytes.fromhex(switches["body_hex"])
    headers = [("content-length", str(len(answer)))]
    headers += [(name, switches[key]) for key, name in _FIELDS.items() if key in switches]
    headers += [("set-cookie", value) for value in switches.get("cookies", "").split("|") if value]
    head = {"status": int(switches.get("status", "200")), "headers": _encoded(headers)}
    await send({"type": "http.response.start", **head})
    await send({"type": "http.response.body", "body": answer})


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]
