"""Whatever a file is given as, its bytes come out the same, for any buffer, again and again."""

from __future__ import annotations

import array
import gzip
import io
import mmap
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.body.reading import forbid_inline_reads, read_all
from trilane.transport.errors import SourceNotRewindable
from trilane.transport.sources import content_body, source_from

CONTENT = bytes(range(256)) * 300
MAKERS: dict[str, Callable[[Path], Any]] = {}


class OnlyRead:
    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 1000))


class OnlyReadInto:
    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def readinto(self, buffer: bytearray) -> int:
        return self._file.readinto(buffer)


class Again:
    """An iterable that is no iterator."""

    def __iter__(self) -> Iterator[bytes]:
        yield from (CONTENT[:5], b"", CONTENT[5:])


class AsyncAgain:
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield CONTENT[:5]
        yield b""
        yield CONTENT[5:]


def maker(function: Callable[[Path], Any]) -> Callable[[Path], Any]:
    MAKERS[function.__name__] = function
    return function


def stored(folder: Path, content: bytes) -> Path:
    path = folder / "photo.jpg"
    path.write_bytes(content)
    return path


@maker
def path(folder: Path) -> Path:
    return stored(folder, CONTENT)


@maker
def path_as_text(folder: Path) -> str:
    return str(stored(folder, CONTENT))


@maker
def anyio_path(folder: Path) -> anyio.Path:
    return anyio.Path(stored(folder, CONTENT))


@maker
def plain_bytes(_: Path) -> bytes:
    return CONTENT


@maker
def bytes_array(_: Path) -> bytearray:
    return bytearray(CONTENT)


@maker
def view_of_numbers(_: Path) -> memoryview:
    return memoryview(array.array("I", CONTENT))


@maker
def number_array(_: Path) -> array.array[int]:
    return array.array("H", CONTENT)


@maker
def list_of_bytes(_: Path) -> list[bytes | bytearray | memoryview]:
    return [CONTENT[:10], b"", bytearray(CONTENT[10:20]), memoryview(CONTENT[20:])]


@maker
def bytes_io(_: Path) -> io.BytesIO:
    file = io.BytesIO(b"skipped" + CONTENT)
    file.seek(7)
    return file


@maker
def buffered_file(folder: Path) -> io.BufferedReader:
    file = stored(folder, b"skipped" + CONTENT).open("rb")
    assert file.read(7) == b"skipped"
    return file


@maker
def raw_file(folder: Path) -> io.FileIO:
    file = stored(folder, b"skipped" + CONTENT).open("rb", buffering=0)
    file.seek(7)
    return file


@maker
def read_write_file(folder: Path) -> io.BufferedRandom:
    file = stored(folder, b"skipped").open("r+b")
    file.seek(7)
    file.write(CONTENT)  # not flushed
    file.seek(7)
    return file


@maker
def temporary_file(_: Path) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by the test
    file.write(CONTENT)
    file.seek(0)
    return file


@maker
def named_temporary_file(_: Path) -> Any:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 -- closed by the test
    file.write(CONTENT)
    file.seek(0)
    return file


@maker
def gzip_file(folder: Path) -> gzip.GzipFile:
    path = folder / "photo.jpg"
    path.write_bytes(gzip.compress(b"skipped" + CONTENT))
    file = gzip.GzipFile(path)
    file.read(7)
    return file


@maker
def buffer_over_gzip(folder: Path) -> io.BufferedReader:
    # Its exact type is BufferedReader, and its fileno() is the compressed file's.
    return io.BufferedReader(gzip_file(folder))


@maker
def memory_map(folder: Path) -> mmap.mmap:
    with stored(folder, b"skipped" + CONTENT).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.seek(7)
    return mapped


@maker
def iterable(_: Path) -> Again:
    return Again()


@maker
def async_iterable(_: Path) -> AsyncAgain:
    return AsyncAgain()


@maker
def only_read(_: Path) -> OnlyRead:
    return OnlyRead(CONTENT)


@maker
def only_readinto(_: Path) -> OnlyReadInto:
    return OnlyReadInto(CONTENT)


@maker
def generator(_: Path) -> Iterator[bytes]:
    return (CONTENT[at : at + 1000] for at in range(0, len(CONTENT), 1000))


@maker
def async_generator(_: Path) -> AsyncIterator[bytes]:
    return AsyncAgain().__aiter__()


@maker
def reused_chunk(_: Path) -> Iterator[bytearray]:
    """A generator that fills, and even resizes, one bytearray over and over."""
    chunk = bytearray()
    for at in range(0, len(CONTENT), 997):
        chunk[:] = CONTENT[at : at + 997]
        yield chunk


