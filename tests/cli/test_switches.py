"""What the receiver reads out of a query string."""

from __future__ import annotations

import pytest

from trilane.api.receiver.switches import SwitchError, Switches, parse_switches


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", Switches()),
        ("user=test&x", Switches()),
        ("delay=1500", Switches(delay_s=1.5)),
        ("throttle=1000", Switches(throttle_bytes_per_s=1000)),
        ("status=413", Switches(status=413, early=True)),
        ("status=413&early=0", Switches(status=413)),
        ("redirect=%2Fb%3Fx%3D1", Switches(status=307, location="/b?x=1")),
        ("redirect=/b&code=303&early=1", Switches(status=303, location="/b", early=True)),
        ("redirect=/b&status=413", Switches(status=307, location="/b")),
        ("interim=103", Switches(early_hints=True)),
    ],
)
def test_switches(query: str, expected: Switches) -> None:
    assert parse_switches(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "delay=-1",
        "delay=soon",
        "delay=",
        "delay=99999999",
        "throttle=0",
        "status=99",
        "status=600",
        "status=²00",
        "redirect=/b&code=304",
        "redirect=/b&code=200",
        "early=2",
        "interim=102",
    ],
)
def test_a_value_that_makes_no_sense_is_named(query: str) -> None:
    with pytest.raises(SwitchError, match=query.split("=")[-2].rsplit("&", maxsplit=1)[-1]):
        parse_switches(query)
