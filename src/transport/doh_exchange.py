"""A DNS message there and back, as a call of an engine."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace

from .call import Call, Outcome
from .config import DnsOverHttps, EngineOptions, Limits, NameOptions, Timeouts
from .message import Headers, parse_url
from .net.doh import MEDIA_TYPE, DohReply
from .profile.recorder import Recorder
from .sources import content_body

#: A server that does not answer in this time will not (twice glibc's first try).
ANSWER_S = 10.0
#: No DNS message is larger (RFC 1035 §4.2.2).
_LARGEST_BYTES = 65535

Send = Callable[[Call, Recorder], Awaitable[Outcome]]


def server_options(options: EngineOptions) -> EngineOptions:
    """How the engine that asks the server is made: as its client's, but for a few things.

    Its names are the system's, so nothing turns in a circle; a client certificate is for the
    servers that are uploaded to.
    """
    return EngineOptions(
        tls=replace(options.tls, cert=None, key=None, key_password=None),
        quic=options.quic,
        limits=Limits(parallel_requests=100, response_body_bytes=_LARGEST_BYTES),
        quality=options.quality,
        proxies=options.proxies,
        sockets=replace(options.sockets, uds=None),
        names=NameOptions(static=options.names.static),
    )


async def ask(server: DnsOverHttps, send: Send, message: bytes) -> DohReply:
    """Send a message and return the reply.

    Raises:
        TransportError: there was none.
    """
    outcome = await send(await _call(server, message), Recorder())
    headers = outcome.head.headers
    age = headers.get("age", "0")
    return DohReply(
        outcome.head.status,
        headers.get("content-type", ""),
        int(age) if age.isdecimal() and len(age) < 10 else 0,
        outcome.body,
    )


async def _call(server: DnsOverHttps, message: bytes) -> Call:
    url = server.url.removesuffix("{?dns}")
    fields = [("Accept", MEDIA_TYPE)]
    body = None
    if server.method == "GET":
        # RFC 8484 §6: base64url without padding.
        text = base64.urlsafe_b64encode(message).rstrip(b"=").decode("ascii")
        url += f"{'&' if '?' in url else '?'}dns={text}"
    else:
        fields.append(("Content-Type", MEDIA_TYPE))
        body = await content_body(message)
    return Call(
        method=server.method,
        url=parse_url(url),
        headers=Headers(fields),
        body=body,
        preference=server.preference,
        timeouts=Timeouts(total_s=ANSWER_S),
        follow_redirects=False,
        profile=False,
    )
