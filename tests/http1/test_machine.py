"""The sans-IO machine: what it writes, what it makes of responses, when it may be used again."""

from __future__ import annotations

import h11
import pytest

from tests.http1.support import OK, head
from trilane.transport.config import Limits
from trilane.transport.errors import InvalidHeader
from trilane.transport.protocols.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    HeadReceived,
    InterimReceived,
    ResponseEnded,
)
from trilane.transport.protocols.http1 import MAX_INTERIM_RESPONSES, Http1Machine


def sent(machine: Http1Machine) -> bytes:
    return b"".join(machine.transmit())


def asked(limits: Limits | None = None, method: str = "GET") -> Http1Machine:
    """A machine that has sent a request without a body."""
    machine = Http1Machine(limits or Limits())
    machine.send_head(head(method=method), end=True)
    machine.transmit()
    return machine


def only_termination(events: list[Event]) -> ConnectionTerminated:
    assert len(events) == 1
    assert isinstance(events[0], ConnectionTerminated)
    return events[0]


def body_of(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, DataReceived))


class TestSending:
    def test_host_comes_first_and_the_case_of_names_is_kept(self) -> None:
        machine = Http1Machine(Limits())
        machine.send_head(head(headers={"X-Odd-CASE": "1", "accept": " */* "}), end=True)
        assert sent(machine) == (
            b"POST /upload HTTP/1.1\r\nHost: example.test\r\nX-Odd-CASE: 1\r\naccept: */*\r\n"
            b"Content-Length: 0\r\n\r\n"
        )

    def test_a_get_without_body_announces_no_length(self) -> None:
        machine = Http1Machine(Limits())
        machine.send_head(head(method="GET"), end=True)
        assert b"ength" not in sent(machine)

    def test_known_length_is_announced_and_the_buffer_passed_through(self) -> None:
        machine = Http1Machine(Limits())
        stream = machine.send_head(head(6), end=False)
        data = memoryview(bytearray(b"abcdef"))
        machine.send_body(stream, data, end=True)
        pieces = machine.transmit()
        assert pieces[-1] is data
        assert b"Content-Length: 6\r\n" in b"".join(pieces)
        assert machine.stream_totals(stream).sent_bytes == sum(map(len, pieces))

    def test_unknown_length_goes_chunked(self) -> None:
        machine = Http1Machine(Limits())
        stream = machine.send_head(head(None), end=False)
        assert sent(machine).endswith(b"Transfer-Encoding: chunked\r\n\r\n")
        machine.send_body(stream, b"0123456789abcdef", end=False)
        machine.send_body(stream, b"", end=False)
        assert sent(machine) == b"10\r\n0123456789abcdef\r\n"
        machine.send_body(stream, b"", end=True)
        assert sent(machine) == b"0\r\n\r\n"

    def test_latin1_values_are_sent_as_such(self) -> None:
        machine = Http1Machine(Limits())
        machine.send_head(head(headers={"X": "é"}), end=True)
        assert b"X: \xe9\r\n" in sent(machine)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("host", "other"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "websocket"),
            ("X", "line\r\nX-Evil: 1"),
            ("X", "form\x0cfeed"),
            ("X", "文"),
            ("bad name", "1"),
            ("naïve", "1"),
        ],
    )
    def test_a_refused_head_leaves_the_machine_as_it_was(self, name: str, value: str) -> None:
        machine = Http1Machine(Limits())
        with pytest.raises(InvalidHeader):
            machine.send_head(head(headers={name: value}), end=True)
        assert machine.available_streams == 1
        assert machine.send_head(head(), end=True) == 1

    @pytest.mark.parametrize("method", ["CONNECT", "PO ST", "POST\r\nX: 1", "ПОСТ", ""])
    def test_a_method_that_is_no_request_is_refused(self, method: str) -> None:
        machine = Http1Machine(Limits())
        with pytest.raises(InvalidHeader):
            machine.send_head(head(method=method), end=True)

    def test_breaking_the_rules_is_a_bug_of_ours(self) -> None:
        machine = Http1Machine(Limits())
        stream = machine.send_head(head(3), end=False)
        with pytest.raises(RuntimeError, match="takes no request"):
            machine.send_head(head(), end=True)
        with pytest.raises(RuntimeError, match="Too much data"):
            machine.send_body(stream, b"abcd", end=False)

    def test_a_body_announced_must_follow(self) -> None:
        machine = Http1Machine(Limits())
        with pytest.raises(RuntimeError, match="none follows"):
            machine.send_head(head(3), end=True)

    def test_budget_is_the_room_in_the_buffer(self) -> None:
        machine = Http1Machine(Limits())
        stream = machine.send_head(head(1 << 20), end=False)
        room = machine.send_budget(stream)
        machine.send_body(stream, bytes(room), end=False)
        assert machine.send_budget(stream) == 0
        machine.transmit()
        assert machine.send_budget(stream) == room
        machine.reset_stream(stream)
        assert machine.send_budget(stream) == 0
        with pytest.raises(RuntimeError, match="takes no body"):
            machine.send_body(stream, b"x", end=False)

    def test_bytes_sent_by_the_driver_are_accounted_for(self) -> None:
        machine = Http1Machine(Limits())
        stream = machine.send_head(head(10), end=False)
        with pytest.raises(RuntimeError, match="must be sent first"):
            machine.pass_body(stream, 10, end=True)
        head_bytes = len(sent(machine))
        machine.pass_body(stream, 7, end=False)
        machine.send_body(stream, b"end", end=True)
        assert sent(machine) == b"end"
        assert machine.stream_totals(stream).sent_bytes == head_bytes + 10
        assert not machine.send_budget(stream)

    def test_chunks_cannot_be_sent_past_the_machine(self) -> None:
        machine = Http1Machine(Limits())
        stream = machine.send_head(head(None), end=False)
        machine.transmit()
        with pytest.raises(RuntimeError, match="chunked"):
            machine.pass_body(stream, 7, end=False)


