"""What an HTTP/3 request's stream carries, kept until it is acknowledged or read again when lost.

Bytes from memory are kept; bytes of a file are not: they are read when they are sent, and again
when they are lost. aioquic's `QuicStreamSender` takes this in place of its `bytearray`, so its
bookkeeping of what is pending, sent and acknowledged stays its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol, Self

from aioquic.quic.packet_builder import QuicPacketBuilderStop

from ..buffers import Buffer
from ..errors import SourceError


class RangeSource(Protocol):
    """A file whose bytes can be read at any offset, as often as needed."""

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` with the bytes that begin at this offset of the file.

        Raises:
            SourceError: they cannot be read, or are not there any more.
        """
        ...

    def read_into_places(self, offset: int, length: int, places: list[memoryview]) -> None:
        """Fill all `places`, of this length together, with the bytes from this offset on.

        Raises:
            SourceError: they cannot be read, or are not there any more.
        """
        ...

    def retain(self) -> None:
        """Count one more user."""
        ...

    def close(self) -> None:
        """Count one user less; the last one closes the file."""
        ...


@dataclass(frozen=True, slots=True)
class SourceRange(Sized):
    """Bytes of a file, as something that can be queued on a stream like bytes."""

    source: RangeSource
    offset: int
    length: int

    def __len__(self) -> int:
        return self.length


@dataclass(slots=True)
class _Segment:
    start: int
    """Where it begins in the stream."""
    end: int
    data: bytes | None
    """None for bytes of a file."""
    source: RangeSource | None = None
    offset: int = 0

    def read_into(self, start: int, view: memoryview) -> None:
        skipped = start - self.start
        if self.source is not None:
            self.source.read_into(self.offset + skipped, view)
        elif self.data is not None:
            view[:] = memoryview(self.data)[skipped : skipped + len(view)]

    def read_into_places(self, start: int, stop: int, places: list[memoryview]) -> None:
        skipped = start - self.start
        if self.source is not None:
            self.source.read_into_places(self.offset + skipped, stop - start, places)
        elif self.data is not None:
            data = memoryview(self.data)
            for place in places:
                end = skipped + len(place)
                place[:] = data[skipped:end]
                skipped = end


class StreamContent:
    """A queue of stream bytes: grows at its end, is read anywhere, shrinks from its front.

    Indices of `[]` and `del` count from the front, as with the `bytearray` it stands for; the other
    methods take stream offsets.
    """

    __slots__ = ("_ends", "_segments", "_start", "_stop", "failure", "kept_bytes")

    def __init__(self, head: bytes) -> None:
        self._start = 0
        self._stop = 0
        self._segments: list[_Segment] = []
        self._ends: list[int] = []
        self.kept_bytes = 0
        """Bytes that take memory."""
        self.failure: SourceError | None = None
        """Why bytes could not be read; the stream is of no use then."""
        self += head

    # --- what a bytearray does ----------------------------------------------------------------

    def __len__(self) -> int:
        return self._stop - self._start

    def __iadd__(self, data: Buffer | SourceRange) -> Self:
        """Append; a range of a file gets a user more."""
        if isinstance(data, SourceRange):
            self._append_range(data)
        elif data:
            self.kept_bytes += len(data)
            self._append(_Segment(self._stop, self._stop + len(data), bytes(data)))
        return self

    def __getitem__(self, part: slice) -> bytes:
        """Copy; a read that fails stops the packet that was being built, and `failure` says why."""
        piece = bytearray(part.stop - part.start)
        try:
            self.read_into(self._start + part.start, memoryview(piece))
        except SourceError as exc:
            raise QuicPacketBuilderStop from exc
        return bytes(piece)

    def __delitem__(self, part: slice) -> None:
        """Drop bytes from the front."""
        self.release(self._start + part.stop)

    # --- by stream offset ---------------------------------------------------------------------

    def read_into(self, start: int, view: memoryview) -> None:
        """Fill `view` with the bytes from this stream offset on; they must have been appended.

        Raises:
            SourceError: a file cannot be read; `failure` keeps it.
        """
        index = bisect_right(self._ends, start)
        position = 0
        while position < len(view):
            segment = self._segments[index]
            count = min(segment.end - start, len(view) - position)
            try:
                segment.read_into(start, view[position : position + count])
            except SourceError as exc:
                self.failure = exc
                raise
            position, start, index = position + count, start + count, index + 1

    def read_into_places(self, start: int, stop: int, places: list[memoryview]) -> None:
        """Fill `places`, one after the other, with the bytes between two stream offsets.

        Raises:
            SourceError: a file cannot be read; `failure` keeps it.
        """
        segment = self._segments[bisect_right(self._ends, start)]
        if stop > segment.end:
            for place in places:
                self.read_into(start, place)
                start += len(place)
            return
        try:
            segment.read_into_places(start, stop, places)
        except SourceError as exc:
            self.failure = exc
            raise

    def release(self, stop: int) -> None:
        """Drop everything below this stream offset: it was acknowledged."""
        self._start = stop
        if self._ends and self._ends[0] <= stop:
            self._drop(bisect_right(self._ends, stop))

    def close(self) -> None:
        """Drop everything, because nothing of it is sent any more; idempotent."""
        self._drop(len(self._segments))
        self._start = self._stop

    # --- inside -------------------------------------------------------------------------------

    def _append_range(self, added: SourceRange) -> None:
        start, stop = self._stop, self._stop + added.length
        last = self._segments[-1] if self._segments else None
        if (
            last is not None
            and last.source is added.source
            and last.offset + last.end - last.start == added.offset
        ):
            last.end = self._stop = self._ends[-1] = stop
            return
        added.source.retain()
        self._append(_Segment(start, stop, None, added.source, added.offset))

    def _append(self, segment: _Segment) -> None:
        self._segments.append(segment)
        self._ends.append(segment.end)
        self._stop = segment.end

    def _drop(self, count: int) -> None:
        for segment in self._segments[:count]:
            if segment.source is not None:
                segment.source.close()
            elif segment.data is not None:
                self.kept_bytes -= len(segment.data)
        del self._segments[:count], self._ends[:count]
