"""Fails when an h11 release changes what the machine relies on without h11 having promised it."""

from __future__ import annotations

import h11

from trilane.transport.protocols.h11_private import unparsed_bytes


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
