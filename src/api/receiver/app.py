"""The receiver's ASGI application: reads a body as a stream and answers with what it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
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

    @property
    def is_http1(self) -> bool:
        """Whether a response is bound to its connection."""
        return self.http_version.startswith("1")


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
    answer: dict[str, object] = asdict(request)
    try:
        switches = parse_switches(request.query)
        if switches.early_hints:
            await _send_early_hints(scope, send)
        if not switches.early:
            digest = digest_for(headers.get("content-type"))
            summary = await _read_body(receive, digest, switches.throttle_bytes_per_s)
            if summary is None:
                return
            answer |= asdict(summary)
    except (SwitchError, BodyError) as exc:
        switches, answer = Switches(status=400, early=True), {"error": str(exc)}
    await anyio.sleep(switches.delay_s)
    respond = partial(_respond, send, request, switches, answer)
    if switches.early:
        await _respond_early(receive, send, request, respond)
    else:
        await respond(more=False)
    _log(request, switches.status, answer)


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
    send: Send,
    request: RequestLine,
    switches: Switches,
    answer: Mapping[str, object],
    *,
    more: bool,
) -> None:
    """Send the whole response; `more` leaves the message open after its last byte."""
    body = b"" if switches.status in _BODILESS else json.dumps(answer).encode() + b"\n"
    headers = [(b"content-type", b"application/json")]
    if switches.status not in _BODILESS:
        headers.append((b"content-length", b"%d" % len(body)))
    if switches.location is not None:
        headers.append((b"location", quote(switches.location, safe=_URL_SAFE).encode("ascii")))
    if switches.early and request.is_http1:
        # The unread body is still on its way: this connection cannot carry another request.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": switches.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _respond_early(
    receive: Receive, send: Send, request: RequestLine, respond: Callable[..., Awaitable[None]]
) -> None:
    """Respond while the body is still coming in, and throw away what comes, within limits.

    The server hands body and disconnection over through one bounded queue: what is not taken from
    it would in the end hold up the response itself. And closing an HTTP/1 connection before its
    client has stopped sending would reset it, with the response still unread (RFC 9112 §9.6).
    """
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_discard, receive)
        await respond(more=request.is_http1)
        tasks.cancel_scope.deadline = anyio.current_time() + _LINGER_S
    if request.is_http1:
        await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive) -> None:
    while (message := await receive())["type"] != "http.disconnect":
        if not message["more_body"]:
            return


def _log(request: RequestLine, status: int, answer: Mapping[str, object]) -> None:
    taken = f"{answer['body_bytes']} body bytes" if "body_bytes" in answer else "body not read"
    line = f"{request.method} {quote(request.path)} HTTP/{request.http_version}"
    _LOG.info("%s: %d, %s", line, status, taken)
