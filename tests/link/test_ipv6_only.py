"""A host that has IPv6 only, on a network that translates (NAT64)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.link.namespaces import Namespace, namespace, require_programs, require_root

ADDRESS = "192.0.2.33"
TRANSLATED = "64:ff9b::c000:221"
"""What stands for it behind the well-known prefix (RFC 6052)."""
WELL_KNOWN = "64:ff9b::c000:aa"
"""What a resolver of such a network answers for `ipv4only.arpa` (RFC 7050)."""


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A network of its own, in which the translator's address is this very host's."""
    require_root()
    require_programs(ip="iproute2")
    with namespace("ipv6") as made:
        made.ip(f"-6 address add {TRANSLATED}/128 dev lo nodad")
        made.ip("-6 route add default dev lo")
        yield made


def test_an_ipv4_address_is_reached_through_the_translator(
    host: Namespace, anyio_backend: str
) -> None:
    printed = host.python("tests.link.ipv6_only", anyio_backend, ADDRESS, TRANSLATED, WELL_KNOWN)

    # The rule is asked about both: what is meant, and what is dialled.
    assert json.loads(printed) == {"told": TRANSLATED, "asked": [ADDRESS, TRANSLATED]}


def test_without_a_translator_it_is_out_of_reach(host: Namespace, anyio_backend: str) -> None:
    printed = host.python("tests.link.ipv6_only", anyio_backend, ADDRESS, TRANSLATED)

    found = json.loads(printed)
    assert "unreachable" in found["told"]
    assert set(found["asked"]) == {ADDRESS}
