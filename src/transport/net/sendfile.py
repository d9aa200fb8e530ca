"""The file's side of `sendfile`: the event loop must not sleep while the disk works.

`sendfile` on a non-blocking socket waits for no peer, but it does wait for the disk. So each piece
is first looked for in the page cache, and fetched into it by a worker thread when it is not there.
"""

from __future__ import annotations

import errno
import os

import anyio.to_thread

from ..errors import SourceError

#: Bytes passed to one `sendfile`, and looked for in the page cache beforehand. The look costs two
#: system calls of about 1 µs. Measured on loopback (CUBIC): 1 MiB takes 100-500 µs in the kernel;
#: with pieces of 512 KiB, what Python does between them made it a tenth slower.
PIECE_BYTES = 1024 * 1024

# Linux only; elsewhere 0, which makes every look a blocking read: then a thread does it always.
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
# sendfile(2): the file system or the sandbox does not offer it for this file.
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_FILE_ERRORS = frozenset({errno.EIO, errno.ESTALE, errno.EOVERFLOW, errno.ENXIO})


async def make_resident(fd: int, offset: int, count: int) -> None:
    """Bring a piece of a file into the page cache, unless its first and last byte are there.

    The worker thread is waited for even when the caller is cancelled: it uses the caller's `fd`.

    Raises:
        SourceError: the file cannot be read.
    """
    if not (_is_resident(fd, offset) and _is_resident(fd, offset + count - 1)):
        await read_piece(fd, offset, count)


async def read_piece(fd: int, offset: int, count: int) -> bytes:
    """Read a piece of a file in a worker thread; empty at its end.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        return await anyio.to_thread.run_sync(os.pread, fd, count, offset)
    except OSError as exc:
        raise unreadable(exc) from exc


def is_unsupported(exc: OSError) -> bool:
    """Whether `sendfile` does not work with this file, as opposed to having failed."""
    return exc.errno in _UNSUPPORTED


def is_file_error(exc: OSError) -> bool:
    """Whether a failed `sendfile` failed on the file rather than on the socket."""
    return exc.errno in _FILE_ERRORS


def unreadable(exc: OSError) -> SourceError:
    """The error for a file that cannot be read; the caller raises it from `exc`."""
    return SourceError(f"the file cannot be read while it is being sent: {exc.strerror or exc}")


def _is_resident(fd: int, offset: int) -> bool:
    if not _NOWAIT:
        return False
    try:
        os.preadv(fd, [bytearray(1)], offset, _NOWAIT)
    except OSError:
        return False
    return True