ONE_SHOT = {"only_read", "only_readinto", "generator", "async_generator", "reused_chunk"}
UNKNOWN_LENGTH = ONE_SHOT | {"iterable", "async_iterable"}
NAMED = {
    "path", "path_as_text", "anyio_path", "buffered_file", "raw_file", "read_write_file",
    "gzip_file", "buffer_over_gzip",
}  # fmt: skip


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def value(kind: str, tmp_path: Path) -> Iterator[Any]:
    made = MAKERS[kind](tmp_path)
    yield made
    if hasattr(made, "close"):
        made.close()


@pytest.mark.parametrize("step_bytes", [1000, 65536, 1 << 20])
@pytest.mark.parametrize("threads_only", [False, True])
async def test_all_bytes_arrive_and_length_says_how_many(
    value: Any, kind: str, step_bytes: int, threads_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if threads_only:
        forbid_inline_reads(monkeypatch)
    source = await source_from(value)

    assert await read_all(source, step_bytes=step_bytes) == CONTENT
    assert source.length == (None if kind in UNKNOWN_LENGTH else len(CONTENT))


async def test_one_byte_at_a_time_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    made = MAKERS[kind](tmp_path)
    reader = await (await source_from(made)).open()
    buffer = memoryview(bytearray(1))
    found = bytearray()
    while len(found) < 1500 and await reader.readinto(buffer):
        found += buffer
    await reader.aclose()
    if hasattr(made, "close"):
        made.close()

    assert bytes(found) == CONTENT[:1500]


async def test_a_rewindable_source_is_sent_again_from_its_start(value: Any, kind: str) -> None:
    source = await source_from(value)
    reader = await source.open()
    await reader.readinto(memoryview(bytearray(100)))
    await reader.aclose()

    assert source.rewindable == (kind not in ONE_SHOT)
    if source.rewindable:
        assert await read_all(source) == CONTENT
        assert await read_all(source) == CONTENT
    else:
        with pytest.raises(SourceNotRewindable, match="sent again"):
            await source.open()


async def test_a_source_that_nothing_was_taken_from_can_always_be_opened_again(value: Any) -> None:
    source = await source_from(value)
    for _ in range(2):
        await (await source.open()).aclose()

    assert await read_all(source) == CONTENT


async def test_plain_files_and_memory_keep_their_position(tmp_path: Path) -> None:
    for made in (bytes_io(tmp_path), buffered_file(tmp_path), raw_file(tmp_path)):
        await read_all(await source_from(made))

        assert made.tell() == 7
        made.close()


async def test_a_source_suggests_its_base_name_and_content_type(value: Any, kind: str) -> None:
    source = await source_from(value)

    if kind in NAMED:
        assert source.filename == "photo.jpg"
        assert source.content_type == "image/jpeg"
    elif kind != "named_temporary_file":
        assert source.filename is None
        assert source.content_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.txt", "text/plain"),
        ("a.PNG", "image/png"),
        ("a.json", "application/json"),
        ("a.tar.gz", "application/gzip"),
        ("a.xz", "application/x-xz"),
        ("a", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        (".png", "application/octet-stream"),
        ("data:text/html,x.png", "image/png"),
        ("what?.png", "image/png"),
    ],
)
async def test_the_content_type_is_that_of_the_bytes_sent(
    name: str, content_type: str, tmp_path: Path
) -> None:
    (tmp_path / name.replace("/", "_")).write_bytes(b"x")

    assert (await source_from(tmp_path / name.replace("/", "_"))).content_type == content_type


async def test_an_empty_buffer_is_refused_because_0_means_the_end() -> None:
    reader = await (await content_body(b"x")).open()

    with pytest.raises(ValueError, match="empty"):
        await reader.readinto(memoryview(b""))


async def test_a_closed_reader_does_not_pretend_that_the_body_ended() -> None:
    reader = await (await content_body(b"x")).open()
    await reader.aclose()
    await reader.aclose()

    assert reader.file_range() is None
    with pytest.raises(ValueError, match="skip"):
        reader.skip(1)
    with pytest.raises(RuntimeError, match="closed"):
        await reader.readinto(memoryview(bytearray(1)))


@given(
    pieces=st.lists(st.binary(max_size=20), max_size=5),
    steps=st.lists(st.integers(1, 30), min_size=1, max_size=10),
)
async def test_any_pieces_through_any_buffers(pieces: list[bytes], steps: list[int]) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    for value in (pieces, io.BytesIO(b"".join(pieces)), stream()):
        reader = await (await content_body(value)).open()
        found = bytearray()
        turn = 0
        while True:
            buffer = memoryview(bytearray(steps[turn % len(steps)]))
            count = await reader.readinto(buffer)
            if not count:
                break
            found += buffer[:count]
            turn += 1
        await reader.aclose()

        assert bytes(found) == b"".join(pieces)
