"""Header fields as HTTP/2 and HTTP/3 write them: pseudo-fields, lower case, no connection fields.

Both protocols have the same rules (RFC 9113 §8.2-8.3, RFC 9114 §4.2-4.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..message import Headers, RequestHead, ResponseHead

RawField = tuple[bytes, bytes]
TextFields = tuple[tuple[str, str], ...]

# RFC 9113 §8.2.2: meaningful on one HTTP/1.1 connection only. The others are ours to derive.
_DROPPED = frozenset(
    (
        "connection",
        "content-length",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    )
)
# RFC 9110 §8.6: these say Content-Length: 0 aloud, for they are expected to carry content.
_METHODS_WITH_CONTENT = frozenset(("PATCH", "POST", "PUT"))
_STATUS = re.compile(rb"[1-9][0-9][0-9]")
_NO_CONTENT_STATUS = frozenset((204, 304))


class MalformedResponse(ValueError):
    """A response that must not be accepted (RFC 9113 §8.1.1, RFC 9114 §4.1.2); says why."""


def request_fields(head: RequestHead) -> list[RawField]:
    """The field section of a request, pseudo-fields first."""
    origin = head.url.origin
    fields = [
        (b":method", head.method.encode("ascii")),
        (b":scheme", origin.scheme.encode("ascii")),
        (b":authority", origin.authority.encode("ascii")),
        (b":path", head.url.target.encode("ascii")),
    ]
    nominated = _nominated(head.headers)
    dropped = _DROPPED | nominated if nominated else _DROPPED
    for name, value in head.headers.fields:
        lowered, text = name.lower(), value.strip(" \t")
        # TE may only say "trailers" (RFC 9113 §8.2.2).
        if lowered in dropped or (lowered == "te" and text.lower() != "trailers"):
            continue
        fields.append((lowered.encode("ascii"), text.encode("latin-1")))
    if announces_length(head):
        fields.append((b"content-length", str(head.content_length).encode("ascii")))
    return fields


def form_apart(fields: TextFields) -> tuple[str | None, TextFields]:
    """The Content-Type of a form, and the other fields.

    Every form has a boundary of its own, so the others are what requests have alike.
    """
    for at in range(len(fields) - 1, -1, -1):  # uploads have it last
        name, value = fields[at]
        if "boundary=" in value and name.lower() == "content-type":
            rest = fields[:at]
            if after := fields[at + 1 :]:
                rest += after
            return value.strip(" \t"), rest
    return None, fields


def announces_length(head: RequestHead) -> bool:
    """Whether the request says Content-Length: with a body, and where one is expected."""
    length = head.content_length
    return bool(length) or (length == 0 and head.method in _METHODS_WITH_CONTENT)


def response_head(fields: Iterable[RawField]) -> ResponseHead:
    """The response head a field section stands for.

    Raises:
        MalformedResponse: no valid `:status`, or one that HTTP/2 and HTTP/3 do not have.
    """
    status: bytes | None = None
    kept: list[RawField] = []
    for name, value in fields:
        if name == b":status":
            status = value
        else:
            kept.append((name, value))
    if status is None or not _STATUS.fullmatch(status):
        raise MalformedResponse(f"the response has the status {status!r}")
    if status == b"101":
        # RFC 9113 §8.6, RFC 9114 §4.5: there is no switching of protocols.
        raise MalformedResponse("the response has status 101, which does not exist here")
    return ResponseHead(status=int(status), headers=headers_from(kept))


def headers_from(fields: Iterable[RawField]) -> Headers:
    """Plain fields (of a head or a trailer section) as text."""
    text = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
    return Headers.of(tuple(text))


class LengthCheck:
    """Compares the bytes of a response body with what its head announced (RFC 9113 §8.1.1)."""

    __slots__ = ("_expected", "_received")

    def __init__(self, expected_bytes: int | None) -> None:
        """Expect what `announced_length` found."""
        self._received = 0
        self._expected = expected_bytes

    def add(self, byte_count: int) -> None:
        """Count body bytes.

        Raises:
            MalformedResponse: more than announced.
        """
        self._received += byte_count
        if self._expected is not None and self._received > self._expected:
            raise MalformedResponse(
                f"the response body is longer than the {self._expected} bytes it announced"
            )

    def ends_after(self, byte_count: int) -> bool:
        """Whether the body may end after so many bytes more."""
        return self._expected is None or self._received + byte_count == self._expected

    def finish(self) -> None:
        """Note the end of the body.

        Raises:
            MalformedResponse: fewer than announced.
        """
        if self._expected is not None and self._received != self._expected:
            raise MalformedResponse(
                f"the response body ended after {self._received} of {self._expected} bytes"
            )


def announced_length(head: ResponseHead, method: str) -> int | None:
    """Body bytes that a response to such a request announces; None when it says nothing.

    Raises:
        MalformedResponse: it says so twice, or in no valid number.
    """
    # Responses that never have content may announce what another response would have had.
    if method == "HEAD" or head.status in _NO_CONTENT_STATUS:
        return 0
    # "5, 5" is how a repeated but equal length reads (RFC 9110 §8.6).
    values = {
        part.strip()
        for value in head.headers.get_list("content-length")
        for part in value.split(",")
    }
    if not values:
        return None
    value = values.pop()
    if values or not re.fullmatch(r"[0-9]{1,19}", value):
        raise MalformedResponse("the response announces its length twice or in no valid number")
    return int(value)


def _nominated(headers: Headers) -> set[str]:
    # RFC 9110 §7.6.1: what Connection lists belongs to the connection too.
    return {
        name.strip().lower()
        for value in headers.get_list("connection")
        for name in value.split(",")
    }
