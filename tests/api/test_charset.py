from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilane.api.charset import decode


@pytest.mark.parametrize(
    ("content", "content_type", "text"),
    [
        ("文件".encode(), None, "文件"),
        ("文件".encode(), "application/json", "文件"),
        ("文件".encode("gbk"), "text/html; charset=gbk", "文件"),
        ("文件".encode("gbk"), 'text/html; CHARSET="GB2312"', "文件"),
        ("€".encode("cp1252"), "text/plain; charset=iso-8859-1", "€"),
        (b"a\xffb", "text/plain", "a\ufffdb"),
        (b"\xef\xbb\xbfa", "text/plain", "a"),
        (b"\xef\xbb\xbf\xef\xbb\xbfa", "text/plain; charset=utf-8", "\ufeffa"),
        (b"\xef\xbb\xbfa", "text/plain; charset=gbk", "a"),
        (b"\xff\xfea\x00", "text/plain; charset=utf-16", "a"),
        (b"\xfe\xff\x00a", "text/plain", "a"),
        (b"a\x00", "text/plain; charset=utf-16", "a"),
        (b"abc", "text/plain; charset=klingon", "abc"),
        (b"616263", "text/plain; charset=hex", "616263"),
        (b"abc", "text/plain; charset=idna", "abc"),
        (b"", "text/plain; charset=", ""),
    ],
)
def test_decoding(content: bytes, content_type: str | None, text: str) -> None:
    assert decode(content, content_type) == text


@given(st.binary(max_size=64), st.text(max_size=40).filter(lambda text: "\x00" not in text))
def test_nothing_a_server_says_makes_it_fail(content: bytes, label: str) -> None:
    assert isinstance(decode(content, f"text/plain; charset={label}"), str)
