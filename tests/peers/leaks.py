"""What a test may have left behind: open file descriptors."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def no_leaked_descriptors(settle_s: float = 2.0) -> Iterator[None]:
    """Fail if more descriptors are open after the block than before it.

    Worker threads may still be closing theirs when the block ends, so it looks until they are
    gone, for at most `settle_s`.
    """
    before = _open_descriptors()
    yield
    deadline = time.monotonic() + settle_s
    gc.collect()
    while leaked := _open_descriptors().items() - before.items():
        if time.monotonic() > deadline:
            raise AssertionError(f"descriptors left open: {sorted(leaked)}")
        time.sleep(0.01)


def _open_descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in Path("/proc/self/fd").iterdir():
        # The descriptor that lists the folder is gone by now.
        with suppress(FileNotFoundError):
            found[int(entry.name)] = str(entry.readlink())
    return found
