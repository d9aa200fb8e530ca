"""Regular files as sources: by path, or as a file object whose descriptor is read by offset.

A file must keep the size it had when the source was made. The size is compared when a pass begins
and again before a file's last byte is handed out, so that no peer ever sees a complete body made
from a file that shrank or grew.
"""

from __future__ import annotations

import os
import stat
import time
from io import BufferedRandom, BufferedReader, FileIO

from ..body import FileRange
from ..errors import SourceError, SourceUnavailable, UsageError
from .chunks import require_readable
from .naming import name_of_file_object
from .positional import read_now
from .size import check_size
from .source import Source, SourceReader
from .threads import run_to_end

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO (named pipe)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
#: How long a file that was at hand is taken to be so: what was just read is not the first to leave
#: the kernel's caches.
_AT_HAND_S = 0.5
# O_NONBLOCK: should a FIFO take the path's place after stat(), opening it must not wait for a
# writer. O_NOCTTY: should a terminal, it must not become ours.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


async def path_source(path: str | os.PathLike[str]) -> PathSource:
    """Look at the file and remember its size.

    Raises:
        SourceUnavailable: it is missing, unreadable or not a regular file.
    """
    text = os.fsdecode(path)
    size, is_at_hand = await run_to_end(lambda: _inspect(text))
    return PathSource(text, size, is_at_hand=is_at_hand)


async def file_object_source(
    file: BufferedReader | BufferedRandom | FileIO,
) -> FileObjectSource | None:
    """Look at the file behind an open file object; None when it is not a regular file.

    Raises:
        UsageError: it is not open for reading.
        SourceUnavailable: it is closed, or its file cannot be read.
    """
    found = await run_to_end(lambda: _position_and_size(file))
    return None if found is None else FileObjectSource(file, *found)


class PathSource(Source):
    """A regular file by its path, opened anew for each pass.

    A thread opens it, unless it was at hand a moment ago: on a file system that asks no server, and
    in the page cache. Then opening it costs less than a tenth of what a thread does.
    """

    def __init__(self, path: str, size: int, *, is_at_hand: bool = False) -> None:
        self._path = path
        self._size = size
        self._at_hand_until_s = time.monotonic() + _AT_HAND_S if is_at_hand else 0.0
        self.filename = os.path.basename(path)  # noqa: PTH119 -- keeps undecodable bytes as they are

    @property
    def length(self) -> int:
        """Size of the file when the source was made."""
        return self._size

    @property
    def rewindable(self) -> bool:
        """Always."""
        return True

    async def open(self) -> FileReader:
        """Open the file."""
        if time.monotonic() < self._at_hand_until_s:
            fd = _open_sized(self._path, self._size)
        else:
            fd = await run_to_end(lambda: _open_sized(self._path, self._size), discard=os.close)
        return FileReader(fd, repr(self._path), start=0, length=self._size)


class FileObjectSource(Source):
    """What follows the position of an open file object, which is not moved.

    The descriptor is duplicated for each pass: the caller may close the object meanwhile.
    """

    def __init__(
        self, file: BufferedReader | BufferedRandom | FileIO, position: int, size: int
    ) -> None:
        self._file = file
        self._position = position
        self._size = size
        self.filename = name_of_file_object(file)

    @property
    def length(self) -> int:
        """Bytes from its position to its end when the source was made."""
        return max(0, self._size - self._position)

    @property
    def rewindable(self) -> bool:
        """Always, to the position it had."""
        return True

    async def open(self) -> FileReader:
        """Duplicate the descriptor."""
        fd = await run_to_end(self._duplicate, discard=os.close)
        return FileReader(fd, repr(self._file), start=self._position, length=self.length)

    def _duplicate(self) -> int:
        try:
            fd = os.dup(self._file.fileno())
        except (OSError, ValueError) as exc:
            raise SourceUnavailable(f"cannot read {self._file!r}: {exc}") from exc
        try:
            _check_file_size(fd, repr(self._file), self._position, self.length)
        except BaseException:
            os.close(fd)
            raise
        return fd


