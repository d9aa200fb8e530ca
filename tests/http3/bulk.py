"""Bodies for the bulk sender, over the virtual link."""

from __future__ import annotations

from tests.http3.pair import Pair, Upload, upload_head
from trilane.transport.errors import SourceError
from trilane.transport.protocols.events import ResponseEnded


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
        self.read_into_places(offset, len(view), [view])

    def read_into_places(self, offset: int, length: int, places: list[memoryview]) -> None:
        assert self.users > 0, "read after it was closed"
        assert length == sum(map(len, places))
        end = offset + length
        if self.broken_at is not None and end > self.broken_at:
            raise SourceError("the disk is gone")
        self.reads += 1
        for place in places:
            place[:] = self.data[offset : offset + len(place)]
            offset += len(place)


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


def begin(pair: Pair, *contents: bytes) -> list[BulkUpload]:
    uploads = [BulkUpload(pair, content) for content in contents]

    def feed() -> None:
        for upload in uploads:
            upload.feed()

    pair.each_step = feed
    return uploads


def finish(pair: Pair, *uploads: BulkUpload | Upload) -> None:
    pair.run(lambda: len(pair.of_kind(ResponseEnded)) == len(uploads), max_steps=100_000)
    for upload in uploads:
        received = pair.server.requests[upload.stream_id]
        assert received.ended
        assert bytes(received.body) == upload.body
    pair.run(
        lambda: all(pair.machine.acked_body(upload.stream_id)[1] for upload in uploads),
        max_steps=10_000,
    )
    for upload in uploads:
        assert pair.machine.acked_body(upload.stream_id) == (len(upload.body), True)
        if isinstance(upload, BulkUpload):
            assert upload.file.users == 0
    pair.run(lambda: pair.machine.recovery().bytes_in_flight == 0)
    assert pair.machine.close_cause is None
