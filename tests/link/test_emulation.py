"""The emulated link does what it is told, as an independent UDP echo sees it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.link.conftest import MakeLink
from tests.link.echo import Asker, asker, echo_server
from tests.link.emulation import (
    CLIENT_ADDRESS,
    SERVER_ADDRESS,
    SERVER_ADDRESS_V6,
    Link,
    emulated_link,
)
from tests.link.namespaces import namespace
from tests.link.timed import timed
from tests.peers.leaks import no_leaked_descriptors

OTHER_ADDRESS = "10.55.0.77"


@pytest.fixture(params=[SERVER_ADDRESS, SERVER_ADDRESS_V6], ids=["ipv4", "ipv6"])
def client(request: pytest.FixtureRequest, wire: Link, tmp_path: Path) -> Iterator[Asker]:
    with (
        echo_server(wire.server, request.param, tmp_path / "echo.log"),
        asker(wire.client, request.param) as client,
    ):
        yield client


@timed
def test_round_trips_take_as_long_as_asked_for(link: MakeLink, client: Asker) -> None:
    link(rtt_ms=40)

    times_ms = [client.ask().rtt_ms for _ in range(15)]

    assert min(times_ms) >= 40
    assert statistics.median(times_ms) < 42


def test_lost_packets_do_not_come_back(link: MakeLink, client: Asker) -> None:
    wire = link(loss=1.0)

    assert client.ask().seen is None
    assert wire.counts().up.lost_packets >= 1
    link()
    assert client.ask().seen is not None


def test_rebinding_changes_the_port_and_then_the_address(
    link: MakeLink, wire: Link, tmp_path: Path
) -> None:
    link()
    with (
        echo_server(wire.server, SERVER_ADDRESS, tmp_path / "echo.log"),
        asker(wire.client, SERVER_ADDRESS) as client,
    ):
        first = client.ask().seen
        wire.rebind()
        second = client.ask().seen
        third = client.ask().seen
        wire.rebind(OTHER_ADDRESS)
        moved = client.ask().seen

    assert first is not None
    assert first[0] == CLIENT_ADDRESS
    assert second is not None
    assert second[0] == CLIENT_ADDRESS
    assert second[1] != first[1]
    assert third == second
    assert moved is not None
    assert moved[0] == OTHER_ADDRESS


def test_a_black_hole_swallows_one_address(link: MakeLink, wire: Link, tmp_path: Path) -> None:
    link()
    wire.black_hole(SERVER_ADDRESS_V6)
    before = wire.counts().swallowed_packets
    with (
        echo_server(wire.server, "::", tmp_path / "echo.log"),
        asker(wire.client, SERVER_ADDRESS) as over_ipv4,
        asker(wire.client, SERVER_ADDRESS_V6) as over_ipv6,
    ):
        assert over_ipv4.ask().seen is not None
        assert over_ipv6.ask().seen is None

    assert wire.counts().swallowed_packets == before + 1


def test_congestion_control_is_what_was_asked_for(wire: Link) -> None:
    for host in (wire.client, wire.server):
        assert host.sysctl("net.ipv4.tcp_congestion_control") == "reno"


def test_nothing_is_left_behind(wire: Link, tmp_path: Path) -> None:
    hosts: list[Path] = []
    with no_leaked_descriptors(), suppress(ZeroDivisionError), emulated_link(tmp_path) as other:
        hosts += [Path("/run/netns", host.name) for host in (other.client, other.server)]
        assert all(host.exists() for host in hosts)
        raise ZeroDivisionError

    assert not any(host.exists() for host in hosts)


def test_what_a_killed_run_has_left_is_removed(wire: Link) -> None:
    left = "trilane-4194305-1-left"  # above the largest process id there is
    wire.client.run("ip", "netns", "add", left)
    assert Path("/run/netns", left).exists()

    with namespace("other") as other:
        assert Path("/run/netns", other.name).exists()
        assert not Path("/run/netns", left).exists()
