"""Plain exchanges, which h11 is not told of, are written and read as h11 does it."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.config import Limits
from trilane.transport.errors import InvalidHeader
from trilane.transport.message import Headers, RequestHead, parse_url
from trilane.transport.protocols.events import ConnectionTerminated
from trilane.transport.protocols.http1 import Http1Machine
from trilane.transport.protocols.http1_plain import PlainHeads

_TEXT = st.text(st.sampled_from(" \t\r\n\0:,;aZ9-\x7f\xe9"), max_size=8)
_METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "P OST", "HEAD"])
_LINES = st.sampled_from(
    [
        "Content-Length: 2",
        "content-length:\t2 ",
        "Content-Length: 2, 2",
        "Content-Length: +2",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Connection: keep-alive",
        "X:",
        "X: a b\tc",
        "X : a",
        " folded",
        "X: \xe9",
        "",
    ]
)
_STATUS_LINES = st.sampled_from(
    [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 ",
        "HTTP/1.1 200",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 413 Too Large",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 100 Continue",
    ]
)


def _head(method: str, fields: list[tuple[str, str]], length: int) -> RequestHead:
    url = parse_url("http://example.com/upload?a=b")
    return RequestHead(method=method, url=url, headers=Headers(fields), content_length=length)


@given(_METHODS, st.lists(st.tuples(_TEXT, _TEXT), max_size=3), st.sampled_from([0, 7]))
def test_a_plain_head_is_what_h11_writes(
    method: str, fields: list[tuple[str, str]], length: int
) -> None:
    head = _head(method, fields, length)
    plain = PlainHeads().request_head_bytes(head)
    if plain is None:
        return
    lines = [("Host", "example.com"), *fields]
    if length or method in {"POST", "PUT"}:
        lines.append(("Content-Length", str(length)))
    stripped = [(name.encode(), value.strip(" \t").encode("latin-1")) for name, value in lines]
    request = h11.Request(method=method, target="/upload?a=b", headers=stripped)
    assert plain == h11.Connection(h11.CLIENT).send(request)


@given(_METHODS, st.lists(st.tuples(_TEXT, _TEXT), max_size=2), st.sampled_from([b"", b"body"]))
def test_a_request_in_one_step_is_what_it_is_in_three(
    method: str, fields: list[tuple[str, str]], body: bytes
) -> None:
    head = _head(method, fields, len(body))
    at_once, apart = Http1Machine(Limits()), Http1Machine(Limits())
    try:
        stream_id = apart.send_head(head, end=not body)
    except InvalidHeader:
        with pytest.raises(InvalidHeader):
            at_once.send_whole(head, body)
        assert at_once.available_streams == apart.available_streams
        return
    if body:
        apart.send_body(stream_id, body, end=True)
    assert at_once.send_whole(head, body) == (stream_id, b"".join(apart.transmit()))
    assert at_once.transmit() == []
    assert at_once.stream_totals(stream_id) == apart.stream_totals(stream_id)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert at_once.receive_data(answer) == apart.receive_data(answer)
    assert at_once.available_streams == apart.available_streams


def test_an_ordinary_head_is_plain() -> None:
    assert (
        PlainHeads().request_head_bytes(_head("POST", [("User-Agent", "trilane/1 (x; y)")], 3))
        is not None
    )


@pytest.mark.parametrize("name", ["Host", "content-length", "Connection", "Expect", "Upgrade"])
def test_fields_that_mean_something_to_the_connection_are_not_plain(name: str) -> None:
    assert PlainHeads().request_head_bytes(_head("POST", [(name, "x")], 3)) is None


@given(
    _STATUS_LINES,
    st.lists(_LINES, max_size=4),
    st.sampled_from([b"", b"o", b"ok", b"ok!", b"0\r\n\r\n"]),
)
def test_a_response_in_one_read_tells_what_it_tells_in_two(
    status_line: str, lines: list[str], body: bytes
) -> None:
    data = "\r\n".join([status_line, *lines, "", ""]).encode("latin-1") + body
    at_once, apart = _asked(), _asked()
    events = at_once.receive_data(data)
    expected = apart.receive_data(data[:3]) + apart.receive_data(data[3:])
    assert events == expected
    assert at_once.available_streams == apart.available_streams
    assert at_once.stream_totals(1) == apart.stream_totals(1)


@pytest.mark.parametrize("reads", [1, 2])
def test_a_field_of_white_space_takes_no_time(reads: int) -> None:
    """What is not linear here would take a minute."""
    machine = Http1Machine(Limits())
    machine.send_head(_head("GET", [], 0), end=True)
    data = b"HTTP/1.1 200 OK\r\nA:" + b" " * 60_000 + b"\0\r\n\r\n"
    events = machine.receive_data(data if reads == 1 else data[:-1])
    if reads == 2:
        events += machine.receive_data(data[-1:])
    assert isinstance(events[-1], ConnectionTerminated)


def test_an_ordinary_response_is_plain() -> None:
    data = b"HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026\r\nContent-Length: 2\r\n\r\nok"
    found = PlainHeads().whole_response(data, 100)
    assert found is not None
    assert found[0].headers.fields == (("Date", "Sat, 28 Nov 2026"), ("Content-Length", "2"))
    assert PlainHeads().whole_response(data, 40) is None


def test_each_head_is_its_own_whatever_came_before() -> None:
    heads = PlainHeads()
    for method, fields in [
        ("POST", [("A", "1"), ("B", "2")]),
        ("POST", [("A", "1"), ("B", "3")]),
        ("POST", [("A", "2"), ("B", "3")]),
        ("PUT", [("A", "2"), ("B", "3")]),
        ("HEAD", [("A", "2"), ("B", "3")]),
        ("PUT", [("A", "2"), ("B", "3")]),
    ]:
        head = _head(method, fields, 3)
        assert heads.request_head_bytes(head) == PlainHeads().request_head_bytes(head)
    for status, body in [(200, b"ok"), (200, b"no"), (404, b"ok"), (204, b""), (200, b"x")]:
        data = b"HTTP/1.1 %d \r\nContent-Length: 2\r\n\r\n%b" % (status, body)
        assert heads.whole_response(data, 100) == PlainHeads().whole_response(data, 100)


def test_after_a_plain_exchange_comes_an_unusual_one_and_a_plain_one_again() -> None:
    machine = _asked()
    machine.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    for answer in (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ):
        assert machine.available_streams
        stream_id = machine.send_head(_head("POST", [], 3), end=False)
        machine.send_body(stream_id, b"abc", end=True)
        kinds = [type(event).__name__ for event in machine.receive_data(answer)]
        assert kinds == ["HeadReceived", "DataReceived", "ResponseEnded"]


@pytest.mark.parametrize(("body", "rest"), [(b"a", b"bc"), (b"", b"abc"), (b"abc", b"")])
def test_an_answer_that_comes_before_the_end_of_the_body(body: bytes, rest: bytes) -> None:
    machine = Http1Machine(Limits())
    stream_id = machine.send_head(_head("POST", [], 3), end=False)
    machine.send_body(stream_id, body, end=False)
    events = machine.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert [type(event).__name__ for event in events][-1] == "ResponseEnded"
    assert machine.available_streams == 0
    machine.send_body(stream_id, rest, end=True)
    assert machine.available_streams == 1
    assert b"".join(map(bytes, machine.transmit())).endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize("body", [b"ab", b"abcd"])
def test_a_plain_body_must_have_the_announced_length(body: bytes) -> None:
    machine = Http1Machine(Limits())
    stream_id = machine.send_head(_head("POST", [], 3), end=False)
    with pytest.raises(RuntimeError, match="breaks its own head"):
        machine.send_body(stream_id, body, end=True)


def test_a_refused_field_is_refused_as_before() -> None:
    with pytest.raises(InvalidHeader, match="host"):
        Http1Machine(Limits()).send_head(_head("POST", [("Host", "x")], 3), end=False)


def _asked() -> Http1Machine:
    machine = Http1Machine(Limits())
    stream_id = machine.send_head(_head("POST", [], 3), end=False)
    machine.send_body(stream_id, b"abc", end=True)
    machine.transmit()
    return machine
