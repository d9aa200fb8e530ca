"""Answers that lay in HTTP caches on the way hold for so much shorter (RFC 8484 §5.1)."""

from __future__ import annotations

import struct

import pytest

from trilane.transport.call import Call, Outcome
from trilane.transport.config import DnsOverHttps, HttpVersion
from trilane.transport.doh_exchange import ask
from trilane.transport.message import Headers, ResponseHead
from trilane.transport.net.doh import MEDIA_TYPE, DohReply, DohSource
from trilane.transport.policy.dns_message import query_message
from trilane.transport.policy.dns_records import Kind, Question
from trilane.transport.profile.recorder import Recorder

ASKED = Question("one.example", Kind.A)
SERVER = DnsOverHttps("https://dns.example/dns-query{?dns}", "GET")
TTL_S = 300


def answer() -> bytes:
    question = query_message(ASKED)[12 : 12 + len("one.example") + 2 + 4]
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, TTL_S, 4) + b"\xc0\0\2\1"
    return struct.pack("!HHHHHH", 0, 0x8180, 1, 1, 0, 0) + question + record


@pytest.mark.parametrize(
    ("age", "left_s"),
    [
        (None, TTL_S),
        ("0", TTL_S),
        ("290", 10),
        ("300", 0),
        ("999999999", 0),
        # Nothing that the field may hold (RFC 9111 §5.1).
        *(("-1", TTL_S), ("1e2", TTL_S), ("", TTL_S), ("9" * 5000, TTL_S), ("1, 2", TTL_S)),
    ],
)
async def test_the_age_is_taken_off_the_ttl(age: str | None, left_s: int) -> None:
    async def send(call: Call, recorder: Recorder) -> Outcome:
        del recorder
        assert call.url.target.startswith("/dns-query?dns=")
        assert call.body is None
        fields = [("Content-Type", MEDIA_TYPE), *([] if age is None else [("Age", age)])]
        return Outcome(
            head=ResponseHead(status=200, headers=Headers(fields)),
            body=answer(),
            trailers=Headers(),
            url=call.url,
            version=HttpVersion.HTTP2,
        )

    async def exchange(message: bytes) -> DohReply:
        return await ask(SERVER, send, message)

    found = await DohSource(SERVER.url, exchange).answer(ASKED)
    assert (found.addresses, found.ttl_s) == (("192.0.2.1",), left_s)
