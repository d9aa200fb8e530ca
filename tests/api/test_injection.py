"""What reaches the wire has exactly our fields, whatever a caller was talked into passing on.

Arbitrary methods, URLs and header fields are either refused or come out of the three protocols'
own encodings as they went in: no request line, field or form part is made of another one's text.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import hpack
import pylsqpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import trilane
from tests.peers.receipt import Receipt
from tests.peers.servers import Endpoints
from trilane.api.calls import CallDefaults, request_call
from trilane.transport.call import Call
from trilane.transport.errors import UsageError
from trilane.transport.message import RequestHead
from trilane.transport.protocols.fields import request_fields
from trilane.transport.protocols.http1_plain import PlainHeads
from trilane.transport.protocols.http2_fields import HeadEncoder

#: Pieces that have split requests somewhere, and ordinary ones.
PIECES = st.sampled_from(
    [
        *("\r\n", "\r", "\n", "\0", " ", "\t", ":", "\x0b", "\x0c", "\x1c", "\x7f", "\x85", "\xa0"),
        *("\u2028", "\u010d\u010a", "\udc0d", "%0d%0a", "X-Evil: 1", "HTTP/1.1", "GET", "?", "#"),
        *(
            "/",
            "\\",
            "\xe9",
            "a",
            "B",
            "1",
            ";",
            ",",
            '"',
            "host",
            "Cookie",
            ":path",
            "-",
            "@",
            "[",
        ),
    ]
)
texts = st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=8)
tokens = st.from_regex(r"[A-Za-z-]{1,8}", fullmatch=True)
fields = st.lists(st.tuples(texts | tokens, texts), max_size=3)


async def call_of(method: str, url: str, headers: list[tuple[str, str]]) -> Call | None:
    """What the engine would be asked to carry out; None when it is refused."""
    try:
        return await request_call(method, url, None, {"headers": headers}, CallDefaults())
    except UsageError:
        return None


def made(method: str, url: str, headers: list[tuple[str, str]]) -> Call | None:
    """`call_of`, which waits for nothing without a body."""
    with pytest.raises(StopIteration) as ended:
        call_of(method, url, headers).send(None)
    result: Call | None = ended.value.value
    return result


def head_of(call: Call) -> RequestHead:
    return RequestHead(method=call.method, url=call.url, headers=call.headers, content_length=0)


@given(
    st.just("POST") | texts, st.just("http://a.example/") | texts.map("http://{}".format), fields
)
@example("POST", "http://a.example/\r\nX: y", [])
@example("POST", "http://a.example/", [("X", "y\r\nZ: w")])
@example("POST", "http://a.example/", [("X: y\r\nZ", "w")])
@example("POST", "http://a.example/", [("X", "y\r\n folded"), ("X", "y\n\tfolded")])
@example("POST", "http://a.example\\@b.example/", [])
@example("POST", "http://a.example\\.b.example/", [])
@example("POST", "http://a.example:80\r\nX: y/", [])
@example("POST", "http://\u010d\u010aX.example/", [])
@example("POST", "http://b\xfccher.example/\u560d\u560aX", [("\xe9", "\u0130")])
@example("POST", "http://a.example/?\0#@b.example/", [(" X", "y"), ("X ", "y"), (":path", "/")])
@example("POST / HTTP/1.1\r\nX", "http://a.example/", [])
def test_fields_come_out_as_they_went_in(
    method: str, url: str, headers: list[tuple[str, str]]
) -> None:
    call = made(method, url, headers)
    if call is None:
        return
    head = head_of(call)
    assert re.fullmatch(r"[!-~]+", head.method)
    assert head.method == method
    values = [(name.lower(), value.strip(" \t")) for name, value in call.headers.fields]
    check_http1(head, values)
    check_http2_and_http3(head, values)


def check_http1(head: RequestHead, values: list[tuple[str, str]]) -> None:
    written = PlainHeads().request_head_bytes(head)
    if written is None:
        return  # what h11 writes it has checked by itself
    assert written.endswith(b"\r\n\r\n")
    request_line, *lines = written.removesuffix(b"\r\n\r\n").decode("ascii").split("\r\n")
    assert request_line == f"{head.method} {head.url.target} HTTP/1.1"
    assert not re.search(r"[\r\n\0]", "".join(lines))
    found = [line.split(": ", 1) for line in lines]
    expected = [("host", head.url.origin.authority), *values]
    if head.method in {"POST", "PUT", "PATCH"}:
        expected.append(("content-length", "0"))
    assert [(name.lower(), value) for name, value in found] == expected


def check_http2_and_http3(head: RequestHead, values: list[tuple[str, str]]) -> None:
    expected = [
        (":method", head.method),
        (":scheme", head.url.origin.scheme),
        (":authority", head.url.origin.authority),
        (":path", head.url.target),
        *values,
    ]
    if head.method in {"POST", "PUT", "PATCH"}:
        expected.append(("content-length", "0"))
    block = HeadEncoder(hpack.Encoder()).encode(head)
    http2 = hpack.Decoder().decode(block, raw=True)
    _, block = pylsqpack.Encoder().encode(0, request_fields(head))
    _, http3 = pylsqpack.Decoder(0, 0).feed_header(0, block)
    for decoded in (http2, http3):
        assert [(n.decode("latin-1"), v.decode("latin-1")) for n, v in decoded] == expected
        for _, value in decoded:
            assert not re.search(rb"[\r\n\0]", value)


@pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])
async def test_servers_see_what_was_given(caddy: Endpoints, protocol: Any) -> None:
    given_fields = {"X-Odd": 'a: b; c="d", \tt\xe9', "X-Empty": "", "X-Percent": "%0d%0aX-Evil: 1"}
    name, filename = 'a"; filename="x\r\nX-Evil: 1\r\n\r\n', 'b"\r\n--boundary\r\nc.txt'
    async with trilane.AsyncClient(verify=caddy.ca) as client:
        response = await client.upload(
            caddy.url("https", "/a%0d%0aX-Evil:1/\u2028'\"<>?q=%0d%0a\xe9"),
            b"x",
            name=name,
            filename=filename,
            form={name: "value\r\n--boundary--"},
            headers=given_fields,
            protocol=protocol,
        )
    receipt = Receipt.from_json(response.text)
    received = [(key.lower(), value) for key, value in receipt.headers]
    assert not [key for key, _ in received if "evil" in key]
    for key, value in given_fields.items():
        assert [found for each, found in received if each == key.lower()] == [value]
    # The proxy in between has its own way of percent-encoding.
    assert re.fullmatch(r"[!-~]+", receipt.target)
    assert unquote(receipt.target) == "/a\r\nX-Evil:1/\u2028'\"<>?q=\r\n\xe9"
    assert receipt.disagreement is None
    assert receipt.parts is not None
    field, file = receipt.parts
    assert (field.filename, field.size) == (None, len("value\r\n--boundary--"))
    assert field.name == file.name
    assert "X-Evil" in field.name
    assert file.size == 1
