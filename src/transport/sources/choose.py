"""The one function that decides what a value given as a file, or as a whole body, is."""

from __future__ import annotations

import inspect
import mimetypes
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from io import BufferedRandom, BufferedReader, BytesIO, FileIO, TextIOBase
from typing import cast

from ..buffers import Buffer
from ..errors import UsageError
from .files import file_object_source, path_source
from .iterators import AsyncIterableSource, IterableSource
from .memory import BytesIOSource, MemorySource, flat_pieces
from .naming import load_type_table
from .source import FileInput, ReadableFile, ReadIntoFile, Source
from .streams import stream_source, unmeasured_source

_EXPECTED = "a path, bytes, a binary file object, or an iterator of bytes"


async def source_from(value: FileInput) -> Source:
    """Make a source of a value, and look at files once: they must exist, and get their length.

    - A `str` or `os.PathLike` is the path of a regular file.
    - Bytes-like objects, lists and tuples of them, and `io.BytesIO` (from its position) are used
      where they are, without a copy.
    - A binary file object is sent from its current position. A plain file (`open(path, "rb")`)
      is read by offset and keeps its position; any other object is read, and sought back to be
      sent again when it is seekable.
    - Iterators and iterables of bytes, synchronous (run in a thread) or asynchronous.

    Raises:
        UsageError: it is none of these, or gives text.
        SourceUnavailable: the file is missing, unreadable or not a regular file.
    """
    if not mimetypes.inited:
        await load_type_table()
    if type(value) is bytes:
        return MemorySource([value])
    if isinstance(value, (list, tuple)) or _is_buffer(value):
        pieces = value if isinstance(value, (list, tuple)) else (value,)
        return MemorySource(flat_pieces(cast("Iterable[Buffer]", pieces)))
    if isinstance(value, (str, os.PathLike)):
        return await path_source(value)
    if isinstance(value, AsyncIterable):
        return AsyncIterableSource(value)
    if hasattr(value, "read") or hasattr(value, "readinto"):
        return await _file_source(value)
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        return IterableSource(cast("Iterable[Buffer]", value))
    raise UsageError(f"expected {_EXPECTED}, not {type(value).__name__}")


async def _file_source(file: object) -> Source:
    if isinstance(file, TextIOBase):
        raise UsageError(f"{file!r} is a text file: open it in binary mode ('rb')")
    if inspect.iscoroutinefunction(getattr(file, "read", None)):
        raise UsageError(f"{file!r} is read asynchronously: give an async iterator of its bytes")
    # Exact types only: a subclass, or a buffer over something else (a GzipFile, whose fileno() is
    # the compressed file's), may give other bytes than the descriptor does.
    if type(file) is BytesIO:
        return BytesIOSource(file)
    if type(file) is FileIO:
        return await _plain_source(file)
    if type(file) in (BufferedReader, BufferedRandom):
        buffered = cast("BufferedReader | BufferedRandom", file)
        if type(buffered.raw) is FileIO:
            return await _plain_source(buffered)
    return await stream_source(cast("ReadableFile | ReadIntoFile", file))


async def _plain_source(file: BufferedReader | BufferedRandom | FileIO) -> Source:
    return await file_object_source(file) or unmeasured_source(file)


def _is_buffer(value: object) -> bool:
    # What can be read like a file (an mmap) has a position to be respected.
    if isinstance(value, os.PathLike) or hasattr(value, "read"):
        return False
    try:
        memoryview(cast("bytes", value)).release()
    except TypeError:
        return False
    return True
