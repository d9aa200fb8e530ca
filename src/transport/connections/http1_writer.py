"""The sending half of an HTTP/1.1 request: what to write at once, and what was taken of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from ..body import BodyReader, FileRangeReader
from ..buffers import Buffer
from ..errors import SourceSizeChanged
from ..net.stream import BulkStream, ByteStream, PromptStream
from ..net.transmit_stamps import SentSpan
from ..profile.moments import Ns
from ..protocols.http1 import SEND_BUFFER_BYTES, Http1Machine
from .kernel_moments import enter_stamps
from .request_stream import RequestStream

Rest = Callable[[], Awaitable[None]]
"""Sends what is left."""

#: Pieces up to this size are copied together into one write; bigger ones go alone, uncopied. A
#: copy of 64 KiB costs less than a second system call and a second packet.
_JOIN_BYTES = 64 * 1024
#: File bytes given to one `send_file`: the steps of the progress.
_FILE_STEP_BYTES = 1024 * 1024
#: Shorter ranges of a file are read into the buffer, where they can join what stands around them.
_FILE_RANGE_MIN_BYTES = 64 * 1024
#: Bodies that are worth the preparations of the fast way.
_BULK_BYTES = 128 * 1024


@dataclass(slots=True)
class _Batch:
    """What goes into one `send`, and which of its bytes belong to the body."""

    pieces: list[Buffer] = field(default_factory=list)
    byte_count: int = 0
    lead_bytes: int = 0
    """Framing before the body bytes."""
    body_bytes: int = 0

    @classmethod
    def of(cls, data: Buffer, body_bytes: int) -> Self:
        """A whole request, so many of its last bytes being its body."""
        return cls([data], len(data), len(data) - body_bytes, body_bytes)

    def add(self, piece: Buffer, *, is_body: bool) -> None:
        if is_body:
            self.lead_bytes, self.body_bytes = self.byte_count, len(piece)
        self.pieces.append(piece)
        self.byte_count += len(piece)

    def after(self, byte_count: int) -> _Batch:
        """What is left of it, without its pieces."""
        lead_bytes = max(self.lead_bytes - byte_count, 0)
        byte_count = self.byte_count - byte_count
        return _Batch([], byte_count, lead_bytes, byte_count - lead_bytes)

    def data(self) -> Buffer:
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)


@dataclass(slots=True)
class _Before:
    """Where the stream stood before a write."""

    accepted_bytes: int
    write_started_ns: Ns


class RequestWriter:
    """Gives one request to the byte stream and keeps account of what the system took of it.

    The account is right after every write, and after a failed or cancelled one as well.
    """

    def __init__(
        self,
        stream: ByteStream,
        prompt: PromptStream | None,
        machine: Http1Machine,
        request: RequestStream,
    ) -> None:
        """`prompt` is the stream again, if it is one."""
        self._stream = stream
        self._prompt = prompt
        self._machine = machine
        self._request = request
        self._accepted_before = stream.accepted_bytes
        self._wire_before = stream.wire.sent_bytes
        self._span: SentSpan | None = None
        if stream.stamps is not None and request.exchange.profile:
            self._span = stream.stamps.begin(self._wire_before)
        self._total_bytes = request.exchange.head.content_length
        self._tracks_acks = request.exchange.profile
        """Until the stream says that it cannot tell."""
        self._writing = False
        self._moved_bytes = -1
        self._moved_at_s = 0.0

    @property
    def sent_bytes(self) -> int:
        """Bytes of the request, head and framing included, that the operating system took."""
        return self._stream.accepted_bytes - self._accepted_before

    @property
    def never_written(self) -> bool:
        """Whether certainly not a byte of the request was given to the operating system."""
        return self._stream.wire.sent_bytes == self._wire_before

    async def send_head(self) -> None:
        """Send the head, which the machine has been given."""
        await self._flush(b"", end=False)

    def begin_whole(self, data: Buffer, body_bytes: int) -> Rest | None:
        """Send a whole request, in one write, as far as that goes without waiting.

        Args:
            data: the request, which the machine has let go of.
            body_bytes: how many of its last bytes are its body.

        Returns:
            What sends the rest; None when there is none.
        """
        self._request.end_queued = True
        prompt = self._prompt
        if prompt is None or len(data) > prompt.prompt_bytes:
            batch = _Batch.of(data, body_bytes)
            return partial(self._send_rest, partial(self._stream.send, data), batch)
        before = self._begin_write()
        took_all = False
        try:
            took_all = prompt.send_whole(data)
        finally:
            if took_all:
                self._account(before, body_bytes, end=True)
            else:
                batch = _Batch.of(data, body_bytes)
                self._settle(batch, before, end=True)
        if took_all:
            return None
        return partial(self._send_rest, prompt.send_rest, batch.after(self._taken_since(before)))

    async def send_from(self, reader: BodyReader) -> None:
        """Send the body to its end, or until the request says that it is to stop.

        Raises:
            SourceError: the body cannot be read, or ended before its announced length.
        """
        buffer = memoryview(bytearray(SEND_BUFFER_BYTES))
        files = self._files(reader)
        while not self._request.sending_over:
            if files is not None and await self._send_range(*files):
                continue
            count = await reader.readinto(buffer[: self._room_bytes()])
            if not self._request.sending_over:
                await self._send_body(buffer[:count], end=self._queue(count))

    def close_books(self) -> None:
        """Enter what the kernel noted, once the request's sample has been taken."""
        if self._span is not None and self._stream.stamps is not None:
            recorder = self._request.exchange.recorder
            enter_stamps(recorder, self._stream.stamps, self._span)

    @property
    def awaits_ack(self) -> bool:
        """Whether all was written, and it is worth looking whether it is acknowledged."""
        request = self._request
        return self._tracks_acks and request.end_flushed and not request.ledger.finished

    def poll_acked(self) -> None:
        """Look how much is acknowledged."""
        ledger = self._request.ledger
        if self._look():
            self._request.acked(ledger.acked_body_bytes, ledger.finished)

    def saw_acked(self, wire_bytes: int, at: Ns) -> None:
        """Take note of how many bytes of the wire were seen to be acknowledged."""
        ledger = self._request.ledger
        if ledger.acknowledged(wire_bytes):
            self._request.acked(ledger.acked_body_bytes, ledger.finished, at)

    def moved_at_s(self, now_s: float) -> float:
        """When a write in progress was last seen to move; now, when nothing waits for the peer.

        A big write on a slow link moves many times before it is done, so bytes are what counts. A
        new write has moved when it is first looked at.
        """
        moved_bytes = self._stream.wire.sent_bytes
        if not self._writing or moved_bytes != self._moved_bytes:
            self._moved_bytes, self._moved_at_s = moved_bytes, now_s
        return self._moved_at_s

    def _look(self) -> bool:
        """Ask the kernel how much is acknowledged; True when that told news."""
        ledger = self._request.ledger
        if not self._tracks_acks or ledger.finished:
            return False
        unacked_bytes = self._stream.unacked_bytes()
        if unacked_bytes is None:
            self._tracks_acks = False
            return False
        return ledger.acknowledged(self._stream.wire.sent_bytes - unacked_bytes)

    # --- writing ------------------------------------------------------------------------------

    async def _send_rest(self, send: Rest, batch: _Batch) -> None:
        before = self._begin_write()
        try:
            await send()
        finally:
            self._settle(batch, before, end=True)

    def _room_bytes(self) -> int:
        """How much may be read: never more than was announced."""
        if self._total_bytes is None:
            return SEND_BUFFER_BYTES
        return self._total_bytes - self._request.body_queued

    def _queue(self, byte_count: int) -> bool:
        """Count what was read, and say whether it was the end."""
        self._request.body_queued += byte_count
        if self._total_bytes is None:
            return byte_count == 0
        if byte_count == 0:
            raise ended_early(self._total_bytes, self._request.body_queued)
        return self._request.body_queued == self._total_bytes

    async def _send_body(self, data: Buffer, *, end: bool) -> None:
        self._give_body(data, end=end)
        await self._flush(data, end=end)

    def _give_body(self, data: Buffer, *, end: bool) -> None:
        if not self._request.end_queued:
            self._machine.send_body(self._request.stream_id, data, end=end)
            self._request.end_queued = end

    async def _flush(self, body: Buffer, *, end: bool) -> None:
        batches = list(_batches(self._machine.transmit(), body))
        for batch in batches:
            last = end and batch is batches[-1]
            before = self._begin_write()
            try:
                await self._stream.send(batch.data())
            finally:
                self._settle(batch, before, end=last)

    def _files(self, reader: BodyReader) -> tuple[BulkStream, FileRangeReader] | None:
        """Who sends files and who names them; asked once, for the question costs some 20 µs."""
        # Chunks would need framing around each piece, so the length must be known.
        if not self._may_go_in_bulk():
            return None
        sender = self._stream
        if not isinstance(sender, BulkStream) or not isinstance(reader, FileRangeReader):
            return None
        return (sender, reader) if sender.begin_bulk() else None

    def _may_go_in_bulk(self) -> bool:
        long = self._total_bytes is not None and self._total_bytes >= _BULK_BYTES
        return long and self._request.exchange.high_performance

    async def _send_range(self, sender: BulkStream, reader: FileRangeReader) -> bool:
        """Let the system send the next bytes straight from their file; False when it cannot."""
        found = reader.file_range()
        if found is None or found.length < _FILE_RANGE_MIN_BYTES:
            return False
        count = min(found.length, _FILE_STEP_BYTES)
        before = self._begin_write()
        try:
            await sender.send_file(found.fd, found.offset, count)
        finally:
            taken = self._taken_since(before)
            self._request.exchange.recorder.leg.high_performance |= taken > 0
            self._account(before, taken, end=False)
        self._machine.pass_body(self._request.stream_id, taken, end=False)
        self._request.body_queued += taken
        reader.skip(taken)
        # A file that ended early is for `readinto` to report.
        return taken == count

    def _begin_write(self) -> _Before:
        self._writing = True
        self._moved_bytes = -1
        return _Before(self._stream.accepted_bytes, self._stream.write_started_ns)

    def _settle(self, batch: _Batch, before: _Before, *, end: bool) -> None:
        """Note what became of a batch, the `end` of the request perhaps."""
        taken = self._stream.accepted_bytes - before.accepted_bytes
        body_bytes = min(max(taken - batch.lead_bytes, 0), batch.body_bytes)
        self._account(before, body_bytes, end=end and taken == batch.byte_count)

    def _taken_since(self, before: _Before) -> int:
        return self._stream.accepted_bytes - before.accepted_bytes

    def _account(self, before: _Before, body_bytes: int, *, end: bool) -> None:
        """Note what a write did that has just ended, whichever way."""
        self._writing = False
        stream = self._stream
        # Of a write cut short, TLS may have sent a part without being able to say which.
        if not self._taken_since(before) and stream.write_started_ns == before.write_started_ns:
            return
        if end and self._span is not None and stream.stamps is not None:
            stream.stamps.end(self._span, stream.wire.sent_bytes)
        body_sent = self._request.body_sent + body_bytes
        ledger = self._request.ledger
        if self._tracks_acks:
            ledger.wrote(stream.wire.sent_bytes, body_sent, end=end)
        # After the end it is asked while the response is waited for.
        acked_bytes = ledger.acked_body_bytes if not end and self._look() else None
        times = stream.write_started_ns, stream.write_ended_ns
        self._request.took(body_sent, *times, end=end, acked_bytes=acked_bytes)
        if acked_bytes is not None:
            self._request.acked(acked_bytes, ledger.finished)


def ended_early(declared_bytes: int, actual_bytes: int) -> SourceSizeChanged:
    """The error for a body that turned out shorter than its announced length."""
    return SourceSizeChanged(
        f"the body ended after {actual_bytes} of {declared_bytes} bytes",
        declared_bytes=declared_bytes,
        actual_bytes=actual_bytes,
    )


def _batches(pieces: list[Buffer], body: Buffer) -> Iterator[_Batch]:
    """Group pieces into writes: small ones joined, a big one alone."""
    batch = _Batch()
    for piece in pieces:
        is_big = len(piece) > _JOIN_BYTES
        if batch.pieces and (is_big or batch.byte_count > 2 * _JOIN_BYTES):
            yield batch
            batch = _Batch()
        batch.add(piece, is_body=piece is body)
        if is_big:
            yield batch
            batch = _Batch()
    if batch.pieces:
        yield batch
