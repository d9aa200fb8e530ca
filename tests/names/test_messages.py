"""What a hostile or broken name server may say, byte by byte; nothing of it is believed."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.name_servers import alpn, hint, port, wire_name
from trilane.transport.errors import ResolveError, ResolveReason
from trilane.transport.policy.dns_message import MAX_CHAIN, MAX_RECORDS, query_message, read_answer
from trilane.transport.policy.dns_records import Answer, HttpsRecord, Kind, Question

ASKED = Question("one.example", Kind.A)
A, CNAME, SOA, AAAA, HTTPS = 1, 5, 6, 28, 65
ADDRESS = b"\xc0\x00\x02\x01"
ANSWER, NXDOMAIN, SERVFAIL, TRUNCATED = 0x8180, 0x8183, 0x8182, 0x8380


def record(name: str, kind: int, data: bytes, ttl_s: int = 300) -> bytes:
    return wire_name(name) + struct.pack("!HHIH", kind, 1, ttl_s, len(data)) + data


def message(
    *records: bytes,
    authority: tuple[bytes, ...] = (),
    flags: int = ANSWER,
    asked: tuple[str, int] = ("one.example", A),
    number: int = 0,
) -> bytes:
    head = struct.pack("!HHHHHH", number, flags, 1, len(records), len(authority), 0)
    question = wire_name(asked[0]) + struct.pack("!HH", asked[1], 1)
    return head + question + b"".join((*records, *authority))


def soa(ttl_s: int, minimum_s: int, owner: str = "example") -> bytes:
    data = wire_name("ns.example") + wire_name("root.example")
    return record(owner, SOA, data + struct.pack("!5I", 1, 2, 3, 4, minimum_s), ttl_s)


def test_a_query_has_no_number_and_a_padded_length() -> None:
    query = query_message(ASKED)
    assert query[:2] == b"\0\0"
    assert len(query) == len(query_message(Question("a-longer-name.example", Kind.HTTPS))) == 128


def test_an_answer_and_its_ttl() -> None:
    found = read_answer(ASKED, message(record("ONE.example", A, ADDRESS)))
    assert found == Answer(addresses=("192.0.2.1",), ttl_s=300.0)


def test_an_alias_limits_the_ttl() -> None:
    found = read_answer(
        ASKED,
        message(
            record("two.example", A, ADDRESS, 300),
            record("one.example", CNAME, wire_name("two.example"), 20),
        ),
    )
    assert (found.addresses, found.ttl_s) == (("192.0.2.1",), 20)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [(ANSWER, ResolveReason.NO_ADDRESS), (NXDOMAIN, ResolveReason.NO_SUCH_NAME)],
)
def test_absence_holds_as_long_as_the_soa_says(flags: int, reason: ResolveReason) -> None:
    found = read_answer(ASKED, message(authority=(soa(60, 7),), flags=flags))
    assert found == Answer(ttl_s=7, reason=reason)
    assert read_answer(ASKED, message(authority=(soa(5, 7),), flags=flags)).ttl_s == 5
    assert read_answer(ASKED, message(flags=flags)).ttl_s == 0
    # Not of another zone.
    elsewhere = message(authority=(soa(60, 7, "other"),), flags=flags)
    assert read_answer(ASKED, elsewhere).ttl_s == 0


def test_records_of_other_names_and_types_are_not_believed() -> None:
    found = read_answer(
        ASKED,
        message(
            record("evil.example", A, ADDRESS), record("one.example", AAAA, bytes(15) + b"\x01")
        ),
    )
    assert found.reason is ResolveReason.NO_ADDRESS


def test_a_ttl_beyond_31_bits_is_none() -> None:
    assert read_answer(ASKED, message(record("one.example", A, ADDRESS, 2**31))).ttl_s == 0


def test_only_so_many_addresses_are_taken() -> None:
    records = [record("one.example", A, struct.pack("!I", n)) for n in range(2000)]
    assert len(read_answer(ASKED, message(*records)).addresses) == MAX_RECORDS


_LOOP = (
    record("one.example", CNAME, wire_name("two.example")),
    record("two.example", CNAME, wire_name("one.example")),
)
_CHAIN = tuple(
    record("one.example" if not n else f"n{n}.example", CNAME, wire_name(f"n{n + 1}.example"))
    for n in range(MAX_CHAIN + 1)
)
_LONG_NAME = (bytes([63]) + b"x" * 63) * 1000 + b"\0"  # 64 KiB


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\0" * 11,
        message(*_LOOP),
        message(record("one.example", CNAME, wire_name("one.example"))),
        message(*_CHAIN),
        message(record("one.example", A, ADDRESS), flags=TRUNCATED),
        message(record("one.example", A, ADDRESS), flags=0x0100),
        message(record("one.example", A, ADDRESS), number=1),
        message(record("one.example", A, ADDRESS), asked=("two.example", A)),
        message(record("one.example", A, ADDRESS), asked=("one.example", AAAA)),
        message(record("one.example", A, ADDRESS))[:-1],
        message(record("one.example", A, ADDRESS)) + b"x",
        message(record("one.example", A, b"\x7f")),
        message(record("one.example", CNAME, _LONG_NAME[:65535])),
        message(_LONG_NAME + struct.pack("!HHIH", A, 1, 300, 4) + ADDRESS),
        # A name that points at itself.
        message(b"\xc0\x1d" + struct.pack("!HHIH", A, 1, 300, 4) + ADDRESS),
    ],
)
def test_what_is_no_answer_is_refused(wire: bytes) -> None:
    with pytest.raises(ResolveError) as caught:
        read_answer(ASKED, wire)
    assert caught.value.reason is ResolveReason.BAD_ANSWER


def test_a_server_that_failed_says_so() -> None:
    with pytest.raises(ResolveError, match="SERVFAIL") as caught:
        read_answer(ASKED, message(flags=SERVFAIL))
    assert caught.value.reason is ResolveReason.SERVER_FAILURE


@given(st.binary(max_size=300), st.sampled_from([Kind.A, Kind.AAAA, Kind.HTTPS]))
def test_arbitrary_bytes_end_in_an_answer_or_an_error(wire: bytes, kind: Kind) -> None:
    kinds = {Kind.A: A, Kind.AAAA: AAAA, Kind.HTTPS: HTTPS}
    head = message(asked=("one.example", kinds[kind]))[:-4]
    for whole in (wire, head + wire, head[:6] + b"\0\1" + head[8:] + b"\0\1\0\1" + wire):
        with suppress(ResolveError):
            read_answer(Question("one.example", kind), whole)


# --- HTTPS records ------------------------------------------------------------------------------


def https(priority: int, target: str, parameters: dict[int, bytes]) -> tuple[HttpsRecord, ...]:
    data = struct.pack("!H", priority) + wire_name(target)
    for key, value in parameters.items():
        data += struct.pack("!HH", key, len(value)) + value
    wire = message(record("one.example", HTTPS, data), asked=("one.example", HTTPS))
    return read_answer(Question("one.example", Kind.HTTPS), wire).services


def test_the_parameters_of_a_service() -> None:
    told = {
        **alpn("h3", "h2"),
        2: b"",
        **port(8443),
        **hint("192.0.2.1"),
        6: bytes(15) + b"\x01",
    }
    assert https(1, "", told) == (
        HttpsRecord(
            priority=1,
            target="one.example",
            alpn=("h3", "h2"),
            no_default_alpn=True,
            port=8443,
            hints=("::1", "192.0.2.1"),
        ),
    )


def test_an_alias_has_no_parameters() -> None:
    assert https(0, "Other.Example", {}) == (HttpsRecord(priority=0, target="other.example"),)
    assert https(0, "", {}) == (HttpsRecord(priority=0, target=""),)


@pytest.mark.parametrize(
    ("mandatory", "understood"), [(b"\0\1", True), (b"\0\1\0\3", True), (b"\x02\x9b", False)]
)
def test_mandatory_parameters_must_be_understood(mandatory: bytes, understood: bool) -> None:
    told = {0: mandatory, **alpn("h3"), **port(8443), 667: b"x"}
    assert [each.understood for each in https(1, "", told)] == [understood]


@pytest.mark.parametrize(
    "parameters",
    [
        {**port(8443), **alpn("h3")},  # not in order
        {1: b""},
        {1: b"\5h3"},
        {2: b""},  # no-default-alpn alone
        {3: b"\1"},
        {4: b"\1\2\3"},
        {0: b"\0\4"},  # mandatory, but not there
    ],
)
def test_a_malformed_record_spoils_the_answer(parameters: dict[int, bytes]) -> None:
    with pytest.raises(ResolveError, match="cannot be read"):
        https(1, "", parameters)
