"""What a name server over HTTPS may answer in place of DNS: each has its error, and its reason."""

from __future__ import annotations

import struct

import pytest

import trilane
from tests.peers.certificates import Certificates
from tests.peers.scripted import Peer, scripted_server
from trilane.transport.errors import ResolveError, ResolveReason

MESSAGE = "application/dns-message"
TRUNCATED = struct.pack("!HHHHHH", 0, 0x8380, 0, 0, 0, 0)


def reply(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(reply("500 Oh", MESSAGE, b""), ResolveReason.SERVER_FAILURE, id="status"),
        pytest.param(reply("200 OK", "text/html", b"hi"), ResolveReason.BAD_ANSWER, id="type"),
        pytest.param(reply("200 OK", MESSAGE, b"\xff" * 40), ResolveReason.BAD_ANSWER, id="noise"),
        pytest.param(reply("200 OK", MESSAGE, b""), ResolveReason.BAD_ANSWER, id="nothing"),
        pytest.param(reply("200 OK", MESSAGE, TRUNCATED), ResolveReason.BAD_ANSWER, id="truncated"),
        pytest.param(
            reply("200 OK", MESSAGE, bytes(1 << 20)), ResolveReason.BAD_ANSWER, id="oversized"
        ),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", ResolveReason.BAD_ANSWER, id="not HTTP"),
        pytest.param(b"", ResolveReason.UNREACHABLE, id="hangs up"),
    ],
)
async def test_what_is_no_answer(
    certificates: Certificates, answer: bytes, reason: ResolveReason
) -> None:
    def misbehave(peer: Peer) -> None:
        peer.read_head()
        peer.send(answer)
        peer.finish_sending()

    with scripted_server(misbehave, tls=certificates.server.server_context()) as server:
        resolver = server.url("/dns-query")
        async with trilane.AsyncClient(resolver=resolver, verify=certificates.ca) as client:
            with pytest.raises(ResolveError) as caught:
                await client.request("GET", "http://one.example/")

    assert caught.value.reason == reason
    assert caught.value.profile is not None
    assert caught.value.profile.http_dns_start is not None
