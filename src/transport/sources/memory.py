"""Bytes that are in memory already: bytes-like objects, lists of them, and `io.BytesIO`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO

from ..buffers import Buffer
from ..errors import SourceError, SourceUnavailable
from .chunks import byte_view
from .size import check_size
from .source import Source, SourceReader


class MemorySource(Source):
    """One or several bytes-like objects, sent one after the other without joining them.

    They are not copied: a bytearray cannot be resized while its source exists (`BufferError`).
    """

    __slots__ = ("_length", "_pieces")

    def __init__(self, pieces: list[Buffer]) -> None:
        """Take pieces as `flat_pieces` gives them; the list is kept."""
        self._pieces = pieces
        self._length = sum(map(len, pieces))

    def in_memory(self) -> Sequence[Buffer]:
        """The pieces; some may be empty."""
        return self._pieces

    @property
    def length(self) -> int:
        """Bytes of all pieces together."""
        return self._length

    @property
    def rewindable(self) -> bool:
        """Always."""
        return True

    async def open(self) -> MemoryReader:
        """Begin at the first piece."""
        return MemoryReader(tuple([memoryview(piece) for piece in self._pieces if piece]))


def flat_pieces(pieces: Iterable[Buffer]) -> list[Buffer]:
    """The same pieces, those that are not plain bytes as flat views.

    Raises:
        UsageError: one is not bytes.
    """
    # Views of bytes are made when they are read: few are.
    return [piece if type(piece) is bytes else byte_view(piece, "the list") for piece in pieces]


class MemoryReader(SourceReader):
    """One pass over bytes-like objects."""

    def __init__(self, views: tuple[memoryview, ...]) -> None:
        self._views = views
        self._index = 0
        self._offset = 0

    @property
    def exhausted(self) -> bool:
        """Whether every byte was handed out."""
        return self._index == len(self._views)

    async def readinto(self, buffer: memoryview) -> int:
        """Copy as much as fits."""
        filled = 0
        while filled < buffer.nbytes and not self.exhausted:
            view = self._views[self._index]
            count = min(buffer.nbytes - filled, view.nbytes - self._offset)
            buffer[filled : filled + count] = view[self._offset : self._offset + count]
            filled += count
            self._offset += count
            if self._offset == view.nbytes:
                self._index += 1
                self._offset = 0
        return filled

    async def aclose(self) -> None:
        """Let go of the objects."""
        self._index = len(self._views)


class BytesIOSource(Source):
    """What follows the position of an `io.BytesIO`, which is not moved.

    Its buffer is borrowed for each step only, so its owner may write to it between them; a change
    of size is then noticed.
    """

    def __init__(self, file: BytesIO) -> None:
        self._file = file
        try:
            self._start = file.tell()
            self._length = max(0, file.getbuffer().nbytes - self._start)
        except ValueError as exc:
            raise SourceUnavailable(f"cannot read {file!r}: {exc}") from exc

    @property
    def length(self) -> int:
        """Bytes from its position to its end when the source was made."""
        return self._length

    @property
    def rewindable(self) -> bool:
        """Always, to the position it had."""
        return True

    async def open(self) -> BytesIOReader:
        """Begin at the position it had."""
        return BytesIOReader(self._file, self._start, self._length)


class BytesIOReader(SourceReader):
    """One pass over an `io.BytesIO`."""

    def __init__(self, file: BytesIO, start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._length = length
        self._done = 0

    @property
    def exhausted(self) -> bool:
        """Whether every byte was handed out."""
        return self._done == self._length

    async def readinto(self, buffer: memoryview) -> int:
        """Copy as much as fits, if the size is still the same."""
        try:
            borrowed = self._file.getbuffer()
        except ValueError as exc:
            raise SourceError(f"{self._file!r} was closed while it was being sent") from exc
        with borrowed as view:
            check_size(repr(self._file), self._length, max(0, view.nbytes - self._start))
            count = min(buffer.nbytes, self._length - self._done)
            begin = self._start + self._done
            with view[begin : begin + count] as piece:
                buffer[:count] = piece
        self._done += count
        return count

    async def aclose(self) -> None:
        """Nothing was opened."""
