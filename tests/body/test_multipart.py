"""multipart/form-data: exact bytes, and the parts that three foreign parsers find in them."""

# ruff: noqa: ASYNC240 -- the tests prepare their files with plain calls

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.body.reading import open_descriptors, read_all
from tests.peers.foreign_parsers import PARSERS, boundary_of
from tests.peers.receipt import ReceivedPart
from trilane.transport.errors import (
    InvalidFormValue,
    InvalidHeader,
    SourceNotRewindable,
    SourceUnavailable,
    TransportError,
    UsageError,
)
from trilane.transport.multipart import MultipartBody, Part, multipart_body
from trilane.transport.sources import JoinedBody, Source, SourceReader, source_from

AWKWARD_NAME = 'naïve "q" 文件.bin'


def part(name: str, filename: str | None, content_type: str | None, content: bytes) -> ReceivedPart:
    digest = hashlib.sha256(content).hexdigest()
    return ReceivedPart(
        name=name, filename=filename, content_type=content_type, size=len(content), sha256=digest
    )


async def assert_everybody_finds(body: MultipartBody, expected: list[ReceivedPart]) -> None:
    content = await read_all(body)
    boundary = boundary_of(body.content_type)
    assert boundary == body.boundary.encode()
    if body.length is not None:
        assert len(content) == body.length
    for name, parse in PARSERS.items():
        assert list(parse(content, boundary)) == expected, name


async def test_the_layout_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"content\r\n")
    body = await multipart_body(
        [("user", "test"), ("n", 1.5), ("user", "again")],
        [
            Part("file", path),
            Part("x", b"\x00\xff", "x.bin", "image/x-odd", {"X-Checksum": "1", "X-Note": "é"}),
        ],
        boundary="the-boundary",
    )

    assert body.content_type == "multipart/form-data; boundary=the-boundary"
    assert await read_all(body) == (
        b'--the-boundary\r\nContent-Disposition: form-data; name="user"\r\n\r\ntest\r\n'
        b'--the-boundary\r\nContent-Disposition: form-data; name="n"\r\n\r\n1.5\r\n'
        b'--the-boundary\r\nContent-Disposition: form-data; name="user"\r\n\r\nagain\r\n'
        b'--the-boundary\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\ncontent\r\n\r\n"
        b'--the-boundary\r\nContent-Disposition: form-data; name="x"; filename="x.bin"\r\n'
        b"Content-Type: image/x-odd\r\nX-Checksum: 1\r\nX-Note: \xe9\r\n\r\n\x00\xff\r\n"
        b"--the-boundary--\r\n"
    )


async def test_names_are_escaped_as_the_html_standard_says_and_in_no_other_way() -> None:
    body = await multipart_body(
        {'a"b\r\nc%\\é': 'v"\r\n%'}, [Part("文件", b"", AWKWARD_NAME)], boundary="b"
    )
    content = (await read_all(body)).decode()

    assert 'name="a%22b%0D%0Ac%\\é"\r\n\r\nv"\r\n%\r\n' in content
    assert 'name="文件"; filename="naïve %22q%22 文件.bin"\r\n' in content
    assert "filename*" not in content


async def test_without_fields_and_files_only_the_end_is_sent() -> None:
    assert await read_all(await multipart_body(boundary="b")) == b"--b--\r\n"


async def test_a_file_with_an_awkward_name_arrives_under_it(tmp_path: Path) -> None:
    path = tmp_path / AWKWARD_NAME
    path.write_bytes(os.urandom(1000))
    body = await multipart_body({AWKWARD_NAME: AWKWARD_NAME}, [Part(AWKWARD_NAME, path)])

    await assert_everybody_finds(
        body,
        [
            part(AWKWARD_NAME, None, None, AWKWARD_NAME.encode()),
            part(AWKWARD_NAME, AWKWARD_NAME, "application/octet-stream", path.read_bytes()),
        ],
    )


# Parsers disagree about what follows here, with browsers' bodies too: whether a backslash escapes,
# whether a name that contains `%22` in itself is to be unescaped, and what control characters mean.
characters = st.characters(codec="utf-8", exclude_characters="\\", exclude_categories=["Cc"])
names = (
    st.lists(
        characters | st.sampled_from(['"', "\r\n", "\r", "\n", "é", "文"]), min_size=1, max_size=12
    )
    .map("".join)
    .filter(lambda name: not re.search("%(22|0D|0A)", name))
)


