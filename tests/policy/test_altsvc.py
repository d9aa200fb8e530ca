"""The Alt-Svc field (RFC 7838): what is read, what is refused, what never breaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.policy.altsvc import Alternative, parse_alt_svc


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('h3=":443"', (Alternative(protocol="h3", host="", port=443),)),
        ('h3="0x7F.1:443"', (Alternative(protocol="h3", host="127.0.0.1", port=443),)),
        ('h3="a b:443", h3="a/@b:443", h3="a\tX:443", h3="1.2.3.4.5:443"', ()),
        (
            'h3=":8443"; ma=60; persist=1',
            (Alternative(protocol="h3", host="", port=8443, max_age_s=60, persist=True),),
        ),
        (
            'h3-29="alt.example:443"; ma=3600, h2=":443"',
            (
                Alternative(protocol="h3-29", host="alt.example", port=443, max_age_s=3600),
                Alternative(protocol="h2", host="", port=443),
            ),
        ),
        ('h3="[2001:db8::1]:443"', (Alternative(protocol="h3", host="2001:db8::1", port=443),)),
        ('w%3Dx%3Ay="h:1"', (Alternative(protocol="w=x:y", host="h", port=1),)),
        ('h3=":0", h3=":70000", h3=":44"', (Alternative(protocol="h3", host="", port=44),)),
        ('h3=":443"; ma=soon', (Alternative(protocol="h3", host="", port=443),)),
        (
            f'h3=":443"; ma={"9" * 5000}, h3=":444"; ma={"0" * 5000}5',
            (
                Alternative(protocol="h3", host="", port=443, max_age_s=2**31),
                Alternative(protocol="h3", host="", port=444, max_age_s=5),
            ),
        ),
        (f'h3="{"1" * 5000}:443"', ()),
        ("", ()),
        ("h3=443", ()),
    ],
)
def test_reads_the_field(value: str, expected: tuple[Alternative, ...]) -> None:
    assert parse_alt_svc(value) == expected


def test_clear_forgets_everything() -> None:
    assert parse_alt_svc(" clear ") is None


@given(st.text(max_size=200))
def test_any_text_gives_usable_alternatives_or_none(value: str) -> None:
    for alternative in parse_alt_svc(value) or ():
        assert 0 < alternative.port < 65536
        assert alternative.max_age_s >= 0
