"""URLs: one spelling per host, nothing in them that could become another request, no secrets."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trilane.transport.errors import InvalidUrl
from trilane.transport.message import parse_url


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("1.2.3.4.", "1.2.3.4"),
        ("0", "0.0.0.0"),
        ("0x" + "0" * 5000 + "1", "0.0.0.1"),
        ("0x", "0.0.0.0"),
        ("1.16777215", "1.255.255.255"),
        ("①②⑦.⓪.⓪.①", "127.0.0.1"),
        ("\uff11\uff12\uff17\u3002\uff11", "127.0.0.1"),
        ("[::FFFF:127.0.0.1]", str(ipaddress.IPv6Address("::ffff:127.0.0.1"))),
        ("[0:0::1]", "::1"),
        ("EXAMPLE.com", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a1.example", "a1.example"),
        ("x_y.example", "x_y.example"),
    ],
)
def test_a_host_has_one_spelling(host: str, meant: str) -> None:
    origin = parse_url(f"http://{host}/").origin
    assert origin.host == meant
    assert origin.authority == (f"[{meant}]" if ":" in meant else meant)


@pytest.mark.parametrize(
    "host",
    [
        "256.1",
        "1.2.3.4.5",
        "1.2.3.256",
        "09.1.1.1",
        "1..2",
        "a.1",
        "a.0x1f",
        "4294967296",
        "1" * 5000,
        "0x100000000",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[v1.a]",
        "[1.2.3.4]",
        "[::1",
        "[::1]x",
        "::1",
        "a%2eb",
        "a\\b",
        "a b",
        "a\r\nb",
        "a\tb",
        "a\x00b",
        "a\uff20b",
        "a\uff1fb",
        "a\u202eb",
        'a"b',
        "a<b",
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:S3cret@host/",
        "http://user:S3cret@ho st/",
        "http://user:S3cret@host:port/",
        "ftp://user:S3cret@host/",
        "http:/user:S3cret@host/",
        "user:S3cret@host",
        "http://user:S3/cret@ho st/",
        "http://[user:S3cret@host/",
        "http://ho st/?token=S3cret",
        "http://host:0/?token=S3cret",
        "ftp://host/?token=S3cret",
        "http://host\n/?token=S3cret#x",
    ],
)
def test_messages_show_no_secrets(url: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        parse_url(url)
    assert "S3" not in str(caught.value)
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


urls = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    st.text(max_size=12) | st.sampled_from(["a.example", "[::1]", "1.2.3.4:80"]),
    st.sampled_from(["", "/", "?"]),
    st.text(max_size=20),
)


@given(urls)
@example("http://a.example/\u2028\x85\xa0")
@example("http://a.example/?q=\udcff")
def test_what_is_accepted_has_only_characters_a_request_line_may_hold(url: str) -> None:
    try:
        parsed = parse_url(url)
    except InvalidUrl:
        return
    assert re.fullmatch(r"/[!-~]*", parsed.target)
    assert "#" not in parsed.target
    assert re.fullmatch(
        r"[a-z0-9._-]+|\[[0-9a-f:.]+\](:\d+)?|[a-z0-9._-]+:\d+", parsed.origin.authority
    )
    assert parse_url(str(parsed)) == parsed
