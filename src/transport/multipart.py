"""`multipart/form-data` (RFC 7578), laid out as browsers do it.

Names and file names are UTF-8; `"`, CR and LF in them become `%22`, `%0D` and `%0A` and nothing
else is escaped (HTML standard, "multipart/form-data encoding algorithm"); `filename*` is never
sent (RFC 7578 §4.2). Field values go out byte for byte: browsers turn lone CR and LF in them into
CRLF, which suits text typed into a form and would damage data.
"""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from .buffers import Buffer
from .errors import InvalidHeader, UsageError
from .form import FormInput, form_fields
from .message import HeaderInput, Headers, checked_headers
from .sources import FileInput, JoinedBody, Source, guess_content_type, source_from
from .sources.memory import MemorySource

# Characters that RFC 2046 §5.1.1 allows in a boundary and RFC 9110 §5.6.2 without quotes.
_BOUNDARY = re.compile(r"[0-9A-Za-z'+_.-]{1,70}")
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
_SURROGATES = re.compile("[\ud800-\udfff]")
_OWN_HEADERS = ("content-disposition", "content-type")
# What browsers call a file without a name (XMLHttpRequest standard, "create an entry").
_NAMELESS = "blob"
_TEXT = (str, type(None))


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a multipart body."""

    name: str
    """Name of the form field."""
    file: FileInput = field(repr=False)
    """A path, bytes, a binary file object, or an iterator of bytes."""
    filename: str | None = None
    """Sent as given, folders included; by default the path's last component, else `blob`. What
    UTF-8 cannot carry (undecodable bytes of a path) becomes U+FFFD, as in browsers. A
    backslash is sent as one, as browsers do, though some receivers take it for an escape."""
    content_type: str | None = None
    """By default guessed from the file name."""
    headers: HeaderInput = field(default=(), repr=False)
    """More header fields of the part."""


class MultipartBody(JoinedBody):
    """Form fields, then files, as one body. Made by `multipart_body`."""

    def __init__(self, sources: Sequence[Source], boundary: str) -> None:
        super().__init__(sources)
        self.boundary = boundary

    @property
    def content_type(self) -> str:
        """Value of the request's Content-Type field."""
        return f"multipart/form-data; boundary={self.boundary}"


async def multipart_body(
    fields: FormInput = (), files: Iterable[Part] = (), boundary: str | None = None
) -> MultipartBody:
    """Check fields and files, look at the files, and lay out a body.

    Args:
        fields: form fields; they come first, in order.
        files: the files, in order.
        boundary: for tests; by default it has 128 random bits, so that no content holds it.

    Raises:
        InvalidFormValue: a field's key or value cannot be sent.
        InvalidHeader: a part's name, content type or header field cannot be.
        UsageError: the boundary or a file is not usable; an iterator is used for two parts.
        SourceUnavailable: a file is missing, unreadable or not a regular file.
    """
    delimiter = _new_boundary() if boundary is None else _checked_boundary(boundary)
    if fields == () and mimetypes.inited and isinstance(files, list) and len(files) == 1:
        only: Part = files[0]
        if type(only.file) is bytes and not only.headers:
            return _of_bytes(only, only.file, delimiter)
    layout = _Layout(delimiter)
    for name, value in form_fields(fields):
        layout.add_field(name, value)
    used_up: list[FileInput] = []
    for part in files:
        source = await source_from(part.file)
        if not source.rewindable:
            if any(part.file is used for used in used_up):
                raise UsageError(f"part {part.name!r}: {part.file!r} can be read once only")
            used_up.append(part.file)
        layout.add_file(part, source)
    return MultipartBody(layout.finish(), delimiter)


