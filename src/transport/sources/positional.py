"""Reading a regular file at an offset: at once when the page cache has it, else in a thread."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .threads import run_to_end

# Linux >= 4.14; ext4, XFS and btrfs have it, tmpfs, NFS and FUSE answer EOPNOTSUPP.
_NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)


def read_now(fd: int, buffers: Sequence[memoryview], offset: int) -> int | None:
    """Read what is in the page cache into `buffers`; never blocks.

    Returns:
        How many bytes were read, at least 1 and perhaps fewer than asked for; None when only a
        blocking read can tell: not cached, at the end of the file, not supported, or an error.
    """
    if _NO_WAIT is None:
        return None
    try:
        count = os.preadv(fd, buffers, offset, _NO_WAIT)
    except OSError:
        return None
    # preadv2(2), BUGS: Linux 5.9 and 5.10 may return 0 before the end of the file.
    return count or None


async def read_at(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
    """Read into `buffers` without blocking the event loop; 0 only at the end of the file.

    Raises:
        OSError: the file cannot be read.
    """
    count = read_now(fd, buffers, offset)
    if count is None:
        count = await run_to_end(lambda: os.preadv(fd, buffers, offset))
    return count
