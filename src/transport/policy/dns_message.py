"""DNS messages for one question each: the bytes to ask with, and what an answer means.

The only module that knows dnspython, which builds and parses; what of an answer counts is decided
here. A server that may be hostile is read: chains are followed only so far, records of other names
and answers to other questions are not believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.HTTPS
import dns.rdtypes.svcbbase as svcb
import dns.rrset

from ..errors import ResolveError, ResolveReason
from .dns_records import Answer, HttpsRecord, Kind, Question

#: Longest chain of CNAME records that is followed; a loop ends here, too.
MAX_CHAIN = 8
#: Addresses or services taken from one answer; 64 KiB hold some four thousand.
MAX_RECORDS = 32
#: RFC 8467 §4.1: queries are padded to a multiple of this, so that their length tells little.
_PADDING_BYTES = 128
#: RFC 1035 §4.1.1: the header, and two flags of its third byte.
_HEADER_BYTES = 12
_RESPONSE, _TRUNCATED = 0x80, 0x02

_TYPES = {
    Kind.A: dns.rdatatype.A,
    Kind.AAAA: dns.rdatatype.AAAA,
    Kind.HTTPS: dns.rdatatype.HTTPS,
}
_KNOWN_KEYS = frozenset(
    {
        svcb.ParamKey.ALPN,
        svcb.ParamKey.NO_DEFAULT_ALPN,
        svcb.ParamKey.PORT,
        svcb.ParamKey.IPV4HINT,
        svcb.ParamKey.IPV6HINT,
    }
)
R = TypeVar("R", bound=dns.rdata.Rdata)


def query_message(question: Question, number: int | None = None) -> bytes:
    """The question as a DNS message.

    Args:
        question: what to ask.
        number: the message's id, in clear; None over HTTPS, where it is 0, so that equal messages
            are equal (RFC 8484 §4.1), and where padding hides their length.

    Raises:
        ResolveError: no such name can be asked for.
    """
    kind, pad = _TYPES[question.kind], _PADDING_BYTES if number is None else 0
    query = dns.message.make_query(_name(question), kind, use_edns=0, id=number or 0, pad=pad)
    return query.to_wire()


def is_reply(query: bytes, message: bytes) -> bool:
    """Whether a message that came over UDP answers a query, and is no guess (RFC 5452 §9)."""
    asked = slice(_HEADER_BYTES, query.index(0, _HEADER_BYTES) + 5)
    return (
        len(message) >= _HEADER_BYTES
        and message[:2] == query[:2]
        and bool(message[2] & _RESPONSE)
        and message[asked].lower() == query[asked].lower()
    )


def is_truncated(message: bytes) -> bool:
    """Whether a reply says that it is not all there is (RFC 1035 §4.1.1, TC)."""
    return bool(message[2] & _TRUNCATED)


def read_answer(question: Question, message: bytes, number: int = 0) -> Answer:
    """What a message says about a question.

    A name that does not exist, or has no such record, is an answer with a `reason`.

    Args:
        question: what was asked.
        message: what came.
        number: the id of the message that asked.

    Raises:
        ResolveError: it is no answer to this question, or the server says that it failed.
    """
    try:
        parsed = dns.message.from_wire(message)
    except Exception as exc:
        raise _bad(question, f"it cannot be read ({type(exc).__name__})") from exc
    _check_header(question, parsed, number)
    rcode = parsed.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        said = dns.rcode.to_text(rcode)
        raise ResolveError(
            f"cannot resolve {question.name!r}: the name server answered {said}",
            reason=ResolveReason.SERVER_FAILURE,
        )
    owner, ttl_s = _end_of_chain(question, parsed)
    found = _rrset(parsed.answer, owner, _TYPES[question.kind])
    if found is None:
        return _nothing(parsed, owner, ttl_s)
    return _answer(question, found, min(ttl_s, found.ttl))


def _check_header(question: Question, parsed: dns.message.Message, number: int) -> None:
    is_answer = parsed.flags & dns.flags.QR and parsed.opcode() == dns.opcode.QUERY
    if not is_answer or parsed.id != number:
        raise _bad(question, "it is not an answer to a query of ours")
    asked = [(each.name, each.rdtype, each.rdclass) for each in parsed.question]
    if asked != [(_name(question), _TYPES[question.kind], dns.rdataclass.IN)]:
        raise _bad(question, "it answers another question")
    if parsed.flags & dns.flags.TC:
        # RFC 8484 §6: over HTTPS, a whole message fits; over UDP, TCP has been asked by now.
        raise _bad(question, "it is truncated")


def _end_of_chain(question: Question, parsed: dns.message.Message) -> tuple[dns.name.Name, float]:
    """The canonical name, and how long the way to it holds."""
    owner, ttl_s = _name(question), float("inf")
    for _ in range(MAX_CHAIN + 1):
        found = _rrset(parsed.answer, owner, dns.rdatatype.CNAME)
        if found is None:
            return owner, ttl_s
        ttl_s = min(ttl_s, found.ttl)
        alias = _of_type(found, dns.rdtypes.ANY.CNAME.CNAME)[0]
        owner = alias.target
    raise _bad(question, f"it has a loop, or a chain of more than {MAX_CHAIN} aliases")


def _nothing(parsed: dns.message.Message, owner: dns.name.Name, ttl_s: float) -> Answer:
    """RFC 2308 §5: without a SOA record the absence is not remembered."""
    held_s = 0.0
    for rrset in parsed.authority:
        if rrset.rdtype == dns.rdatatype.SOA and owner.is_subdomain(rrset.name):
            soa = _of_type(rrset, dns.rdtypes.ANY.SOA.SOA)[0]
            held_s = min(ttl_s, rrset.ttl, soa.minimum)
    exists = parsed.rcode() != dns.rcode.NXDOMAIN
    return Answer(
        ttl_s=held_s,
        reason=ResolveReason.NO_ADDRESS if exists else ResolveReason.NO_SUCH_NAME,
    )


def _answer(question: Question, found: dns.rrset.RRset, ttl_s: float) -> Answer:
    if question.kind is Kind.A:
        addresses = tuple(each.address for each in _of_type(found, dns.rdtypes.IN.A.A))
        return Answer(addresses=addresses, ttl_s=ttl_s)
    if question.kind is Kind.AAAA:
        addresses = tuple(each.address for each in _of_type(found, dns.rdtypes.IN.AAAA.AAAA))
        return Answer(addresses=addresses, ttl_s=ttl_s)
    records = _of_type(found, dns.rdtypes.IN.HTTPS.HTTPS)
    return Answer(services=tuple(_https(each, found.name) for each in records), ttl_s=ttl_s)


def _https(record: dns.rdtypes.IN.HTTPS.HTTPS, owner: dns.name.Name) -> HttpsRecord:
    alias, is_root = record.priority == 0, record.target == dns.name.root
    target = "" if alias and is_root else _text(owner if is_root else record.target)
    if alias:
        return HttpsRecord(priority=0, target=target)
    mandatory = record.params.get(svcb.ParamKey.MANDATORY)
    port = record.params.get(svcb.ParamKey.PORT)
    alpn = record.params.get(svcb.ParamKey.ALPN)
    return HttpsRecord(
        priority=record.priority,
        target=target,
        alpn=tuple(each.decode("latin-1") for each in alpn.ids)
        if isinstance(alpn, svcb.ALPNParam)
        else (),
        no_default_alpn=svcb.ParamKey.NO_DEFAULT_ALPN in record.params,
        port=port.port if isinstance(port, svcb.PortParam) else None,
        hints=_hints(record),
        understood=not isinstance(mandatory, svcb.MandatoryParam)
        or _KNOWN_KEYS.issuperset(mandatory.keys),
    )


def _hints(record: dns.rdtypes.IN.HTTPS.HTTPS) -> tuple[str, ...]:
    v6 = record.params.get(svcb.ParamKey.IPV6HINT)
    v4 = record.params.get(svcb.ParamKey.IPV4HINT)
    found = [*v6.addresses] if isinstance(v6, svcb.IPv6HintParam) else []
    found += v4.addresses if isinstance(v4, svcb.IPv4HintParam) else ()
    return tuple(found[:MAX_RECORDS])


def _rrset(
    section: Iterable[dns.rrset.RRset], owner: dns.name.Name, kind: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    for rrset in section:
        if (rrset.name, rrset.rdtype, rrset.rdclass) == (owner, kind, dns.rdataclass.IN):
            return rrset
    return None


def _of_type(rrset: dns.rrset.RRset, kind: type[R]) -> list[R]:
    """Its records; what dnspython could not parse is an error before, so all are of the type."""
    found = [each for each in rrset if isinstance(each, kind)]
    return found[:MAX_RECORDS]


def _name(question: Question) -> dns.name.Name:
    try:
        return dns.name.from_text(question.name, dns.name.root)
    except dns.exception.DNSException as exc:
        raise ResolveError(
            f"cannot resolve {question.name!r}: not a valid host name: {exc}",
            reason=ResolveReason.INVALID_NAME,
        ) from exc


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _bad(question: Question, why: str) -> ResolveError:
    return ResolveError(
        f"cannot resolve {question.name!r}: the name server's answer is not usable: {why}",
        reason=ResolveReason.BAD_ANSWER,
    )