def _of_bytes(part: Part, content: bytes, boundary: str) -> MultipartBody:
    """What a `_Layout` comes to that holds nothing but a file's bytes."""
    filename, content_type = part.filename, part.content_type
    if filename is None:
        filename = _NAMELESS
    if content_type is None:
        content_type = guess_content_type(filename)
    head, delimiter = _part_head(part.name, filename, content_type), boundary.encode()
    begin, end = b"--%b\r\n%b\r\n" % (delimiter, head), b"\r\n--%b--\r\n" % delimiter
    return MultipartBody((MemorySource([begin, content, end]),), boundary)


class _Layout:
    """Collects the bytes between files into as few sources as possible."""

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"--" + boundary.encode()
        self._pieces: list[Buffer] = []
        """What is in memory since the last source."""
        self._sources: list[Source] = []

    def add_field(self, name: str, value: str) -> None:
        head = _part_head(name, None, None)
        self._pieces.append(b"%b\r\n%b\r\n%b\r\n" % (self._delimiter, head, value.encode()))

    def add_file(self, part: Part, source: Source) -> None:
        filename = part.filename
        if filename is None:
            filename = source.filename or _NAMELESS
        content_type = part.content_type
        if content_type is None:
            content_type = guess_content_type(filename)
        head = _part_head(part.name, filename, content_type)
        more = _more_fields(part) if part.headers else b""
        self._pieces.append(b"%b\r\n%b%b\r\n" % (self._delimiter, head, more))
        if isinstance(source, MemorySource):
            self._pieces += source.in_memory()
        else:
            self._flush()
            self._sources.append(source)
        self._pieces.append(b"\r\n")

    def finish(self) -> Sequence[Source]:
        self._pieces.append(b"%b--\r\n" % self._delimiter)
        self._flush()
        return self._sources

    def _flush(self) -> None:
        self._sources.append(MemorySource(self._pieces))
        self._pieces = []


def _new_boundary() -> str:
    return f"trilane-{os.urandom(16).hex()}"


def _checked_boundary(boundary: str) -> str:
    if not _BOUNDARY.fullmatch(boundary):
        raise UsageError(f"boundary {boundary!r}: 1 to 70 of the characters 0-9 A-Z a-z ' + _ . -")
    return boundary


def _part_head(name: str, filename: str | None, content_type: str | None) -> bytes:
    """The fields every part has; by exact type, for the cache takes 1 and True for the same."""
    if type(name) is str and type(filename) in _TEXT and type(content_type) in _TEXT:
        return _known_part_head(name, filename, content_type)
    return _known_part_head.__wrapped__(name, filename, content_type)


#: A program's parts have the same few names again and again.
@lru_cache(maxsize=64)
def _known_part_head(name: str, filename: str | None, content_type: str | None) -> bytes:
    head = f'Content-Disposition: form-data; name="{_escaped(name)}"'
    if filename is not None:
        head += f'; filename="{_escaped(_valid(filename))}"'
    return f"{head}\r\n".encode() + _written(
        [] if content_type is None else [("Content-Type", content_type)]
    )


def _more_fields(part: Part) -> bytes:
    return _written(_checked_part_headers(part).fields)


def _written(fields: HeaderInput) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in checked_headers(fields).fields]
    return "".join(lines).encode("latin-1")


def _checked_part_headers(part: Part) -> Headers:
    headers = checked_headers(part.headers)
    for name in headers:
        if name.lower() in _OWN_HEADERS:
            raise InvalidHeader(
                f"part {part.name!r}: {name} is made from name, filename and content_type"
            )
    return headers


def _escaped(name: str) -> str:
    if not isinstance(name, str):
        raise UsageError(f"the name of a part must be a str, not {type(name).__name__}")
    if "\0" in name:
        raise InvalidHeader(f"name {name!r} of a part contains NUL, which no header can carry")
    if _SURROGATES.search(name):
        raise InvalidHeader(f"name {name!r} of a part has a lone surrogate")
    return name.translate(_ESCAPES)


def _valid(filename: str) -> str:
    return _SURROGATES.sub("\ufffd", filename)