@given(
    fields=st.lists(st.tuples(names, st.text(max_size=40)), max_size=5),
    files=st.lists(st.tuples(names, names, st.binary(max_size=200)), max_size=5),
)
async def test_three_foreign_parsers_find_what_was_put_in(
    fields: list[tuple[str, str]], files: list[tuple[str, str, bytes]]
) -> None:
    kind = "application/x-test"
    body = await multipart_body(
        fields, [Part(name, content, filename, kind) for name, filename, content in files]
    )

    await assert_everybody_finds(
        body,
        [part(name, None, None, value.encode()) for name, value in fields]
        + [part(name, filename, kind, content) for name, filename, content in files],
    )


_NAMES = st.one_of(st.text(max_size=8), st.sampled_from(["file", "a.txt", "b.tar.gz", "\0", "é"]))


@given(
    st.builds(
        Part,
        _NAMES,
        st.binary(max_size=20),
        filename=st.none() | _NAMES,
        content_type=st.none() | st.sampled_from(["", "a/b", "a\nb", "é"]),
        headers=st.sampled_from([(), {}, {"x-more": "1"}, {"content-type": "a/b"}]),
    )
)
async def test_one_file_from_memory_is_laid_out_like_any(part: Part) -> None:
    """A list of one such is taken in one step, a tuple is not."""
    await source_from(b"")  # which reads the tables of types
    outcomes: list[object] = []
    for files in ([part], (part,)):
        try:
            body = await multipart_body((), files, boundary="b")
        except TransportError as error:
            outcomes.append((type(error), str(error)))
        else:
            assert body.rewindable
            outcomes.append((body.content_type, body.length, b"".join(body.in_memory() or ())))
    assert outcomes[0] == outcomes[1]


@given(content=st.binary(max_size=300), steps=st.lists(st.integers(1, 80), min_size=1, max_size=9))
async def test_the_buffers_size_does_not_matter(content: bytes, steps: list[int]) -> None:
    body = await multipart_body(
        {"a": 1}, [Part("f", content), Part("g", io.BytesIO(content))], boundary="b"
    )
    expected = await read_all(body)
    reader = await body.open()
    found = bytearray()
    buffers = [memoryview(bytearray(step)) for step in steps]
    turn = 0
    while count := await reader.readinto(buffers[turn % len(buffers)]):
        found += buffers[turn % len(buffers)][:count]
        turn += 1
    await reader.aclose()

    assert bytes(found) == expected
    assert len(found) == body.length


async def test_a_small_body_leaves_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"small")
    for boundary in ("first", "second"):  # the second from the page cache
        body = await multipart_body({"a": "b"}, [Part("f", path), Part("g", path)], boundary)
        reader = await body.open()
        buffer = memoryview(bytearray(4096))

        assert await reader.readinto(buffer) == body.length
        assert await reader.readinto(buffer) == 0
        await reader.aclose()


async def test_what_is_at_hand_does_not_wait_for_a_slow_source() -> None:
    proceed = anyio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await proceed.wait()
        yield b"slow"

    body = await multipart_body({"a": "b"}, [Part("f", slow())], boundary="b")
    reader = await body.open()
    buffer = memoryview(bytearray(4096))
    with anyio.fail_after(5):
        count = await reader.readinto(buffer)
        assert bytes(buffer[:count]).endswith(b"octet-stream\r\n\r\n")
        proceed.set()
        assert bytes(buffer[: await reader.readinto(buffer)]) == b"slow"
        assert bytes(buffer[: await reader.readinto(buffer)]) == b"\r\n--b--\r\n"
    await reader.aclose()

    assert body.length is None
    assert not body.rewindable
    with pytest.raises(SourceNotRewindable):
        await body.open()


async def test_a_body_of_files_can_be_sent_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(100_000))
    body = await multipart_body({"a": "b"}, [Part("f", path), Part("g", [b"1", b"2"])])
    passes = [await read_all(body) for _ in range(3)]

    assert body.rewindable
    assert passes[0] == passes[1] == passes[2]


