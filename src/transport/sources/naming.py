"""File names that sources suggest for themselves, and content types guessed from them."""

from __future__ import annotations

import mimetypes
import os
from functools import lru_cache
from pathlib import PurePosixPath

from .threads import run_to_end

_UNKNOWN_TYPE = "application/octet-stream"
# `mimetypes` tells the type of what is inside a compressed file; what is sent is the outside.
_COMPRESSED_TYPES = {
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}


def guess_content_type(filename: str | None) -> str:
    """Media type by the file name's ending; `application/octet-stream` when that says nothing."""
    if filename is None:
        return _UNKNOWN_TYPE
    endings = _endings(filename)
    lowered = endings.lower()
    if lowered in mimetypes.types_map and not (
        # These stand for two endings, or for a coding.
        endings.rfind(".") > 0
        or lowered in mimetypes.suffix_map
        or endings in mimetypes.encodings_map
    ):
        # What guess_type comes to, without reading a URL first.
        return mimetypes.types_map[lowered]
    # Only the endings are shown to guess_type, which takes anything before them for a URL.
    inner, encoding = mimetypes.guess_type("file" + endings)
    if encoding is not None:
        return _COMPRESSED_TYPES.get(encoding, _UNKNOWN_TYPE)
    return inner or _UNKNOWN_TYPE


@lru_cache(maxsize=64)
def _endings(filename: str) -> str:
    return "".join(PurePosixPath(filename).suffixes[-2:])


async def load_type_table() -> None:
    """Let `mimetypes` read the system's tables off the event loop, before guessing does it."""
    await run_to_end(mimetypes.init)


def name_of_file_object(file: object) -> str | None:
    """Base name of the path a file object was opened with; None for pipes, descriptors and memory.

    Names in angle brackets (`<stdin>`, `<fdopen>`) are descriptions, not names.
    """
    name = getattr(file, "name", None)
    if not isinstance(name, (str, bytes)):
        return None
    base = os.path.basename(os.fsdecode(name))  # noqa: PTH119 -- bytes and trailing slashes too
    return None if not base or (base.startswith("<") and base.endswith(">")) else base
