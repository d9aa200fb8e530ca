"""The field section of a request as HPACK is given it: which fields its table is to remember."""

from __future__ import annotations

from hpack import HeaderTuple, NeverIndexedHeaderTuple

from ..message import RequestHead
from .fields import RawField, request_fields

_SECRETS = frozenset((b"authorization", b"proxy-authorization"))
#: A shorter cookie can be guessed by what compresses well (RFC 7541 §7.1.3; nghttp2 does the same).
_SHORT_COOKIE_BYTES = 20


def hpack_fields(head: RequestHead) -> list[HeaderTuple | RawField]:
    """Pseudo-fields first, names in lower case; what is not to be indexed says so."""
    return [
        NeverIndexedHeaderTuple(name, value) if _kept_out(name, value) else (name, value)
        for name, value in request_fields(head)
    ]


def _kept_out(name: bytes, value: bytes) -> bool:
    return name in _SECRETS or (name == b"cookie" and len(value) < _SHORT_COOKIE_BYTES)
