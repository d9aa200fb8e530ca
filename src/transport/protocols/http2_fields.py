"""The field section of a request in HPACK: which fields its table is to remember, and which bytes.

A program's requests differ in the boundaries of their forms and in their lengths alone. What else
they say is compressed once, and again when HPACK's table has changed, on which the bytes depend.
"""

from __future__ import annotations

from dataclasses import replace

from hpack import Encoder, HeaderTuple, NeverIndexedHeaderTuple

from ..message import Headers, RequestHead
from .fields import RawField, TextFields, announces_length, form_apart, request_fields
from .h2_private import TableMark, unindexed_content_length, unindexed_content_type

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
        self._known: dict[tuple[str, str, TextFields], bytes] = {}

    def encode(self, head: RequestHead) -> bytes:
        """The field block of a request, which must be the next one sent."""
        form, rest = form_apart(head.headers.fields)
        # It also changes when the peer wants another size, which the next block has to confirm.
        changed = self._mark.changed()
        block = None if changed else self._known.get((head.method, head.url.text, rest))
        if block is None:
            block = self._encode(head, rest, known=not changed)
        if form is not None:
            block += unindexed_content_type(form.encode("latin-1"))
        if head.content_length is not None and announces_length(head):
            block += unindexed_content_length(b"%d" % head.content_length)
        return block

    def _encode(self, head: RequestHead, rest: TextFields, *, known: bool) -> bytes:
        """The fields that many requests have alike; whether earlier ones are still good."""
        if not known or len(self._known) >= _KNOWN_HEADS:
            self._known.clear()
        alike = replace(head, headers=Headers.of(rest), content_length=None)
        block: bytes = self._encoder.encode(hpack_fields(alike))
        if self._mark.changed():
            # What has just entered the table has moved all that the others refer to.
            self._known.clear()
        elif known:
            self._known[head.method, head.url.text, rest] = block
        return block


def hpack_fields(head: RequestHead) -> list[HeaderTuple | RawField]:
    """Pseudo-fields first, names in lower case; what is not to be indexed says so."""
    return [
        NeverIndexedHeaderTuple(name, value) if _kept_out(name, value) else (name, value)
        for name, value in request_fields(head)
    ]


def _kept_out(name: bytes, value: bytes) -> bool:
    return name in _SECRETS or (name == b"cookie" and len(value) < _SHORT_COOKIE_BYTES)
