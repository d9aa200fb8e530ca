"""Feeds a long body to the bulk sender of an HTTP/3 connection.

Ranges of files are only named: they are read when they are sent. Everything else, and the last byte
of each file, is read and queued like the body of any other request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..body import BodyReader, FileRange, FileRangeReader
from ..net.sendfile import make_resident
from ..protocols.http3 import Http3Machine
from .exchange import Exchange
from .file_content import FileContent
from .request_stream import RequestStream

#: Shorter bodies are sent by aioquic: a few datagrams are no train.
BULK_BYTES = 128 * 1024
#: A shorter range of a file is read like bytes from memory.
_SHORT_RANGE_BYTES = 32 * 1024
#: Bytes of a file queued at once.
PIECE_BYTES = 1024 * 1024

Wait = Callable[[RequestStream], Awaitable[None]]
QueueRead = Callable[[], Awaitable[bool]]


def is_bulk(exchange: Exchange) -> bool:
    """Whether the bulk sender is to carry the body."""
    length = exchange.head.content_length
    return exchange.high_performance and length is not None and length >= BULK_BYTES


class BulkBody:
    """One pass over a body that goes to the bulk sender."""

    def __init__(
        self,
        machine: Http3Machine,
        stream: RequestStream,
        reader: BodyReader,
        *,
        wait: Wait,
        kick: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            machine: where the bytes are queued.
            stream: the request.
            reader: the body.
            wait: waits until something happened to the request.
            kick: wakes the sender.
        """
        self._machine = machine
        self._stream = stream
        # Looked at once: what a protocol asks of each attribute takes as long as queueing a piece.
        self._reader = reader if isinstance(reader, FileRangeReader) else None
        self._wait = wait
        self._kick = kick
        self._content: FileContent | None = None

    async def queue(self, queue_read: QueueRead) -> None:
        """Queue the whole body, unless it is stopped before its end.

        Args:
            queue_read: reads and queues what comes next; False once the end is queued.

        Raises:
            SourceError: the source failed.
            WriteTimeout: the peer took nothing.
        """
        more = True
        try:
            while more and not self._stream.sending_over:
                found = self._long_range()
                if found is None:
                    # A file's last byte comes this way, so a descriptor that comes next is another
                    # file's, even if its number is the same.
                    self._leave_file()
                    more = await queue_read()
                else:
                    await self._pass_on(found)
        finally:
            self._leave_file()

    def _long_range(self) -> FileRange | None:
        if self._reader is None:
            return None
        found = self._reader.file_range()
        return found if found is not None and found.length >= _SHORT_RANGE_BYTES else None

    async def _pass_on(self, found: FileRange) -> None:
        room = self._machine.range_budget(self._stream.stream_id)
        if room < min(PIECE_BYTES, found.length):
            await self._wait(self._stream)
            return
        count = min(PIECE_BYTES, found.length)
        await make_resident(found.fd, found.offset, count)
        if self._stream.sending_over or self._reader is None:
            return
        content = self._content_of(found)
        self._machine.send_range(self._stream.stream_id, content, found.offset, count)
        self._reader.skip(count)
        self._stream.body_queued += count
        self._kick()

    def _content_of(self, found: FileRange) -> FileContent:
        if self._content is None:
            self._content = FileContent(found)
        return self._content

    def _leave_file(self) -> None:
        """The machine keeps the file open for as long as it needs it."""
        content, self._content = self._content, None
        if content is not None:
            content.close()
