"""A host that has IPv6 only, on a network that translates (NAT64)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.link.ipv6_only import WAYS
from tests.link.namespaces import Namespace, namespace, require_programs, require_root
from tests.link.servers import Site, serving

pytestmark = pytest.mark.interop

ADDRESS = "192.0.2.33"
TRANSLATED = "64:ff9b::c000:221"
"""What stands for it behind the well-known prefix (RFC 6052)."""
WELL_KNOWN = "64:ff9b::c000:aa"
"""What a resolver of such a network answers for `ipv4only.arpa` (RFC 7050)."""
VERSIONS = ["HTTP/1.1", "HTTP/2", "HTTP/1.1", "HTTP/2", "HTTP/3", "HTTP/3"]


@pytest.fixture(scope="module")
def host() -> Iterator[Namespace]:
    """A network of its own, in which the translator's address is this very host's."""
    require_root()
    require_programs(ip="iproute2", caddy="caddy")
    with namespace("ipv6") as made:
        made.ip(f"-6 address add {TRANSLATED}/128 dev lo nodad")
        made.ip("-6 route add default dev lo")
        yield made


@pytest.fixture(scope="module")
def site(host: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Servers that listen behind the translator."""
    folder = tmp_path_factory.mktemp("ipv6")
    with serving(host, folder, ADDRESS, bound=TRANSLATED) as made:
        yield made


def uploads(site: Site, host: Namespace, *arguments: str) -> dict[str, Any]:
    backend, *rest = arguments
    printed = host.python("tests.link.ipv6_only", backend, str(site.ca), *rest)
    found: dict[str, Any] = json.loads(printed)
    assert len(found["told"]) == len(WAYS)
    return found


@pytest.mark.parametrize("whom", [ADDRESS, f"one.trilane.test={ADDRESS}"])
def test_an_ipv4_address_is_reached_through_the_translator(
    site: Site, host: Namespace, anyio_backend: str, whom: str
) -> None:
    """In a URL, or from a name server elsewhere; certificates are for what the URL says."""
    found = uploads(site, host, anyio_backend, whom, WELL_KNOWN)

    assert [each.get("version") for each in found["told"]] == VERSIONS
    for each in found["told"]:
        assert (each["peer"], each["intact"], each["looked_up"]) == (TRANSLATED, True, True)
        assert each["violations"] == []
        # The rule is asked about both: what is meant, and what is dialled.
        assert set(each["asked"]) == {ADDRESS, TRANSLATED}
    # Each client asks once, also where QUIC and TCP race.
    assert found["system_asked"] == ["ipv4only.arpa"] * len(WAYS)


def test_without_a_translator_it_is_out_of_reach(
    site: Site, host: Namespace, anyio_backend: str
) -> None:
    found = uploads(site, host, anyio_backend, ADDRESS)

    for each in found["told"]:
        assert "unreachable" in each["error"]
        assert set(each["asked"]) == {ADDRESS}