async def test_when_one_file_cannot_be_opened_the_others_are_closed(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(b"x")
    body = await multipart_body(files=[Part("f", path) for path in paths])
    before = open_descriptors()
    paths[2].unlink()

    with pytest.raises(SourceUnavailable, match=re.escape(repr(str(paths[2])))):
        await body.open()
    assert open_descriptors() == before


class CancelsTheOpening(Source):
    """Not a slow source: one during whose opening the upload is cancelled."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope

    @property
    def length(self) -> int:
        return 0

    @property
    def rewindable(self) -> bool:
        return True

    async def open(self) -> SourceReader:
        self._scope.cancel()
        await anyio.lowlevel.checkpoint()
        raise AssertionError("it was cancelled")


@pytest.mark.parametrize("position", range(3))
async def test_cancelled_while_opening_it_leaves_no_file_open(
    position: int, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    scope = anyio.CancelScope()
    sources = [await source_from(tmp_path / "a") for _ in range(2)]
    sources.insert(position, CancelsTheOpening(scope))
    before = open_descriptors()
    with scope:
        await JoinedBody(sources).open()

    assert scope.cancelled_caught
    assert open_descriptors() == before


async def test_the_boundary_is_random_and_a_given_one_is_checked() -> None:
    boundaries = {(await multipart_body()).boundary for _ in range(100)}

    assert len(boundaries) == 100
    assert all(re.fullmatch(r"trilane-[0-9a-f]{32}", boundary) for boundary in boundaries)
    for bad in ("", "a b", "a\r\n", "x" * 71, "é", 'a"b'):
        with pytest.raises(UsageError, match="boundary"):
            await multipart_body(boundary=bad)


@pytest.mark.parametrize(
    "bad",
    [
        Part("n\0", b""),
        Part("\ud800", b""),
        Part("n", b"", "f\0"),
        Part("n", b"", content_type="text/plain\r\nX: y"),
        Part("n", b"", content_type="a\0b"),
        Part("n", b"", headers={"X": "a\nb"}),
        Part("n", b"", headers={"X y": "a"}),
        Part("n", b"", headers={"content-type": "a/b"}),
        Part("n", b"", headers=[("Content-Disposition", "x")]),
    ],
)
async def test_what_no_part_header_can_carry_is_refused(bad: Part) -> None:
    with pytest.raises(InvalidHeader):
        await multipart_body(files=[bad])


async def test_fields_are_checked_before_files_are_looked_at() -> None:
    with pytest.raises(InvalidFormValue, match="'a'"):
        await multipart_body([("a", None)], [Part("f", "/missing")])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="must be a str"):
        await multipart_body(files=[Part(7, b"")])  # type: ignore[arg-type]


async def test_file_names_by_default_and_given(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    undecodable = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(undecodable)).touch()
    files = [
        Part("default", path),
        Part("given", path, "dir/b.txt"),
        Part("memory", b""),
        Part("empty", path, ""),
        Part("undecodable", os.fsdecode(undecodable)),
        Part("typed", path, content_type="text/x-own"),
    ]
    found = re.findall(
        r'name="([^"]*)"; filename="([^"]*)"\r\nContent-Type: (\S*)\r\n',
        (await read_all(await multipart_body(files=files))).decode(),
    )

    assert found == [
        ("default", "a.png", "image/png"),
        ("given", "dir/b.txt", "text/plain"),
        ("memory", "blob", "application/octet-stream"),
        ("empty", "", "application/octet-stream"),
        ("undecodable", "\ufffd.png", "image/png"),
        ("typed", "a.png", "text/x-own"),
    ]


async def test_a_one_shot_iterator_cannot_be_two_parts() -> None:
    def generator() -> Iterator[bytes]:
        yield b"x"

    value = generator()
    with pytest.raises(UsageError, match="'second'"):
        await multipart_body(files=[Part("first", value), Part("second", value)])
    file = io.BytesIO(b"x")
    body = await multipart_body(files=[Part("first", file), Part("second", file)])
    assert (await read_all(body)).count(b"\r\n\r\nx\r\n") == 2
