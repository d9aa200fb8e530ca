"""Files that cannot be sent, and files that change while they are sent."""

# ruff: noqa: ASYNC230, ASYNC240 -- the tests prepare their files with plain calls

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.body.reading import forbid_inline_reads, open_descriptors, read_all
from tests.peers.ordinary_user import ordinary_user
from trilane.transport.errors import (
    SourceError,
    SourceSizeChanged,
    SourceUnavailable,
    UsageError,
)
from trilane.transport.sources import content_body, files, source_from
from trilane.transport.sources.files import FileReader
from trilane.transport.sources.positional import read_now
from trilane.transport.sources.threads import run_to_end

SIZE = 200_000


@pytest.fixture(params=["inline", "thread"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds for reads from the page cache and for reads in a thread."""
    if request.param == "thread":
        forbid_inline_reads(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def directory(folder: Path) -> Path:
    return folder


def fifo(folder: Path) -> Path:
    path = folder / "fifo"
    os.mkfifo(path)
    return path


def unix_socket(folder: Path) -> Path:
    # The path of a bound socket may have about 100 characters only: name it from within.
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        handle = os.open(folder, os.O_PATH)
        server.bind(f"/proc/self/fd/{handle}/socket")
        os.close(handle)
    return path


def missing(folder: Path) -> Path:
    return folder / "missing"


def below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "x"


def dangling_link(folder: Path) -> Path:
    (folder / "link").symlink_to("nowhere")
    return folder / "link"


@pytest.mark.parametrize(
    ("make", "explanation"),
    [
        (missing, "No such file"),
        (dangling_link, "No such file"),
        (below_a_file, "Not a directory"),
        (directory, "is a directory"),
        (fifo, "is a FIFO"),
        (unix_socket, "is a socket"),
        (lambda _: Path("/dev/zero"), "is a character device"),
        (lambda _: Path("/proc/self/status"), "reports a size of 0 bytes but has content"),
        # Reading one's own memory at address 0 fails.
        (lambda _: Path("/proc/self/mem"), "Input/output error"),
        (lambda _: "", "No such file"),
        (lambda _: "nul\0byte", "embedded null"),
        (lambda _: "\ud800", "encode"),
    ],
)
async def test_only_regular_files_can_be_sent_by_path(
    make: Callable[[Path], str | os.PathLike[str]], explanation: str, tmp_path: Path
) -> None:
    path = make(tmp_path)

    with pytest.raises(SourceUnavailable, match=explanation) as caught:
        await source_from(path)
    assert repr(os.fspath(path)) in str(caught.value)


async def test_a_file_that_may_not_be_read_is_noticed_when_it_is_given(path: Path) -> None:
    path.chmod(0)

    with ordinary_user(), pytest.raises(SourceUnavailable, match="Permission denied"):
        await source_from(path)


async def test_no_descriptor_is_kept_between_passes(path: Path) -> None:
    await source_from(path)  # starts what anyio keeps open
    before = open_descriptors()
    source = await source_from(path)
    assert open_descriptors() == before

    reader = await source.open()
    assert len(open_descriptors() - before) == 1
    await reader.aclose()
    await reader.aclose()

    assert open_descriptors() == before


@pytest.mark.parametrize("at_hand_s", [0.0, 60.0])
async def test_a_file_that_is_at_hand_is_opened_without_a_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch, at_hand_s: float
) -> None:
    monkeypatch.setattr(files, "_AT_HAND_S", at_hand_s)
    with path.open("rb") as file:
        is_at_hand = read_now(file.fileno(), [memoryview(bytearray(1))], 0) is not None
    source = await source_from(path)
    threads = 0

    async def counted(call: Callable[[], int], **options: Callable[[int], object]) -> int:
        nonlocal threads
        threads += 1
        return await run_to_end(call, **options)

    monkeypatch.setattr(files, "run_to_end", counted)
    reader = await source.open()
    await reader.aclose()

    assert threads == (0 if is_at_hand and at_hand_s else 1)


async def test_a_file_that_vanished_or_turned_into_a_fifo_is_noticed_at_the_next_pass(
    path: Path,
) -> None:
    source = await source_from(path)
    path.unlink()
    with pytest.raises(SourceUnavailable, match="No such file"):
        await source.open()

    os.mkfifo(path)
    before = open_descriptors()
    with pytest.raises(SourceUnavailable, match="is a FIFO"):
        await source.open()
    assert open_descriptors() == before


@pytest.mark.parametrize("change_bytes", [-SIZE, -1, 1, SIZE])
@pytest.mark.parametrize("sent_bytes", [0, 1, SIZE // 2, SIZE - 1])
async def test_a_change_of_size_is_an_error_before_the_last_byte_is_handed_out(
    path: Path, change_bytes: int, sent_bytes: int
) -> None:
    reader = await (await content_body(path)).open()
    found = bytearray()
    if sent_bytes:
        buffer = memoryview(bytearray(sent_bytes))
        while len(found) < sent_bytes:
            found += buffer[: await reader.readinto(buffer[: sent_bytes - len(found)])]

    os.truncate(path, SIZE + change_bytes)
    buffer = memoryview(bytearray(70_000))
    with pytest.raises(SourceSizeChanged) as caught:  # noqa: PT012 -- in whichever step
        while count := await reader.readinto(buffer):
            found += buffer[:count]
    await reader.aclose()

    assert len(found) < SIZE
    assert (caught.value.declared_bytes, caught.value.actual_bytes) == (SIZE, SIZE + change_bytes)
    assert str(SIZE) in str(caught.value)
    assert str(SIZE + change_bytes) in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("change_bytes", [-SIZE, -1, 1])
async def test_a_file_that_changed_before_the_pass_is_not_begun(
    path: Path, change_bytes: int
) -> None:
    with path.open("rb") as file:
        sources = [await source_from(path), await source_from(file)]
        os.truncate(path, SIZE + change_bytes)

        for source in sources:
            before = open_descriptors()
            with pytest.raises(SourceSizeChanged):
                await source.open()
            assert open_descriptors() == before


async def test_a_size_is_counted_from_the_position_of_a_file_object(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(SIZE - 10)
        source = await source_from(file)
        assert source.length == 10
        os.truncate(path, SIZE - 4)

        with pytest.raises(SourceSizeChanged) as caught:
            await source.open()
    assert (caught.value.declared_bytes, caught.value.actual_bytes) == (10, 6)


async def test_a_file_object_beyond_its_end_is_empty(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(SIZE + 5)
        source = await source_from(file)

        assert source.length == 0
        assert await read_all(source) == b""


async def test_a_file_object_may_be_closed_while_its_file_is_sent(path: Path) -> None:
    with path.open("rb") as file:
        reader = await (await content_body(file)).open()
    # Another file takes the number of the closed descriptor.
    with (path.parent / "other").open("wb+") as other:
        other.write(b"other" * SIZE)
        found = memoryview(bytearray(SIZE + 1))
        filled = 0
        while count := await reader.readinto(found[filled:]):
            filled += count
    await reader.aclose()

    assert bytes(found[:filled]) == path.read_bytes()


async def test_a_file_object_that_was_closed_before_is_unavailable(path: Path) -> None:
    with path.open("rb") as file:
        source = await source_from(file)

    with pytest.raises(SourceUnavailable, match="closed"):
        await source.open()
    with pytest.raises(SourceUnavailable, match="closed"):
        await source_from(file)


@pytest.mark.parametrize("buffering", [0, -1])
async def test_a_file_object_for_writing_only_is_refused(path: Path, buffering: int) -> None:
    with path.open("ab", buffering=buffering) as file, pytest.raises(UsageError, match="reading"):
        await source_from(file)


async def test_a_kernel_file_is_sent_as_a_file_object_without_a_length() -> None:
    with Path("/proc/self/cmdline").open("rb") as file:
        source = await source_from(file)

        assert (source.length, source.rewindable) == (None, False)
        assert await read_all(source) == Path("/proc/self/cmdline").read_bytes()


async def test_a_device_is_sent_as_a_file_object_without_a_length() -> None:
    with Path("/dev/zero").open("rb") as file:
        source = await source_from(file)
        reader = await source.open()

        assert source.length is None
        assert await reader.readinto(memoryview(bytearray(5))) == 5
        await reader.aclose()


async def test_an_empty_file_is_an_empty_body(path: Path) -> None:
    os.truncate(path, 0)

    assert (await content_body(path)).length == 0
    assert await read_all(await content_body(path)) == b""


async def test_a_read_error_is_a_source_error(path: Path) -> None:
    # A descriptor for writing stands in for a disk that fails.
    reader = FileReader(os.open(path, os.O_WRONLY), "the disk", start=0, length=SIZE)

    with pytest.raises(SourceError, match="cannot read the disk: Bad file descriptor"):
        await reader.readinto(memoryview(bytearray(10)))
    await reader.aclose()


async def test_memory_that_changes_its_size_is_noticed() -> None:
    file = io.BytesIO(b"0123456789")
    reader = await (await content_body(file)).open()
    assert await reader.readinto(memoryview(bytearray(4))) == 4
    file.seek(0, io.SEEK_END)
    file.write(b"more")

    with pytest.raises(SourceSizeChanged) as caught:
        await reader.readinto(memoryview(bytearray(100)))
    assert (caught.value.declared_bytes, caught.value.actual_bytes) == (10, 14)

    file.close()
    with pytest.raises(SourceError, match="closed"):
        await reader.readinto(memoryview(bytearray(100)))
    with pytest.raises(SourceUnavailable, match="closed"):
        await source_from(file)
