"""What a receiver says it got: a body, its parts, and how independent parsers read them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """One part of a multipart body."""

    name: str
    filename: str | None
    content_type: str | None
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """One request as a receiver saw it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    content_length: int | None
    """The Content-Length field; None when the body came without one."""
    body_bytes: int
    body_sha256: str
    parts: tuple[ReceivedPart, ...] | None
    """None when the body is not multipart/form-data."""
    parsers: tuple[str, ...]
    """The parsers that read the body and agreed on `parts`."""
    disagreement: str | None = None
    """How a parser differed from the first one."""

    def to_json(self) -> bytes:
        """Encode for the wire."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes | str) -> Receipt:
        """Decode what `to_json` wrote."""
        data = json.loads(text)
        parts = data["parts"]
        return cls(
            method=data["method"],
            target=data["target"],
            headers=tuple((name, value) for name, value in data["headers"]),
            content_length=data["content_length"],
            body_bytes=data["body_bytes"],
            body_sha256=data["body_sha256"],
            parts=None if parts is None else tuple(ReceivedPart(**part) for part in parts),
            parsers=tuple(data["parsers"]),
            disagreement=data["disagreement"],
        )
