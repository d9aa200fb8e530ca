"""Long files on an HTTP/2 connection over TLS: named when queued, read when they are encrypted.

Only ranges go this way. Everything else, and the last byte of each file, is read and queued like
the body of any other request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..body import FileRange, FileRangeReader
from ..net.stream import PlaintextRoom
from ..protocols.http2_frames import HEADER_BYTES
from ..protocols.http2_queue import FileRun, OutChunk
from .exchange import Exchange
from .file_content import FileContent

#: Shorter bodies are not worth the preparations.
BULK_BYTES = 128 * 1024
#: A shorter range is read like bytes from memory: those are joined.
SHORT_RANGE_BYTES = 32 * 1024
#: Bytes of one range: with a frame around each 16 KiB of it, which is as small as a peer may want
#: them (RFC 9113 §4.2), it still fits one write (`LONGEST_FILL_BYTES`).
LONGEST_RANGE_BYTES = 256 * 1024


def is_bulk(exchange: Exchange) -> bool:
    """Whether ranges of files may be queued for the body."""
    length = exchange.head.content_length
    return exchange.high_performance and length is not None and length >= BULK_BYTES


class RangeFeed:
    """The file ranges of one body, and the descriptors they need until they are written."""

    def __init__(self, reader: FileRangeReader) -> None:
        self.reader = reader
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

    def content_of(self, found: FileRange) -> FileContent:
        """What the range is read from.

        Raises:
            SourceError: there are no more descriptors.
        """
        if self._current is None:
            self._current = FileContent(found)
            self._contents.append(self._current)
        return self._current

    def close(self) -> None:
        """Nothing of the body waits to be written any more; idempotent."""
        contents, self._contents = self._contents, []
        for content in contents:
            content.close()


@contextmanager
def files_kept_open(chunks: list[OutChunk]) -> Iterator[None]:
    """Keep the files of what is being written open, whoever gives its request up meanwhile."""
    contents = [chunk.run.content for chunk in chunks if chunk.run is not None]
    for content in contents:
        content.retain()
    try:
        yield
    finally:
        for content in contents:
            content.close()


def fill_from(run: FileRun, room: PlaintextRoom) -> None:
    """Lay frames out in the room, reading the file between their headers.

    Raises:
        SourceError: the file cannot be read, or has become shorter.
    """
    at, offset = 0, run.offset
    for header, size in run.headers:
        room.put(at, header)
        at += HEADER_BYTES
        run.content.read_into_places(offset, room.places(at, at + size))
        at, offset = at + size, offset + size
