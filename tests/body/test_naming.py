"""Content types by the ending of a name: what `mimetypes` says, however it is asked."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable

import pytest

from trilane.transport.sources.naming import guess_content_type

mimetypes.init()

ENDINGS = ["", ".", ".bin", ".PNG", ".txt", ".tgz", ".TGZ", ".Z", ".z", ".gz", ".unheard-of"]
UNKNOWN = "application/octet-stream"
COMPRESSED = {
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}


@pytest.mark.parametrize("ending", [*ENDINGS, *mimetypes.suffix_map, *mimetypes.encodings_map])
@pytest.mark.parametrize("stem", ["name", "archive.tar", ".hidden", "a.b.c", "http://x/?y"])
def test_the_type_is_what_mimetypes_says(stem: str, ending: str) -> None:
    name = stem + ending
    inner, encoding = mimetypes.guess_type("file" + name[name.find(".") :])
    if encoding is not None:
        inner = COMPRESSED.get(encoding)
    if not name.startswith((".", "http")):
        assert guess_content_type(name) == (inner or UNKNOWN)


@pytest.mark.parametrize("write", [str, str.upper, str.lower])
def test_every_known_ending_is_found(write: Callable[[str], str]) -> None:
    names = ["name" + write(ending) for ending in mimetypes.types_map if ending.count(".") == 1]
    guessed = {name: mimetypes.guess_type(name) for name in names}

    assert {name: guess_content_type(name) for name in names} == {
        name: COMPRESSED.get(coding, UNKNOWN) if coding else found or UNKNOWN
        for name, (found, coding) in guessed.items()
    }


def test_a_type_added_later_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guess_content_type("name.own-ending") == UNKNOWN
    monkeypatch.setitem(mimetypes.types_map, ".own-ending", "text/x-own")

    assert guess_content_type("name.own-ending") == "text/x-own"