class TestResponses:
    def test_a_response_in_one_piece(self) -> None:
        machine = asked()
        events = machine.receive_data(OK)
        assert [type(event) for event in events] == [HeadReceived, DataReceived, ResponseEnded]
        assert isinstance(events[0], HeadReceived)
        assert events[0].head.status == 200
        assert events[0].byte_count == len(OK) - 2
        assert machine.stream_totals(1).received_bytes == len(OK)
        assert machine.available_streams == 1

    def test_requests_are_numbered_and_keep_their_own_totals(self) -> None:
        machine = asked()
        machine.receive_data(OK)
        assert machine.send_head(head(), end=True) == 2
        machine.transmit()
        assert machine.stream_totals(2).received_bytes == 0
        assert machine.stream_totals(1).received_bytes == len(OK)
        machine.forget_stream(1)
        with pytest.raises(KeyError):
            machine.stream_totals(1)

    def test_interim_responses_come_before_the_final_one(self) -> None:
        machine = asked()
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        events = machine.receive_data(interim + b"HTTP/1.1 ")
        assert [type(event) for event in events] == [InterimReceived]
        assert machine.head_begun
        events = machine.receive_data(OK.removeprefix(b"HTTP/1.1 "))
        assert isinstance(events[0], HeadReceived)
        assert events[0].byte_count == len(OK) - 2
        assert not machine.head_begun

    def test_endless_interim_responses_are_cut(self) -> None:
        machine = asked()
        events: list[Event] = []
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            events = machine.receive_data(b"HTTP/1.1 102 P\r\n\r\n")
        assert "1xx" in only_termination(events).reason

    def test_tiny_chunks_of_one_read_are_one_event(self) -> None:
        machine = asked()
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        machine.receive_data(data)
        chunks = b"1\r\na\r\n" * 100
        events = machine.receive_data(chunks)
        assert [type(event) for event in events] == [DataReceived]
        assert body_of(events) == b"a" * 100
        events = machine.receive_data(b"0\r\nX-Sum: 7\r\n\r\n")
        assert isinstance(events[0], ResponseEnded)
        assert events[0].trailers["x-sum"] == "7"
        assert machine.available_streams == 1

    @pytest.mark.parametrize(
        ("method", "start"),
        [
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 99\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ],
    )
    def test_responses_without_a_body_end_with_their_head(self, method: str, start: bytes) -> None:
        machine = asked(method=method)
        events = machine.receive_data(start)
        assert [type(event) for event in events] == [HeadReceived, ResponseEnded]
        assert machine.available_streams == 1

    def test_a_body_without_framing_ends_with_the_connection(self) -> None:
        machine = asked()
        events = machine.receive_data(b"HTTP/1.1 200 OK\r\n\r\npart")
        events += machine.receive_data(b"ial")
        assert not any(isinstance(event, ResponseEnded) for event in events)
        events += machine.receive_data(b"")
        assert isinstance(events[-1], ResponseEnded)
        assert body_of(events) == b"partial"
        assert machine.available_streams == 0

    @pytest.mark.parametrize(
        "response",
        [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
    )
    def test_some_responses_are_good_but_the_last(self, response: bytes) -> None:
        machine = asked()
        assert isinstance(machine.receive_data(response)[-1], ResponseEnded)
        assert machine.available_streams == 0

    def test_more_than_announced_spoils_the_connection_but_not_the_response(self) -> None:
        machine = asked()
        events = machine.receive_data(OK + b"surplus")
        assert body_of(events) == b"ok"
        assert isinstance(events[-1], ResponseEnded)
        assert machine.stream_totals(1).received_bytes == len(OK)
        assert machine.available_streams == 0

    def test_our_own_connection_close_is_kept_to(self) -> None:
        machine = Http1Machine(Limits())
        machine.send_head(head(headers={"Connection": "close"}), end=True)
        assert isinstance(machine.receive_data(OK)[-1], ResponseEnded)
        assert machine.available_streams == 0


class TestEarlyResponses:
    def test_a_request_may_go_on_after_its_response(self) -> None:
        machine = Http1Machine(Limits())
        stream = machine.send_head(head(6), end=False)
        assert isinstance(machine.receive_data(OK)[-1], ResponseEnded)
        assert machine.available_streams == 0
        machine.send_body(stream, b"abcdef", end=True)
        assert sent(machine).endswith(b"abcdef")
        assert machine.available_streams == 1

    @pytest.mark.parametrize("more", [b"surplus", b""])
    def test_what_follows_an_early_response_ends_the_connection(self, more: bytes) -> None:
        machine = Http1Machine(Limits())
        stream = machine.send_head(head(6), end=False)
        machine.receive_data(OK)
        assert machine.receive_data(more) == []
        machine.send_body(stream, b"abcdef", end=True)
        assert machine.available_streams == 0

    def test_giving_up_gives_the_connection_up(self) -> None:
        machine = Http1Machine(Limits())
        stream = machine.send_head(head(6), end=False)
        machine.receive_data(OK)
        machine.reset_stream(stream, response_complete=True)
        assert machine.available_streams == 0
        assert machine.transmit() == []
        assert machine.receive_data(b"anything") == []

    def test_giving_up_a_finished_request_does_nothing(self) -> None:
        machine = asked()
        machine.receive_data(OK)
        machine.reset_stream(1)
        assert machine.available_streams == 1


class TestFaults:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP/1.1"),
            (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "does not speak HTTP/1.1"),
            (b"HTTP/2.0 200 OK\r\n\r\n", "does not speak HTTP/1.1"),
            (b"HTTP/1.1 banana\r\n\r\n", "illegal status line"),
            (b"HTTP/1.1 099 Low\r\n\r\n", "status_code"),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "SWITCH"),
            (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "illegal header line"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", "Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "Transfer-Encoding"),
        ],
    )
    def test_garbage_ends_the_connection_with_a_reason(self, data: bytes, reason: str) -> None:
        machine = asked()
        end = only_termination(machine.receive_data(data))
        assert reason in end.reason
        assert end.by_peer
        assert not end.clean
        assert not end.too_large
        assert machine.available_streams == 0
        assert machine.receive_data(b"more") == []

    def test_what_was_good_before_the_garbage_is_delivered(self) -> None:
        machine = asked()
        start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
        events = machine.receive_data(start + b"zz\r\n")
        assert body_of(events) == b"ok"
        assert isinstance(events[-1], ConnectionTerminated)

    @pytest.mark.parametrize(
        ("start", "reason"),
        [
            (b"", "without a response"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "in the middle of the response head"),
            (b"HTTP/1.1 200", "in the middle of the response head"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "received 3 bytes, expected 5"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "incomplete chunked"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", "unexpectedly closed"),
        ],
    )
    def test_end_of_file_too_early(self, start: bytes, reason: str) -> None:
        machine = asked()
        if start:
            machine.receive_data(start)
        end = only_termination(machine.receive_data(b""))
        assert reason in end.reason
        assert not end.clean

    @pytest.mark.parametrize("in_one_read", [True, False])
    def test_a_head_beyond_the_limit_is_refused_however_it_comes(self, in_one_read: bool) -> None:
        machine = asked(Limits(response_head_bytes=1000))
        data = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000 + b"\r\n\r\n"
        events: list[Event] = []
        if in_one_read:
            events = machine.receive_data(data)
        else:
            for byte in data:
                events += machine.receive_data(bytes((byte,)))
        end = only_termination(events)
        assert end.too_large

    @pytest.mark.parametrize(
        "data",
        [b"X: " + b"x" * 1000 + b"\r\n\r\n", b"X: " + b"x" * 1001, b"X: 1\r\n" * 200],
    )
    def test_trailers_are_bounded_too(self, data: bytes) -> None:
        machine = asked(Limits(response_head_bytes=1000))
        machine.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        assert only_termination(machine.receive_data(data)).too_large

    def test_a_long_reason_is_cut(self) -> None:
        end = only_termination(asked().receive_data(b"HTTP/1.1 " + b"y" * 5000 + b"\r\n\r\n"))
        assert len(end.reason) <= 200

    def test_idle_end_of_file_is_clean_and_idle_bytes_are_not(self) -> None:
        assert only_termination(Http1Machine(Limits()).receive_data(b"")).clean
        machine = asked()
        machine.receive_data(OK)
        assert not only_termination(machine.receive_data(OK)).clean
        assert machine.available_streams == 0


def test_both_sides_understand_each_other_over_many_requests() -> None:
    machine, server = Http1Machine(Limits()), h11.Connection(h11.SERVER)
    for number in range(1, 20):
        body = bytes(range(256)) * number
        length = len(body) if number % 2 else None
        stream = machine.send_head(head(length), end=False)
        for at in range(0, len(body), 700):
            machine.send_body(
                stream, body[at : at + 700], end=length is not None and at + 700 >= len(body)
            )
        if length is None:
            machine.send_body(stream, b"", end=True)
        server.receive_data(sent(machine))
        assert isinstance(server.next_event(), h11.Request)
        received = b""
        while isinstance(event := server.next_event(), h11.Data):
            received += event.data
        assert isinstance(event, h11.EndOfMessage)
        assert received == body
        answer = server.send(h11.Response(status_code=201, headers=[])) + server.send(
            h11.EndOfMessage()
        )
        events = machine.receive_data(answer)
        assert isinstance(events[-1], ResponseEnded)
        assert machine.available_streams == 1
        server.start_next_cycle()
