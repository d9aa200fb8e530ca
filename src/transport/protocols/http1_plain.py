"""What nearly every HTTP/1.1 exchange looks like, written and read in one step each.

A request of announced length is its head and then its body as it is; its response, as a rule, comes
whole in one read, with one Content-Length. h11 takes some dozens of steps for either and comes to
the same. Whatever is not exactly like this is None here, and h11's business
(`tests/http1/test_plain.py` compares the two).
"""

from __future__ import annotations

import re
from functools import lru_cache

from ..message import Headers, RequestHead, ResponseHead
from .fields import announces_length

#: The machine writes these itself, or has no use for what they ask (RFC 9110 §7.6.1, §7.8).
REFUSED_FIELDS = frozenset(("host", "content-length", "transfer-encoding", "upgrade"))
#: The same with what changes how an exchange goes on, which h11 has to know.
_SPECIAL_FIELDS = REFUSED_FIELDS | {"connection", "expect"}

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[!-~]+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 §5.5, of ASCII only.
_VALUE = re.compile(r"(?:[!-~]+(?:[ \t]+[!-~]+)*)?")

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) [ -~]*\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+([!-~]*(?:[ \t]+[!-~]+)*)[ \t]*\r\n")
_LENGTH = re.compile(r"[0-9]{1,10}")
_HEAD_END = b"\r\n\r\n"
# They have no body whatever they announce (RFC 9112 §6.3).
_BODILESS = frozenset((204, 304))


def request_head_bytes(head: RequestHead) -> bytes | None:
    """The head of a request with announced length, as h11 writes it; None: ask h11."""
    if head.content_length is None or head.method in {"CONNECT", "HEAD"}:
        return None
    if not (_METHOD.fullmatch(head.method) and _TARGET.fullmatch(head.url.target)):
        return None
    lines = [f"{head.method} {head.url.target} HTTP/1.1\r\nHost: {head.url.origin.authority}\r\n"]
    for name, value in head.headers.fields:
        line = _field_line(name, value)
        if line is None:
            return None
        lines.append(line)
    if announces_length(head):
        lines.append(f"Content-Length: {head.content_length}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("ascii")


def whole_response(data: bytes, longest_head_bytes: int) -> tuple[ResponseHead, int] | None:
    """A response that is all of `data`, not a byte more or less; None: ask h11.

    Returns:
        Its head, and how many bytes the head takes; the rest is its body.
    """
    end = data.find(_HEAD_END) + len(_HEAD_END)
    if not len(_HEAD_END) <= end <= longest_head_bytes:
        return None
    start = _STATUS_LINE.match(data)
    if start is None:
        return None
    fields, position = [], start.end()
    while position < end - 2:
        found = _FIELD.match(data, position)
        if found is None:
            return None
        fields.append((found[1].decode("ascii"), found[2].decode("ascii")))
        position = found.end()
    status, length = int(start[1]), _only_length(fields)
    if length != len(data) - end or status in _BODILESS:
        return None
    return ResponseHead(status=status, headers=Headers.of(tuple(fields))), end


#: Most fields are the same in every request of a program.
@lru_cache(maxsize=128)
def _field_line(name: str, value: str) -> str | None:
    stripped = value.strip(" \t")
    if name.lower() in _SPECIAL_FIELDS:
        return None
    if not (_NAME.fullmatch(name) and _VALUE.fullmatch(stripped)):
        return None
    return f"{name}: {stripped}\r\n"


def _only_length(fields: list[tuple[str, str]]) -> int | None:
    """The announced length, if the fields say that and nothing else about what follows."""
    length: int | None = None
    for name, value in fields:
        lowered = name.lower()
        if lowered == "content-length":
            if length is not None or not _LENGTH.fullmatch(value):
                return None
            length = int(value)
        elif lowered == "transfer-encoding" or (
            lowered == "connection" and value.lower() != "keep-alive"
        ):
            return None
    return length
