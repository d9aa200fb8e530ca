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
from .fields import TextFields, announces_length

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

_Alike = tuple[str, str, str, TextFields]
"""What requests to one address have alike: method, target, authority, all fields but the last."""


class PlainHeads:
    """Writes and reads the heads of one connection; the last of either kind is remembered.

    A request differs from the one before in its last field as a rule, and a server's answers of one
    second in nothing but their bodies. Heads hold credentials, so nothing outlives the connection.
    """

    __slots__ = ("_alike", "_answer", "_first_lines", "_read")

    def __init__(self) -> None:
        self._alike: _Alike | None = None
        self._first_lines: str | None = None
        self._answer = b""
        self._read: tuple[ResponseHead | None, int | None] = None, None

    def request_head_bytes(self, head: RequestHead) -> bytes | None:
        """The head of a request with announced length, as h11 writes it; None: ask h11."""
        if head.content_length is None:
            return None
        # The last field of an upload is its Content-Type, whose boundary is new each time.
        fields, url = head.headers.fields, head.url
        alike = head.method, url.target, url.origin.authority, fields[:-1]
        if alike != self._alike:
            self._alike, self._first_lines = alike, _first_lines(*alike)
        last_line = _field_line(*fields[-1]) if fields else ""
        if self._first_lines is None or last_line is None:
            return None
        length = f"Content-Length: {head.content_length}\r\n" if announces_length(head) else ""
        return f"{self._first_lines}{last_line}{length}\r\n".encode("ascii")

    def whole_response(
        self, data: bytes, longest_head_bytes: int
    ) -> tuple[ResponseHead, int] | None:
        """A response that is all of `data`, not a byte more or less; None: ask h11.

        Returns:
            Its head, and how many bytes the head takes; the rest is its body.
        """
        end = data.find(_HEAD_END) + len(_HEAD_END)
        if not len(_HEAD_END) <= end <= longest_head_bytes:
            return None
        answer = data[:end]
        if answer != self._answer:
            self._answer, self._read = answer, _read_head(answer)
        head, length = self._read
        if head is None or length != len(data) - end:
            return None
        return head, end


def _first_lines(method: str, target: str, authority: str, fields: TextFields) -> str | None:
    if method in {"CONNECT", "HEAD"}:
        return None
    if not (_METHOD.fullmatch(method) and _TARGET.fullmatch(target)):
        return None
    lines = [f"{method} {target} HTTP/1.1\r\nHost: {authority}\r\n"]
    for name, value in fields:
        line = _field_line(name, value)
        if line is None:
            return None
        lines.append(line)
    return "".join(lines)


def _read_head(data: bytes) -> tuple[ResponseHead | None, int | None]:
    """A response head and the length it announces; (None, None) when it is not a plain one."""
    start = _STATUS_LINE.match(data)
    if start is None:
        return None, None
    fields, position = [], start.end()
    while position < len(data) - 2:
        found = _FIELD.match(data, position)
        if found is None:
            return None, None
        fields.append((found[1].decode("ascii"), found[2].decode("ascii")))
        position = found.end()
    status, length = int(start[1]), _only_length(fields)
    if status in _BODILESS:
        return None, None
    return ResponseHead(status=status, headers=Headers.of(tuple(fields))), length


def _field_line(name: str, value: str) -> str | None:
    stripped = value.strip(" \t")
    if not (_is_plain_name(name) and _VALUE.fullmatch(stripped)):
        return None
    return f"{name}: {stripped}\r\n"


@lru_cache(maxsize=64)
def _is_plain_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name.lower() not in _SPECIAL_FIELDS


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
