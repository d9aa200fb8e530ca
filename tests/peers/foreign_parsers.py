"""Three multipart parsers that others wrote, behind one shape.

python-multipart streams, so it also reads bodies that do not fit in memory; `multipart` and
werkzeug read small bodies and must find the same parts. File names are compared after undoing
the HTML standard's escapes, which `multipart` undoes by itself and python-multipart does not.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import multipart
import python_multipart.multipart as streaming
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from tests.peers.receipt import ReceivedPart

SMALL_BODY_BYTES = 4 * 1024 * 1024
"""Up to here the parsers that hold a body in memory are asked too."""


class MultipartReader:
    """python-multipart fed piece by piece; memory stays flat whatever the body's size."""

    def __init__(self, boundary: bytes) -> None:
        self.parts: list[ReceivedPart] = []
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._fields: dict[str, bytes] = {}
        self._hash = hashlib.sha256()
        self._size = 0
        self._ended = False
        self._parser = streaming.MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header_name,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._parser.write(data)

    def finish(self) -> tuple[ReceivedPart, ...]:
        """Return the parts of a body that is complete.

        Raises:
            ValueError: the closing boundary was not seen.
        """
        self._parser.finalize()
        if not self._ended:
            raise ValueError("the multipart body has no closing boundary")
        return tuple(self.parts)

    def _begin(self) -> None:
        self._fields = {}
        self._hash = hashlib.sha256()
        self._size = 0

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._fields[self._header_name.decode("ascii").lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._hash.update(memoryview(data)[start:end])
        self._size += end - start

    def _on_part_end(self) -> None:
        _, options = streaming.parse_options_header(self._fields["content-disposition"])
        filename = options.get(b"filename")
        content_type = self._fields.get("content-type")
        self.parts.append(
            ReceivedPart(
                name=plain_name(options[b"name"].decode("utf-8", "surrogateescape")),
                filename=None
                if filename is None
                else plain_name(filename.decode("utf-8", "surrogateescape")),
                content_type=None if content_type is None else content_type.decode("latin-1"),
                size=self._size,
                sha256=self._hash.hexdigest(),
            )
        )

    def _on_end(self) -> None:
        self._ended = True


def plain_name(name: str) -> str:
    """Undo the escapes of a name (HTML standard, "multipart/form-data encoding algorithm")."""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def boundary_of(content_type: str) -> bytes | None:
    """Boundary of a multipart/form-data body; None for any other content type."""
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary")
    return boundary.encode("ascii") if kind == "multipart/form-data" and boundary else None


def read_with_python_multipart(body: bytes, boundary: bytes) -> tuple[ReceivedPart, ...]:
    """Parts as python-multipart finds them."""
    reader = MultipartReader(boundary)
    reader.feed(body)
    return reader.finish()


def read_with_multipart(body: bytes, boundary: bytes) -> tuple[ReceivedPart, ...]:
    """Parts as `multipart` (defnull's) finds them, in its strict mode."""
    parts: list[ReceivedPart] = []
    for part in multipart.MultipartParser(io.BytesIO(body), boundary, len(body), strict=True):
        content_type = part.headers.get("Content-Type")
        parts.append(_part(part.name, part.filename or None, content_type, part.raw))
        part.close()
    return tuple(parts)


def read_with_werkzeug(body: bytes, boundary: bytes) -> tuple[ReceivedPart, ...]:
    """Parts as werkzeug's decoder finds them."""
    decoder = MultipartDecoder(boundary)
    decoder.receive_data(body)
    decoder.receive_data(None)
    parts: list[ReceivedPart] = []
    current: Field | File | None = None
    data = bytearray()
    while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
        if isinstance(event, Field | File):
            current, data = event, bytearray()
        elif isinstance(event, Data):
            data += event.data
            if not event.more_data and current is not None:
                filename = current.filename if isinstance(current, File) else None
                content_type = current.headers.get("content-type")
                parts.append(_part(current.name, filename, content_type, bytes(data)))
    return tuple(parts)


Parser = Callable[[bytes, bytes], tuple[ReceivedPart, ...]]
PARSERS: dict[str, Parser] = {
    "python-multipart": read_with_python_multipart,
    "multipart": read_with_multipart,
    "werkzeug": read_with_werkzeug,
}


def second_opinions(
    body: bytes | None, boundary: bytes, parts: tuple[ReceivedPart, ...]
) -> tuple[tuple[str, ...], str | None]:
    """Names of the parsers that read the body, and how one of them differs from `parts`.

    Only python-multipart has an opinion on a body that was too large to keep (None).
    """
    if body is None:
        return ("python-multipart",), None
    for name, parse in PARSERS.items():
        try:
            found = parse(body, boundary)
        except ValueError as exc:
            return tuple(PARSERS), f"{name} refuses the body: {exc}"
        if found != parts:
            return tuple(PARSERS), f"{name} reads {found}, python-multipart {parts}"
    return tuple(PARSERS), None


def _part(name: str, filename: str | None, content_type: str | None, data: bytes) -> ReceivedPart:
    return ReceivedPart(
        name=plain_name(name),
        filename=None if filename is None else plain_name(filename),
        content_type=content_type,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
