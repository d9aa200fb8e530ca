"""The receiver's ASGI application: reads a body as a stream and answers with what it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import quote

import anyio

from .asgi import EARLY_HINT, Receive, Scope, Send
from .digest import BodyDigest, BodyError, BodySummary, digest_for
from .switches import SwitchError, Switches, parse_switches

_LOG = logging.getLogger(__name__)
_BODILESS = frozenset({204, 304})
_LINGER_S = 5.0
_URL_SAFE = "/%:@!$&'()*+,;=-._~?#[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLine:
    """What the answer repeats of a request."""

    method: str
    path: str
    query: str
    http_version: str
    """`1.1`, `2` or `3`."""
    content_length: str | None
    """The header as it came."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Entry point of the ASGI server."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http":
        await _serve(scope, receive, send)
    else:
        await send({"type": "websocket.close"})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        stage = (await receive())["type"]
        await send({"type": f"{stage}.complete"})
        if stage == "lifespan.shutdown":
            return


async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
    headers = _header_fields(scope)
    request = _request_line(scope, headers)
    try:
        switches = parse_switches(request.query)
        if switches.early_hints:
            await _send_early_hints(scope, send)
        summary = None
        if not switches.early:
            digest = digest_for(headers.get("content-type"))
            summary = await _read_body(receive, digest, switches.throttle_bytes_per_s)
            if summary is None:
                return
    except (SwitchError, BodyError) as exc:
        switches, answer = Switches(status=400, early=True), {"error": str(exc)}
        await _respond(receive, send, request, switches, answer)
        return
    await anyio.sleep(switches.delay_s)
    answer = asdict(request) | (asdict(summary) if summary else {})
    await _respond(receive, send, request, switches, answer)


def _header_fields(scope: Scope) -> dict[str, str]:
    fields = cast("list[tuple[bytes, bytes]]", scope["headers"])
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in fields}


def _request_line(scope: Scope, headers: Mapping[str, str]) -> RequestLine:
    return RequestLine(
        method=cast("str", scope["method"]),
        path=cast("str", scope["path"]),
        query=cast("bytes", scope["query_string"]).decode("latin-1"),
        http_version=cast("str", scope["http_version"]),
        content_length=headers.get("content-length"),
    )


async def _send_early_hints(scope: Scope, send: Send) -> None:
    if EARLY_HINT in cast("Mapping[str, object]", scope["extensions"]):
        await send({"type": EARLY_HINT, "links": [b"</>; rel=preconnect"]})


async def _read_body(
    receive: Receive, digest: BodyDigest, throttle_bytes_per_s: int | None
) -> BodySummary | None:
    """Take the whole body; None when the client went away before its end."""
    due_s = anyio.current_time()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        data = cast("bytes", message["body"])
        digest.feed(data)
        if throttle_bytes_per_s is not None:
            due_s += len(data) / throttle_bytes_per_s
            await anyio.sleep_until(due_s)
        if not message["more_body"]:
            return digest.finish()


async def _respond(
    receive: Receive,
    send: Send,
    request: RequestLine,
    switches: Switches,
    answer: Mapping[str, object],
) -> None:
    body = b"" if switches.status in _BODILESS else json.dumps(answer).encode() + b"\n"
    headers = [(b"content-type", b"application/json")]
    if switches.status not in _BODILESS:
        headers.append((b"content-length", b"%d" % len(body)))
    if switches.location is not None:
        headers.append((b"location", quote(switches.location, safe=_URL_SAFE).encode("ascii")))
    lingers = switches.early and request.http_version.startswith("1")
    if lingers:
        # The unread body is still on its way: this connection cannot carry another request.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": switches.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": lingers})
    _log(request, switches.status, answer)
    if lingers:
        await _linger(receive)
        await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive) -> None:
    """Discard the rest of an HTTP/1 request, within limits (RFC 9112 §9.6).

    The response is complete, by its length; closing at once would reset the connection, and with
    it take the response from a client that has not read it yet.
    """
    with anyio.move_on_after(_LINGER_S):
        while (message := await receive())["type"] != "http.disconnect":
            if not message["more_body"]:
                return


def _log(request: RequestLine, status: int, answer: Mapping[str, object]) -> None:
    taken = f"{answer['body_bytes']} body bytes" if "body_bytes" in answer else "body not read"
    line = f"{request.method} {quote(request.path)} HTTP/{request.http_version}"
    _LOG.info("%s: %d, %s", line, status, taken)
