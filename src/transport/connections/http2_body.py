"""Long files on an HTTP/2 connection over TLS: read by the writer, where they are encrypted.

A request names the range of the file it is at, and the writer takes turns of it while the windows
allow: neither waits for the other meanwhile, and nothing is queued. Only ranges go this way.
Everything else, and the last byte of each file, is read and queued like the body of any other
request.
"""

from __future__ import annotations

from ..body import FileRange, FileRangeReader
from ..net.stream import PlaintextRoom
from ..protocols.http2_frames import HEADER_BYTES
from .exchange import Exchange
from .file_content import FileContent

#: Shorter bodies are not worth the preparations.
BULK_BYTES = 128 * 1024
#: A shorter range is read like bytes from memory: those are joined.
SHORT_RANGE_BYTES = 32 * 1024
#: Bytes of one turn: with a frame around each 16 KiB of it, which is as small as a peer may want
#: them (RFC 9113 §4.2), it makes 16 records of 16 KiB.
TURN_BYTES = 256 * 1024 - 16 * HEADER_BYTES
#: So much still fits one write (`LONGEST_FILL_BYTES`) with its headers. Windows are powers of two
#: as a rule, and without this one of 1 MiB would end in a turn of some hundred bytes each time.
LONGEST_TURN_BYTES = 264 * 1024 - 17 * HEADER_BYTES
#: Bytes looked for in the page cache at a time.
_RESIDENT_BYTES = 1024 * 1024


def is_bulk(exchange: Exchange) -> bool:
    """Whether ranges of files may be queued for the body."""
    length = exchange.head.content_length
    return exchange.high_performance and length is not None and length >= BULK_BYTES


def turn_of_one(window_bytes: int) -> int:
    """Bytes to send in one go when nobody else has anything to send."""
    return window_bytes if window_bytes <= LONGEST_TURN_BYTES else TURN_BYTES


class RangeFeed:
    """The file ranges of one body, one after the other, and the descriptors they need."""

    def __init__(self, reader: FileRangeReader) -> None:
        self.reader = reader
        self.offset = 0
        """Where in the file the next turn begins."""
        self.left = 0
        """Bytes of the current range that are not written yet."""
        self._resident_to = 0
        self._contents: list[FileContent] = []
        self._current: FileContent | None = None

    def next_range(self) -> FileRange | None:
        """What of a file comes next in the body; None when it is not to be sent as a range."""
        found = self.reader.file_range()
        if found is None or found.length < SHORT_RANGE_BYTES:
            # A file's last byte is read, so a descriptor that comes next is another file's, even
            # if its number is the same.
            self._current = None
            return None
        return found

    def begin(self, found: FileRange) -> None:
        """Go through a range.

        Raises:
            SourceError: there are no more descriptors.
        """
        if self._current is None:
            self._current = FileContent(found)
            self._contents.append(self._current)
        self.offset, self.left = found.offset, found.length
        self._resident_to = 0

    async def make_resident(self, count: int) -> None:
        """Have what comes next in the page cache, and as a rule more of it.

        Raises:
            SourceError: the file cannot be read.
        """
        if self.offset + count > self._resident_to:
            length = min(max(count, _RESIDENT_BYTES), self.left)
            await self._content.make_resident(self.offset, length)
            self._resident_to = self.offset + length

    def fill(self, room: PlaintextRoom, headers: list[tuple[bytes, int]]) -> None:
        """Lay frames out in the room, reading the file between their headers.

        Raises:
            SourceError: the file cannot be read, or has become shorter.
        """
        at, offset, content = 0, self.offset, self._content
        for header, size in headers:
            room.put(at, header)
            at += HEADER_BYTES
            content.read_into_places(offset, size, room.places(at, at + size))
            at, offset = at + size, offset + size

    def took(self, count: int) -> None:
        """The next bytes were written."""
        self.reader.skip(count)
        self.offset, self.left = self.offset + count, self.left - count

    def close(self) -> None:
        """Nothing of the body is to be written any more; idempotent."""
        self.left = 0
        contents, self._contents = self._contents, []
        for content in contents:
            content.close()

    @property
    def _content(self) -> FileContent:
        if self._current is None:
            raise RuntimeError("no range was begun")
        return self._current
