"""Sums up a request body while it streams by: its parts when it is multipart, else its SHA-256."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header


class BodyError(ValueError):
    """The body is not what its content type says."""


@dataclass(slots=True, kw_only=True)
class PartSummary:
    """One part of a multipart body as it was received."""

    name: str
    filename: str | None
    content_type: str | None
    size: int
    sha256: str


@dataclass(slots=True, kw_only=True)
class BodySummary:
    """A whole body as it was received."""

    body_bytes: int
    sha256: str | None
    """Of the body as it is; None when it is multipart."""
    parts: list[PartSummary] | None
    """None when it is not multipart."""


class BodyDigest(Protocol):
    """Takes a body piece by piece and keeps only its summary."""

    def feed(self, data: bytes) -> None:
        """Take the next piece. Raises BodyError."""
        ...

    def finish(self) -> BodySummary:
        """Say what the body was. Raises BodyError when it ended too soon."""
        ...


def digest_for(content_type: str | None) -> BodyDigest:
    """The digest that fits a content type.

    Raises:
        BodyError: it is multipart/form-data without a usable boundary.
    """
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        return RawDigest()
    boundary = options.get(b"boundary")
    if not boundary:
        raise BodyError("multipart/form-data without a boundary")
    return MultipartDigest(boundary)


class RawDigest:
    """Any body but multipart."""

    def __init__(self) -> None:
        self._size = 0
        self._hash = hashlib.sha256()

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self._size += len(data)
        self._hash.update(data)

    def finish(self) -> BodySummary:
        """Size and hash of what was taken."""
        return BodySummary(body_bytes=self._size, sha256=self._hash.hexdigest(), parts=None)


class MultipartDigest:
    """A multipart/form-data body (RFC 7578), parsed by python-multipart."""

    def __init__(self, boundary: bytes) -> None:
        self._size = 0
        self._complete = False
        self._parts: list[_Part] = []
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_name,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_part_data": self._add_data,
                    "on_end": self._end,
                },
            )
        except FormParserError as exc:
            raise BodyError(str(exc)) from exc

    def feed(self, data: bytes) -> None:
        """Take the next piece. Raises BodyError when it cannot be multipart."""
        self._size += len(data)
        try:
            self._parser.write(data)
        except FormParserError as exc:
            raise BodyError(str(exc)) from exc

    def finish(self) -> BodySummary:
        """The parts. Raises BodyError without a closing boundary, or when a part has no name."""
        if not self._complete:
            raise BodyError(f"the closing boundary is missing after {self._size} bytes")
        parts = [part.summary() for part in self._parts]
        return BodySummary(body_bytes=self._size, sha256=None, parts=parts)

    def _begin_part(self) -> None:
        self._parts.append(_Part())

    def _add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._parts[-1].field_name += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._parts[-1].field_value += data[start:end]

    def _end_header(self) -> None:
        part = self._parts[-1]
        part.fields[bytes(part.field_name).lower()] = bytes(part.field_value)
        part.field_name.clear()
        part.field_value.clear()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[-1]
        part.size += end - start
        part.hash.update(memoryview(data)[start:end])

    def _end(self) -> None:
        self._complete = True


@dataclass(slots=True)
class _Part:
    fields: dict[bytes, bytes] = field(default_factory=dict)
    field_name: bytearray = field(default_factory=bytearray)
    field_value: bytearray = field(default_factory=bytearray)
    size: int = 0
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def summary(self) -> PartSummary:
        _, options = parse_options_header(self.fields.get(b"content-disposition"))
        if b"name" not in options:
            raise BodyError("a part has no name in its Content-Disposition (RFC 7578 §4.2)")
        filename = options.get(b"filename")
        content_type = self.fields.get(b"content-type")
        return PartSummary(
            name=options[b"name"].decode("utf-8", "replace"),
            filename=None if filename is None else filename.decode("utf-8", "replace"),
            content_type=None if content_type is None else content_type.decode("latin-1"),
            size=self.size,
            sha256=self.hash.hexdigest(),
        )
