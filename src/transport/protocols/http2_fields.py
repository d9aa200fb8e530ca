"""The field section of a request in HPACK: which fields its table is to remember, and which bytes.

A program's requests differ in the boundary of their forms alone. What comes before and after it is
compressed once, and again when HPACK's table has changed, on which the bytes depend.
"""

from __future__ import annotations

from dataclasses import replace

from hpack import Encoder, HeaderTuple, NeverIndexedHeaderTuple

from ..message import Headers, RequestHead
from .fields import RawField, request_fields
from .h2_private import TableMark

_SECRETS = frozenset((b"authorization", b"proxy-authorization"))
#: A shorter cookie can be guessed by what compresses well (RFC 7541 §7.1.3; nghttp2 does the same).
_SHORT_COOKIE_BYTES = 20


#: Kinds of requests remembered; a program has a few.
_KNOWN_HEADS = 32


class HeadEncoder:
    """Compresses the heads of one connection's requests."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._mark = TableMark(encoder)
        self._known: dict[object, tuple[bytes, bytes]] = {}

    def encode(self, head: RequestHead) -> bytes:
        """The field block of a request, which must be the next one sent."""
        # Also when somebody else changed the table: the peer may want another size.
        if self._mark.changed() or len(self._known) >= _KNOWN_HEADS:
            self._known.clear()
        form = next((field for field in head.headers.fields if _is_form(field)), None)
        if form is None:
            return self._encoder.encode(hpack_fields(head))
        rest = tuple([field for field in head.headers.fields if field is not form])
        key = (head.method, head.url, rest, head.content_length)
        known = self._known.get(key)
        if known is None:
            known = self._compress(head, rest)
            if not self._mark.changed():
                self._known[key] = known
            else:
                self._known.clear()
        before, after = known
        return before + self._encoder.encode([_raw(form)]) + after

    def _compress(
        self, head: RequestHead, rest: tuple[tuple[str, str], ...]
    ) -> tuple[bytes, bytes]:
        without = replace(head, headers=Headers.of(rest))
        fields = hpack_fields(without)
        end = len(fields)
        if fields[-1][0] == b"content-length":
            end -= 1
        return self._encoder.encode(fields[:end]), self._encoder.encode(fields[end:])


def _is_form(field: tuple[str, str]) -> bool:
    return field[0].lower() == "content-type" and "boundary=" in field[1]


def _raw(field: tuple[str, str]) -> RawField:
    return field[0].lower().encode("ascii"), field[1].strip(" \t").encode("latin-1")


def hpack_fields(head: RequestHead) -> list[HeaderTuple | RawField]:
    """Pseudo-fields first, names in lower case; what is not to be indexed says so."""
    return [
        NeverIndexedHeaderTuple(name, value) if _kept_out(name, value) else (name, value)
        for name, value in request_fields(head)
    ]


def _kept_out(name: bytes, value: bytes) -> bool:
    return name in _SECRETS or (name == b"cookie" and len(value) < _SHORT_COOKIE_BYTES)
