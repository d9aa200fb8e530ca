"""A file whose bytes are read when a datagram needs them, and again when one was lost."""

from __future__ import annotations

import os

from ..body import FileRange
from ..errors import SourceSizeChanged
from ..net.sendfile import make_resident, unreadable


class FileContent:
    """A `RangeSource` with a descriptor of its own, open while anybody uses it.

    It reads without waiting for anyone but the page cache, into which the caller brings what is
    queued: 64 KiB take about 20 µs. Only what was dropped from there meanwhile waits for the disk,
    which a loss may cause under memory pressure.
    """

    __slots__ = ("_announced_bytes", "_fd", "_users")

    def __init__(self, found: FileRange) -> None:
        """Duplicate the descriptor; the one who makes it is its first user.

        Raises:
            SourceError: there are no more descriptors.
        """
        # The last byte of a file is never in a range.
        self._announced_bytes = found.offset + found.length + 1
        self._users = 1
        try:
            self._fd = os.dup(found.fd)
        except OSError as exc:
            raise unreadable(exc) from exc

    def retain(self) -> None:
        """Count one more user."""
        self._users += 1

    def close(self) -> None:
        """Count one user less; the last one closes the file."""
        self._users -= 1
        if self._users == 0:
            os.close(self._fd)

    async def make_resident(self, offset: int, count: int) -> None:
        """Bring bytes into the page cache; one more user while it waits.

        Raises:
            SourceError: the file cannot be read.
        """
        self.retain()
        try:
            await make_resident(self._fd, offset, count)
        finally:
            self.close()

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view`; see `RangeSource`."""
        done = 0
        while done < len(view):
            try:
                count = os.preadv(self._fd, [view[done:]], offset + done)
            except OSError as exc:
                raise unreadable(exc) from exc
            if count == 0:
                raise self._changed()
            done += count

    def read_into_places(self, offset: int, length: int, places: list[memoryview]) -> None:
        """Fill all `places`, one after the other, as a rule in one call; see `RangeSource`."""
        try:
            count = os.preadv(self._fd, places, offset)
        except OSError as exc:
            raise unreadable(exc) from exc
        if count == length:
            return
        for place in places:
            # Short of all, what is missing is read place by place.
            if count < len(place):
                self.read_into(offset + count, place[count:])
            offset, count = offset + len(place), max(count - len(place), 0)

    def _changed(self) -> SourceSizeChanged:
        actual_bytes = os.fstat(self._fd).st_size
        return SourceSizeChanged(
            f"a file changed while it was being sent: {self._announced_bytes} bytes were announced,"
            f" {actual_bytes} are there now",
            declared_bytes=self._announced_bytes,
            actual_bytes=actual_bytes,
        )
