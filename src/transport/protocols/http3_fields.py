"""The field section of a request in QPACK, as long as the peer has no dynamic table.

Without one, bytes mean the same wherever they stand (RFC 9204 §4.5), so what a program's requests
have alike is compressed once.
"""

from __future__ import annotations

from dataclasses import replace

from ..message import Headers, RequestHead
from .aioquic_h3 import FieldCompressor, RequestOnlyH3Connection
from .fields import TextFields, announces_length, form_apart, request_fields

#: Literals with a name of the static table (RFC 9204 §4.5.4 and appendix A, entries 4 and 44).
_CONTENT_LENGTH, _CONTENT_TYPE = b"\x54", b"\x5f\x1d"
#: What fits the first byte of a length with a prefix of 7 bits (RFC 7541 §5.1), and the next ones.
_SHORT, _SEVEN_BITS, _MORE = 0x7F, 0x7F, 0x80
#: Kinds of requests remembered; a program has a few.
_KNOWN_HEADS = 32


class FieldEncoder:
    """Compresses the heads of requests; nothing of it depends on the connection."""

    def __init__(self, h3: RequestOnlyH3Connection) -> None:
        self._compressor = FieldCompressor(h3)
        self._known: dict[tuple[str, str, TextFields], bytes] = {}

    def encode(self, head: RequestHead) -> bytes:
        """The field section of a request.

        Raises:
            ValueError: a field is too large for QPACK's encoder.
        """
        form, rest = form_apart(head.headers.fields)
        section = self._encode(head, rest)
        if form is not None:
            section += _literal(_CONTENT_TYPE, form.encode("latin-1"))
        if announces_length(head):
            section += _literal(_CONTENT_LENGTH, str(head.content_length).encode("ascii"))
        return section

    def _encode(self, head: RequestHead, rest: TextFields) -> bytes:
        """The fields that many requests have alike."""
        key = (head.method, head.url.text, rest)
        known = self._known.get(key)
        if known is None:
            alike = replace(head, headers=Headers.of(rest), content_length=None)
            if len(self._known) >= _KNOWN_HEADS:
                self._known.clear()
            known = self._known[key] = self._compressor.compress(request_fields(alike))
        return known


def _literal(name: bytes, value: bytes) -> bytes:
    return name + _length(len(value)) + value


def _length(size: int) -> bytes:
    if size < _SHORT:
        return bytes((size,))
    encoded, size = bytearray((_SHORT,)), size - _SHORT
    while size >= _MORE:
        encoded.append(size & _SEVEN_BITS | _MORE)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)
