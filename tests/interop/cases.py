"""What the matrix uploads, and what must arrive."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trilane
from tests.peers.receipt import ReceivedPart

MIB = 1 << 20
GIB = 1 << 30
FULL_SIZES = os.environ.get("TRILANE_FULL_SIZES") == "1"
"""Whether cells that are smaller by default, to save minutes, upload the whole gigabyte too."""
HUGE_TIMEOUT_S = 1500 if FULL_SIZES else 300
AWKWARD_NAME = 'naïve "q" 文件.bin'


@dataclass(frozen=True, slots=True)
class Upload:
    """Arguments of one upload and the parts it must arrive as."""

    files: Sequence[trilane.Part]
    form: Sequence[tuple[str, str]]
    expected: tuple[ReceivedPart, ...]
    length_known: bool = True


Case = Callable[[Path], Upload]


def empty_file(folder: Path) -> Upload:
    return _of_one_file(folder / "empty.bin", b"")


def one_byte(folder: Path) -> Upload:
    return _of_one_file(folder / "one.bin", b"\x00")


def one_mebibyte(folder: Path) -> Upload:
    return _of_one_file(folder / "mebibyte.bin", _noise(MIB))


def awkward_name(folder: Path) -> Upload:
    return _of_one_file(folder / AWKWARD_NAME, _noise(1000))


def five_files_with_ten_fields(folder: Path) -> Upload:
    """Fields first, in order, a repeated name and an empty value among them."""
    form = [(f"field {number}", f"value {number} äß文\r\n") for number in range(8)]
    form += [("field 0", "again"), ("empty", "")]
    paths = [folder / f"file-{number}.dat" for number in range(5)]
    contents = [_noise(size) for size in (0, 1, 8191, 65536, 300_000)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    parts = [trilane.Part("files", path) for path in paths]
    expected = [_field(name, value) for name, value in form]
    expected += [
        _file("files", path.name, content) for path, content in zip(paths, contents, strict=True)
    ]
    return Upload(parts, form, tuple(expected))


def async_iterator_without_length(_folder: Path) -> Upload:
    """Chunked on HTTP/1.1, ended by the stream's end on HTTP/2 and HTTP/3."""
    content = _noise(200_000)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 7001):
            yield content[start : start + 7001]

    part = trilane.Part("file", pieces(), filename="stream.bin")
    expected = (_file("file", "stream.bin", content),)
    return Upload([part], [], expected, length_known=False)


CASES: tuple[Case, ...] = (
    empty_file,
    one_byte,
    one_mebibyte,
    awkward_name,
    five_files_with_ten_fields,
    async_iterator_without_length,
)


@dataclass(frozen=True, slots=True)
class HugeFile:
    """A file too large to be held in memory, with its hash."""

    path: Path
    size: int
    sha256: str


def make_huge_file(folder: Path, size: int) -> HugeFile:
    """Write a file in which no block of a mebibyte equals another."""
    path, digest = folder / "huge.bin", hashlib.sha256()
    noise = os.urandom(MIB - 8)
    with path.open("wb") as file:
        for number in range(size // MIB):
            block = number.to_bytes(8, "big") + noise
            digest.update(block)
            file.write(block)
    return HugeFile(path, size, digest.hexdigest())


def _of_one_file(path: Path, content: bytes) -> Upload:
    path.write_bytes(content)
    part = trilane.Part("file", path)
    return Upload([part], [("a", "1")], (_field("a", "1"), _file("file", path.name, content)))


def _field(name: str, value: str) -> ReceivedPart:
    data = value.encode()
    return ReceivedPart(name, None, None, len(data), hashlib.sha256(data).hexdigest())


def _file(name: str, filename: str, content: bytes) -> ReceivedPart:
    kind = "application/octet-stream"
    return ReceivedPart(name, filename, kind, len(content), hashlib.sha256(content).hexdigest())


def _noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)
