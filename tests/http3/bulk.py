"""Bodies for the bulk sender, over the virtual link."""

from __future__ import annotations

from tests.http3.pair import Pair, upload_head
from trilane.transport.errors import SourceError


class MemoryFile:
    """A file that counts its users and can fail."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.users = 1
        self.reads = 0
        self.broken_at: int | None = None
        """Reading beyond this offset fails."""

    def retain(self) -> None:
        assert self.users > 0
        self.users += 1

    def close(self) -> None:
        assert self.users > 0
        self.users -= 1

    def read_into(self, offset: int, view: memoryview) -> None:
        assert self.users > 0, "read after it was closed"
        end = offset + len(view)
        if self.broken_at is not None and end > self.broken_at:
            raise SourceError("the disk is gone")
        self.reads += 1
        view[:] = self.data[offset:end]


class BulkUpload:
    """A body of a head from memory, a file, and a tail from memory: like multipart."""

    def __init__(
        self, pair: Pair, content: bytes, *, head: bytes = b"<", tail: bytes = b">"
    ) -> None:
        self.pair = pair
        self.file = MemoryFile(content)
        self.body = head + content + tail
        self.stream_id = pair.machine.send_head(upload_head(len(self.body)), end=False, bulk=True)
        self.most_unsent = 0
        self.ended = False
        self._head = head
        self._tail = tail
        self._position = 0
        """In the file."""

    def feed(self) -> None:
        machine = self.pair.machine
        if self.ended:
            return
        if self._head:
            if machine.send_budget(self.stream_id) < len(self._head):
                return
            machine.send_body(self.stream_id, self._head, end=False)
            self._head = b""
        # As with real files, the last byte is not part of a range.
        while (left := len(self.file.data) - 1 - self._position) > 0:
            count = min(left, machine.range_budget(self.stream_id))
            if count <= 0:
                return
            machine.send_range(self.stream_id, self.file, self._position, count)
            self._position += count
        rest = self.file.data[-1:] + self._tail
        if machine.send_budget(self.stream_id) >= len(rest):
            machine.send_body(self.stream_id, rest, end=True)
            self.file.close()
            self.ended = True
