"""Sources that hand out chunks of their own size; the reader keeps what did not fit."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

import anyio.lowlevel

from ..errors import Phase, UsageError
from .source import SourceReader

END: Final = object()
"""What `ChunkReader.pull` returns instead of a chunk at the end."""
_NOTHING = memoryview(b"")


def byte_view(piece: object, owner: str, phase: Phase | None = None) -> memoryview:
    """A flat view of a bytes-like object, without copying it.

    Raises:
        UsageError: it is a str, or anything else that is not bytes; `owner` says whose it was.
    """
    if type(piece) is bytes:
        return memoryview(piece) if piece else _NOTHING
    if isinstance(piece, str):
        raise UsageError(
            f"{owner} gave a str; a body is bytes: encode it, or open the file in binary mode",
            phase=phase,
        )
    try:
        view = memoryview(piece)  # type: ignore[arg-type]  # anything else is refused below
    except TypeError:
        raise UsageError(
            f"{owner} gave {type(piece).__name__} instead of bytes", phase=phase
        ) from None
    if not view.c_contiguous:
        raise UsageError(f"{owner} gave a memoryview that is not contiguous", phase=phase)
    return view.cast("B") if view.nbytes else _NOTHING


def require_readable(file: object, *, readable: bool) -> None:
    """Refuse a file object that was opened for writing only."""
    if not readable:
        raise UsageError(f"{file!r} is not open for reading")


class ChunkReader(SourceReader):
    """One pass over a source that decides itself how much it gives at a time.

    A chunk is let go before the next is asked for: a generator may fill one bytearray over and
    over.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = _NOTHING
        self._pulling = False
        self.ended = False

    @property
    def at_hand(self) -> bool:
        """Whether a part of a chunk is left, or nothing follows."""
        return bool(self._rest.nbytes) or self.ended

    @property
    def exhausted(self) -> bool:
        """Whether the end was seen and everything before it handed out."""
        return self.ended and not self._rest.nbytes

    async def readinto(self, buffer: memoryview) -> int:
        """Copy the rest of the last chunk, or else wait for the next one."""
        while not self._rest.nbytes:
            if self.ended:
                return 0
            await self._pull_next()
        count = min(buffer.nbytes, self._rest.nbytes)
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    @abstractmethod
    async def pull(self) -> object:
        """The next chunk, of whatever type the source gives, or `END`."""

    async def _pull_next(self) -> None:
        if self._pulling:
            # The chunk that was on its way is lost; going on would leave a hole in the body.
            raise RuntimeError("this reader was cancelled before and can only be closed")
        self._rest = _NOTHING
        self._pulling = True
        chunk = await self.pull()
        if chunk is END:
            self.ended = True
        else:
            self._rest = byte_view(chunk, self._name, Phase.SEND)
            if not self._rest.nbytes:
                # A source that gives empty chunks for ever must not hold the event loop.
                await anyio.lowlevel.checkpoint()
        self._pulling = False
