"""Files that go out through `sendfile`."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.net.support import connected, pattern, receive_all, receive_exactly
from tests.peers.leaks import no_leaked_descriptors
from trilane.transport.errors import ConnectionLost, SourceError

MIB = 1024 * 1024
OpenFile = Callable[[int], int]


@pytest.fixture
def open_file(tmp_path: Path) -> Iterator[OpenFile]:
    """Opens a new file of a given size; closes what it opened."""
    opened: list[int] = []

    def make(count: int) -> int:
        path = tmp_path / f"{len(opened)}.bin"
        path.write_bytes(pattern(count))
        opened.append(os.open(path, os.O_RDWR))
        return opened[-1]

    yield make
    for fd in opened:
        os.close(fd)


@pytest.mark.parametrize(("offset", "count"), [(0, 0), (0, 1), (5, 1000), (0, 3 * MIB), (7, MIB)])
async def test_a_range_arrives_and_is_counted(open_file: OpenFile, offset: int, count: int) -> None:
    fd = open_file(offset + count + 10)
    with connected() as (stream, peer):
        await stream.send(b"head")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_check, peer, b"head" + pattern(offset + count)[offset:])
            assert await stream.send_file(fd, offset, count) == count
        assert stream.accepted_bytes == stream.wire.sent_bytes == 4 + count
        assert not stream.broken


async def test_a_file_in_the_page_cache_needs_no_thread(
    open_file: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = open_file(MIB)
    if not _in_page_cache(fd):
        pytest.skip("this file system does not tell what is in the page cache")
    monkeypatch.setattr(os, "pread", _failing(errno.EIO))  # what a thread would call
    with connected() as (stream, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_check, peer, pattern(MIB))
            assert await stream.send_file(fd, 0, MIB) == MIB


async def test_a_file_on_the_disk_is_fetched_by_a_thread(
    open_file: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []
    real = os.pread

    def watched(fd: int, count: int, offset: int) -> bytes:
        fetched.append(threading.get_ident())
        return real(fd, count, offset)

    fd = open_file(2 * MIB)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    if _in_page_cache(fd):
        pytest.skip("this file system keeps the file in memory whatever it is told")
    monkeypatch.setattr(os, "pread", watched)
    with connected() as (stream, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_check, peer, pattern(2 * MIB))
            assert await stream.send_file(fd, 0, 2 * MIB) == 2 * MIB
    assert fetched
    assert threading.get_ident() not in fetched


async def test_a_file_that_ends_early_says_so(open_file: OpenFile) -> None:
    fd = open_file(1000)
    with connected() as (stream, peer):
        assert await stream.send_file(fd, 0, 5000) == 1000
        assert await stream.send_file(fd, 2000, 10) == 0
        assert receive_exactly(peer, 1000) == pattern(1000)
        assert stream.accepted_bytes == 1000
        assert not stream.broken


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
async def test_where_sendfile_does_not_work_the_file_is_copied(
    open_file: OpenFile, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "sendfile", _failing(code))
    fd = open_file(MIB)
    with connected() as (stream, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_check, peer, pattern(MIB))
            assert await stream.send_file(fd, 0, MIB + 5) == MIB
        assert stream.accepted_bytes == MIB


async def test_a_disk_error_is_the_files_fault(
    open_file: OpenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sendfile", _failing(errno.EIO))
    with connected() as (stream, _):
        with pytest.raises(SourceError, match="cannot be read"):
            await stream.send_file(open_file(10), 0, 10)
        assert stream.broken


async def test_a_bad_descriptor_is_the_files_fault() -> None:
    with connected() as (stream, _), pytest.raises(SourceError, match="cannot be read"):
        await stream.send_file(10**6, 0, 10)


async def test_a_peer_that_is_gone_is_not(open_file: OpenFile) -> None:
    fd = open_file(8 * MIB)
    with connected() as (stream, peer):
        await stream.send(b"unread")
        peer.close()
        with pytest.raises(ConnectionLost), anyio.fail_after(5):
            await stream.send_file(fd, 0, 8 * MIB)
        assert stream.broken


async def test_cancelled_it_counts_exactly_and_leaves_nothing(open_file: OpenFile) -> None:
    fd = open_file(32 * MIB)
    with no_leaked_descriptors(), connected() as (stream, peer):
        with anyio.move_on_after(0.05) as scope:
            await stream.send_file(fd, 0, 32 * MIB)
        assert scope.cancelled_caught
        assert stream.broken
        stream.close()
        arrived = await anyio.to_thread.run_sync(receive_all, peer)
        assert len(arrived) == stream.accepted_bytes > 0
        assert arrived == pattern(len(arrived))


async def _check(peer: socket.socket, expected: bytes) -> None:
    assert await anyio.to_thread.run_sync(receive_exactly, peer, len(expected)) == expected


def _in_page_cache(fd: int) -> bool:
    try:
        return os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT) == 1
    except OSError:
        return False


def _failing(code: int) -> Callable[..., int]:
    def fail(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail
