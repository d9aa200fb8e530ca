"""The one place that touches private names of h11; `tests/http1/test_h11_canary.py` guards it."""

from __future__ import annotations

import re

import h11
from h11 import _readers
from h11._headers import Headers

# h11's own rules (RFC 9110 §5.1, §5.5), which the canary compares with h11.
_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
_VALUE = re.compile(rb"(?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?")

# White space before a value, which h11 may also take for white space after an empty one: a field
# of nothing else then costs time by the square of its length, 16 s for one of 64 KiB. Taken
# possessively, it is what it was before.
_readers.header_field_re = re.compile(
    _readers.header_field_re.pattern.replace(rb":[ \t]*(", rb":[ \t]*+(", 1)
)


def new_request(method: str, target: str, fields: list[tuple[bytes, bytes]]) -> h11.Request:
    """An `h11.Request` whose fields are checked in two steps each instead of ten.

    A Content-Length or Transfer-Encoding must be well-formed: h11 would look into their values.

    Raises:
        h11.LocalProtocolError: HTTP/1.1 cannot carry it.
    """
    for name, value in fields:
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise h11.LocalProtocolError(f"illegal header field {name!r}")
    headers = Headers([(name, name.lower(), value) for name, value in fields])
    return h11.Request(method=method, target=target, headers=headers)


def unparsed_bytes(connection: h11.Connection) -> int:
    """How many received bytes h11 has not made an event of yet.

    The public `trailing_data` copies them all; asked after every event, as byte counts need it,
    that is quadratic in what a hostile peer sends as tiny chunks.
    """
    return len(connection._receive_buffer)  # noqa: SLF001 - see above