class FileReader(SourceReader):
    """One pass over a regular file; owns the descriptor."""

    def __init__(self, fd: int, name: str, *, start: int, length: int) -> None:
        self._fd = fd
        self._name = name
        self._start = start
        self._length = length
        self._done = 0

    @property
    def exhausted(self) -> bool:
        """Whether every byte was handed out."""
        return self._done == self._length

    async def readinto(self, buffer: memoryview) -> int:
        """Read from the page cache, else in a thread that is always waited for."""
        wanted = buffer[: self._length - self._done]
        if not wanted.nbytes:
            return 0
        count = read_now(self._fd, [wanted], self._start + self._done)
        if count is None:
            count = await run_to_end(lambda: self._read_blocking(wanted))
        elif self._done + count == self._length:
            # fstat() does not block here: file systems that ask a server for it have no
            # RWF_NOWAIT, and are read (and checked) in the thread.
            self._check()
        self._done += count
        return count

    def file_range(self) -> FileRange | None:
        """All that is left but the last byte, which `readinto` hands out after its check."""
        length = self._length - self._done - 1
        return FileRange(self._fd, self._start + self._done, length) if length > 0 else None

    def skip(self, count: int) -> None:
        """Pass over bytes of `file_range`."""
        if not 0 <= count < max(1, self._length - self._done):
            raise ValueError(f"{count} bytes are not in the current file range")
        self._done += count

    async def aclose(self) -> None:
        """Close the file. No thread uses it any more: each was waited for."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _read_blocking(self, wanted: memoryview) -> int:
        try:
            count = os.preadv(self._fd, [wanted], self._start + self._done)
        except OSError as exc:
            raise SourceError(f"cannot read {self._name}: {exc.strerror}") from exc
        if not count or self._done + count == self._length:
            self._check()
        if not count:
            raise SourceError(f"{self._name} ends before its size of {self._length} bytes")
        return count

    def _check(self) -> None:
        _check_file_size(self._fd, self._name, self._start, self._length)


def _inspect(path: str) -> tuple[int, bool]:
    """Size of a regular file that can be read, and whether it is at hand.

    Opens nothing that stat() shows to be else.
    """
    try:
        _require_regular(path, os.stat(path))  # noqa: PTH116 -- a descriptor follows
        fd = _open_regular(path)
    except (OSError, ValueError) as exc:
        raise _unavailable(path, exc) from exc
    try:
        size = _regular_size(fd)
        # File systems that ask a server have no reads that refuse to wait.
        is_at_hand = read_now(fd, [memoryview(bytearray(1))], 0) is not None
    except OSError as exc:
        raise _unavailable(path, exc) from exc
    finally:
        os.close(fd)
    if size is None:
        raise SourceUnavailable(
            f"{path!r} reports a size of 0 bytes but has content, as files made by the kernel do:"
            " open it and give the file object"
        )
    return size, is_at_hand


def _open_sized(path: str, size: int) -> int:
    try:
        fd = _open_regular(path)
    except (OSError, ValueError) as exc:
        raise _unavailable(path, exc) from exc
    try:
        _check_file_size(fd, repr(path), 0, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_regular(path: str) -> int:
    fd = os.open(path, _OPEN_FLAGS)
    try:
        _require_regular(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_regular(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "not a regular file")
        raise SourceUnavailable(f"{path!r} is {kind}; only regular files can be sent by path")


def _unavailable(path: str, exc: OSError | ValueError) -> SourceUnavailable:
    reason = exc.strerror if isinstance(exc, OSError) else str(exc)
    return SourceUnavailable(f"cannot open {path!r}: {reason}")


def _position_and_size(file: BufferedReader | BufferedRandom | FileIO) -> tuple[int, int] | None:
    try:
        require_readable(file, readable=file.readable())
        size = _regular_size(file.fileno())
        return None if size is None else (file.tell(), size)
    except UsageError:
        raise
    except (OSError, ValueError) as exc:
        raise SourceUnavailable(f"cannot read {file!r}: {exc}") from exc


def _regular_size(fd: int) -> int | None:
    """Size of a regular file; None for anything else, and for one that says 0 and has content."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        return None
    if found.st_size == 0 and os.pread(fd, 1, 0):
        return None
    return found.st_size


def _check_file_size(fd: int, name: str, start: int, length: int) -> None:
    try:
        actual = max(0, os.fstat(fd).st_size - start)
    except OSError as exc:
        raise SourceError(f"cannot read {name}: {exc.strerror}") from exc
    check_size(name, length, actual)
