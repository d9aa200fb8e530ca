"""Fails when an h11 release changes what the machine relies on without h11 having promised it."""

from __future__ import annotations

import importlib
import re

import h11
import pytest
from h11 import _abnf, _readers
from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.protocols.h11_private import new_request, unparsed_bytes

# Bytes around which the rules turn, and any others.
field_bytes = st.text(
    st.sampled_from(" \t\r\n\0\x0b\x7f\x80\xff:aZ9-") | st.characters(max_codepoint=255)
).map(lambda text: text.encode("latin-1"))
# Those the machine writes itself, which `new_request` takes as they are.
framing = (b"content-length", b"transfer-encoding")


@given(field_bytes.filter(lambda name: name.lower() not in framing), field_bytes)
def test_fields_are_accepted_and_refused_as_h11_does_it(name: bytes, value: bytes) -> None:
    fields = [(b"Host", b"a"), (name, value)]
    try:
        theirs = h11.Request(method="POST", target="/", headers=fields)
    except h11.LocalProtocolError:
        with pytest.raises(h11.LocalProtocolError):
            new_request("POST", "/", fields)
    else:
        ours = new_request("POST", "/", fields)
        assert ours == theirs
        assert ours.headers.raw_items() == theirs.headers.raw_items()
        assert list(ours.headers) == list(theirs.headers)


@pytest.mark.parametrize("fields", [[], [(b"Host", b"a"), (b"host", b"a")]])
def test_h11_still_wants_one_host(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(h11.LocalProtocolError, match="Host"):
        new_request("GET", "/", fields)


def test_what_the_machine_frames_itself_is_understood() -> None:
    """Content-Length and Transfer-Encoding must mean to h11 what they say."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(new_request("POST", "/", [(b"Host", b"a"), (b"Content-Length", b"3")]))
    with pytest.raises(h11.LocalProtocolError, match="Content-Length"):
        connection.send(h11.Data(data=b"four"))
    connection = h11.Connection(h11.CLIENT)
    connection.send(new_request("POST", "/", [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]))
    assert connection.send(h11.Data(data=b"four")) == b"4\r\nfour\r\n"


def test_the_private_names_are_there() -> None:
    headers = importlib.import_module("h11._headers").Headers
    assert list(headers([(b"A", b"a", b"1")])) == [(b"a", b"1")]
    assert len(h11.Connection(h11.CLIENT)._receive_buffer) == 0


@given(st.text(st.sampled_from(" \t\r\n\0:aZ\xff-"), max_size=12).map(str.encode))
def test_fields_are_read_as_h11_reads_them_in_linear_time(line: bytes) -> None:
    theirs, ours = re.compile(_abnf.header_field.encode("ascii")), _readers.header_field_re
    assert ours.pattern != theirs.pattern
    found, expected = ours.fullmatch(line), theirs.fullmatch(line)
    assert (found and found.groupdict()) == (expected and expected.groupdict())


def test_unparsed_bytes_counts_what_no_event_has_taken() -> None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz")
    assert unparsed_bytes(connection) == 41
    connection.next_event()
    assert unparsed_bytes(connection) == 3
    assert connection.trailing_data[0] == b"xyz"


def test_passthrough_returns_the_object_itself_and_only_asks_its_length() -> None:
    class OnlyLength:
        def __len__(self) -> int:
            return 5

    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "a"), ("Content-Length", "5")]
    connection.send(h11.Request(method="POST", target="/", headers=headers))
    placeholder = OnlyLength()
    pieces = connection.send_with_data_passthrough(h11.Data(data=placeholder))  # type: ignore[arg-type]
    assert pieces is not None
    assert [id(piece) for piece in pieces] == [id(placeholder)]
    assert connection.send(h11.EndOfMessage()) == b""
