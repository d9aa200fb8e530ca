"""Receipts from servers that do not write any: nghttpd echoes a body, gtlsserver dumps it.

The bodies come from the server, are parsed by the foreign parsers here, and the header fields are
taken from the server's own log, so nothing in a receipt stems from the sender.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.foreign_parsers import (
    SMALL_BODY_BYTES,
    boundary_of,
    read_with_python_multipart,
    second_opinions,
)
from tests.peers.receipt import Receipt

_HEX_COLUMNS = slice(10, 58)
_FULL_ROW_BYTES = 16

_DUMPED_REQUEST = re.compile(rb"http: stream 0x([0-9a-f]+) request headers started")
_DUMPED_FIELD = re.compile(rb"http: stream 0x([0-9a-f]+) \[([^\]]+?): (.*)\]")
_DUMPED_BODY = re.compile(rb"http: stream 0x([0-9a-f]+) body \d+ bytes")
_DUMPED_ROW = re.compile(rb"([0-9a-f]{8})  (.*)")
_LOGGED_FIELD = re.compile(r"\[id=(\d+)\] \[.*?\] recv \(stream_id=(\d+)\) (:?[^:]+): (.*)")


@dataclass(slots=True)
class LoggedRequest:
    """What a server's log tells of one request."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    def receipt(self) -> Receipt:
        """Read the logged body."""
        return receipt_of(self.headers, bytes(self.body))


def receipt_of(headers: Sequence[tuple[str, str]], body: bytes) -> Receipt:
    """Receipt of a body that is at hand, read by the foreign parsers when it is multipart."""
    fields = dict(headers)
    boundary = boundary_of(fields.get("content-type", ""))
    parts, parsers, disagreement = None, tuple[str, ...](), None
    if boundary:
        parts = read_with_python_multipart(body, boundary)
        kept = body if len(body) <= SMALL_BODY_BYTES else None
        parsers, disagreement = second_opinions(kept, boundary, parts)
    length = fields.get("content-length")
    return Receipt(
        method=fields[":method"],
        target=fields[":path"],
        headers=tuple(headers),
        content_length=None if length is None else int(length),
        body_bytes=len(body),
        body_sha256=hashlib.sha256(body).hexdigest(),
        parts=parts,
        parsers=parsers,
        disagreement=disagreement,
    )


class LogFollower:
    """Reads what a server logs from now on."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = log.stat().st_size

    def lines(self) -> Iterator[bytes]:
        """Complete lines written since this object was made."""
        with self._log.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if line.endswith(b"\n"):
                    yield line.rstrip(b"\n")


def requests_in_nghttpd_log(follower: LogFollower) -> list[LoggedRequest]:
    """Header fields of every request, in order of arrival (needs `--verbose`)."""
    requests: dict[tuple[str, str], LoggedRequest] = {}
    for line in follower.lines():
        if found := _LOGGED_FIELD.match(line.decode("latin-1")):
            connection, stream, name, value = found.groups()
            request = requests.setdefault((connection, stream), LoggedRequest())
            request.headers.append((name, value))
    return list(requests.values())


def requests_in_gtlsserver_log(follower: LogFollower) -> list[LoggedRequest]:
    """Header fields and body of every request, in order of arrival.

    Streams are told apart, connections are not: for requests that do not overlap, or that share
    one connection.
    """
    requests: list[LoggedRequest] = []
    open_streams: dict[bytes, LoggedRequest] = {}
    dump = _HexDump()
    for line in follower.lines():
        if dump.take(line):
            continue
        if found := _DUMPED_REQUEST.match(line):
            open_streams[found[1]] = request = LoggedRequest()
            requests.append(request)
        elif found := _DUMPED_FIELD.match(line):
            name, value = found[2].decode("latin-1"), found[3].decode("latin-1")
            open_streams[found[1]].headers.append((name, value))
        elif found := _DUMPED_BODY.match(line):
            dump.begin(open_streams[found[1]].body)
    return requests


class _HexDump:
    """Undoes one `hexdump -C`: rows of 16 bytes, `*` for repeated rows, the end offset last."""

    def __init__(self) -> None:
        self._target: bytearray | None = None
        self._base = 0
        self._repeat = False

    def begin(self, target: bytearray) -> None:
        """Append the rows that follow to `target`."""
        self._target = target
        self._base = len(target)
        self._repeat = False

    def take(self, line: bytes) -> bool:
        """Take a line if it belongs to the dump."""
        if self._target is None:
            return False
        if line == b"*":
            self._repeat = True
            return True
        if len(line) == len("00000000"):
            self._fill(int(line, 16))
            self._target = None
            return True
        if not _DUMPED_ROW.match(line):
            self._target = None
            return False
        self._fill(int(line[:8], 16))
        self._target += bytes.fromhex(line[_HEX_COLUMNS].decode("ascii"))
        return True

    def _fill(self, offset: int) -> None:
        if self._repeat and self._target is not None:
            row = self._target[-_FULL_ROW_BYTES:]
            missing = offset - (len(self._target) - self._base)
            self._target += row * (missing // _FULL_ROW_BYTES)
            self._repeat = False
