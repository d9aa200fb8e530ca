"""Body sources: paths, bytes, file objects and iterators, and bodies joined from them."""

from .choose import source_from
from .joined import JoinedBody, JoinedReader, content_body
from .naming import guess_content_type
from .positional import read_at, read_now
from .source import FileInput, Source, SourceReader

__all__ = [
    "FileInput",
    "JoinedBody",
    "JoinedReader",
    "Source",
    "SourceReader",
    "content_body",
    "guess_content_type",
    "read_at",
    "read_now",
    "source_from",
]
