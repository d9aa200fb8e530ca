"""Which header fields a caller may set, and which are sent when the caller says nothing."""

from __future__ import annotations

from importlib.metadata import version

from ..transport.errors import InvalidHeader
from ..transport.message import HeaderInput, Headers, checked_headers

USER_AGENT = f"trilane/{version('trilane')}"

#: Sent unless the caller sets them. Without Accept-Encoding any coding would be welcome
#: (RFC 9110 §12.5.3), but bodies are not decoded: an upload's answer is small.
DEFAULT_FIELDS = (
    ("user-agent", USER_AGENT),
    ("accept", "*/*"),
    ("accept-encoding", "identity"),
)

_DEFAULTS = Headers(DEFAULT_FIELDS)

_FRAMING = "it frames the request, which the engine does"
_REFUSED = {
    "host": "it is taken from the url",
    "content-length": _FRAMING,
    "transfer-encoding": _FRAMING,
    "expect": "use expect_continue=True",
    # Connection-specific fields (RFC 9110 §7.6.1), which HTTP/2 and HTTP/3 forbid.
    "connection": "connections belong to the engine",
    "keep-alive": "connections belong to the engine",
    "proxy-connection": "connections belong to the engine",
    "upgrade": "connections belong to the engine",
    "te": "trailers are always accepted",
    "trailer": "requests are sent without trailers",
}
_REFUSED_ON_UPLOADS = _REFUSED | {
    "content-type": (
        "an upload's content type carries the multipart boundary, which would be lost; "
        "use content_type= for the type of the file"
    ),
    "referer": "an upload has no page it comes from",
}


def request_fields(given: HeaderInput | None) -> Headers:
    """The fields of a plain request.

    Raises:
        InvalidHeader: HTTP cannot carry a field, or it belongs to the engine.
    """
    return _completed(given, _REFUSED) if given else _DEFAULTS


def upload_fields(given: HeaderInput | None, content_type: str) -> Headers:
    """The fields of a multipart upload; `content_type` carries the boundary.

    Raises:
        InvalidHeader: HTTP cannot carry a field, it belongs to the engine, or it is
            Content-Type or Referer.
    """
    fields = _completed(given, _REFUSED_ON_UPLOADS) if given else _DEFAULTS
    return Headers.of((*fields.fields, ("content-type", content_type)))


def _completed(given: HeaderInput, refused: dict[str, str]) -> Headers:
    headers = checked_headers(given)
    for name, _ in headers.fields:
        reason = refused.get(name.lower())
        if reason is not None:
            raise InvalidHeader(f"header {name!r} cannot be set: {reason}")
    defaults = [field for field in DEFAULT_FIELDS if field[0] not in headers]
    return Headers.of((*defaults, *headers.fields))
