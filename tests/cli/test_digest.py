"""The receiver's summary of a body, however it is cut."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilane.api.receiver.digest import BodyError, PartSummary, digest_for

MULTIPART = "multipart/form-data; boundary=XX"
FILE = b"content with \r\n--X near misses \r\n--XY"
BODY = (
    b'--XX\r\nContent-Disposition: form-data; name="user"\r\n\r\ntest\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="f"; filename="na\xc3\xafve %22q%22.bin"\r\n'
    b"Content-Type: image/png\r\n\r\n" + FILE + b"\r\n--XX--\r\n"
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@given(cuts=st.lists(st.integers(0, len(BODY))))
def test_parts_are_the_same_however_the_body_is_cut(cuts: list[int]) -> None:
    digest = digest_for(MULTIPART)
    edges = [0, *sorted(cuts), len(BODY)]
    for start, end in itertools.pairwise(edges):
        digest.feed(BODY[start:end])
    summary = digest.finish()
    assert summary.body_bytes == len(BODY)
    assert summary.sha256 is None
    assert summary.parts == [
        PartSummary(name="user", filename=None, content_type=None, size=4, sha256=sha256(b"test")),
        PartSummary(
            name="f",
            filename="naïve %22q%22.bin",
            content_type="image/png",
            size=len(FILE),
            sha256=sha256(FILE),
        ),
    ]


@pytest.mark.parametrize("content_type", [None, "", "application/octet-stream", "text/plain; a=b"])
def test_any_other_body_is_hashed_as_it_is(content_type: str | None) -> None:
    digest = digest_for(content_type)
    digest.feed(BODY[:10])
    digest.feed(BODY[10:])
    summary = digest.finish()
    assert (summary.body_bytes, summary.sha256) == (len(BODY), sha256(BODY))
    assert summary.parts is None


@given(length=st.integers(0, len(BODY) - 5))
def test_a_body_that_stops_early_is_not_taken_for_whole(length: int) -> None:
    digest = digest_for(MULTIPART)
    digest.feed(BODY[:length])
    with pytest.raises(BodyError, match="closing boundary is missing"):
        digest.finish()


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_multipart_needs_a_boundary(content_type: str) -> None:
    with pytest.raises(BodyError, match="boundary"):
        digest_for(content_type)


def test_a_body_that_is_no_multipart_is_refused() -> None:
    with pytest.raises(BodyError):
        digest_for(MULTIPART).feed(b"no boundary here at all")


def test_a_part_needs_a_name() -> None:
    digest = digest_for(MULTIPART)
    digest.feed(b"--XX\r\nContent-Type: image/png\r\n\r\nx\r\n--XX--\r\n")
    with pytest.raises(BodyError, match="no name"):
        digest.finish()
