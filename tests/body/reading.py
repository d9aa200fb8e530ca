"""What the tests of bodies share: ways to read one to its end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from trilane.transport.body import Body, BodyReader, FileRangeReader
from trilane.transport.sources import positional


async def read_all(body: Body, *, step_bytes: int = 65536) -> bytes:
    """Read one pass into a buffer of a fixed size that is used over and over."""
    reader = await body.open()
    try:
        return await drain(reader, step_bytes=step_bytes)
    finally:
        await reader.aclose()


async def drain(reader: BodyReader, *, step_bytes: int = 65536) -> bytes:
    """Read what is left."""
    buffer = memoryview(bytearray(step_bytes))
    found = bytearray()
    while count := await reader.readinto(buffer):
        found += buffer[:count]
    return bytes(found)


async def drain_by_ranges(reader: FileRangeReader, *, step_bytes: int) -> bytes:
    """Read what is left as a bulk sender does: from the descriptors, where there are ranges."""
    buffer = memoryview(bytearray(step_bytes))
    found = bytearray()
    while True:
        if wanted := reader.file_range():
            piece = os.pread(wanted.fd, min(step_bytes, wanted.length), wanted.offset)
            reader.skip(len(piece))
            found += piece
            if piece:
                continue
        count = await reader.readinto(buffer)
        if not count:
            return bytes(found)
        found += buffer[:count]


def forbid_inline_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system without RWF_NOWAIT: every read goes to a thread."""
    monkeypatch.setattr(positional, "_NO_WAIT", None)


def open_descriptors() -> set[tuple[int, int, int]]:
    """Descriptors of this process that are files, pipes or sockets, with what they stand for."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            status = os.fstat(int(entry.name))
        except OSError:
            continue  # the descriptor that listed the folder
        if not stat.S_ISDIR(status.st_mode):
            found.add((int(entry.name), status.st_dev, status.st_ino))
    return found
