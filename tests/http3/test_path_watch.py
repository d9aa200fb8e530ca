"""What a host does that sends from another address, or knows no way out for a while."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

import pytest

from tests.http3.conftest import MakePair
from tests.http3.pair import SERVER, Pair, client_configuration, make_machine
from tests.peers.certificates import Certificates
from trilane.transport.connections.path_watch import WAY_OUT_S, PathWatch
from trilane.transport.net.datagram import DatagramSocket
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.http3_close import CloseKind

INITIAL_WINDOW = 10 * 1200
NO_ROUTE = OSError(errno.ENETUNREACH, "")


class Host(DatagramSocket):
    """A host whose routes are what the test says."""

    def __init__(self) -> None:
        self.peer = SERVER
        self.arrived_elsewhere = False
        self.answers: list[bool | OSError] = []
        self.asked: list[tuple[str, int]] = []

    def find_source(self, address: tuple[str, int]) -> bool:
        self.asked.append(address)
        answer = self.answers.pop(0) if self.answers else False
        if isinstance(answer, OSError):
            raise answer
        return answer


@dataclass
class Scene:
    pair: Pair
    host: Host
    watch: PathWatch
    changes: list[tuple[str, int]] = field(default_factory=list)

    @property
    def connection_id(self) -> bytes:
        return self.pair.machine.quic._peer_cid.cid

    def begun_anew(self) -> bool:
        """Whether nothing is supposed about the path any more."""
        return self.pair.machine.recovery().smoothed_rtt_s is None


@pytest.fixture
def scene(make_pair: MakePair) -> Scene:
    pair = make_pair(conditions=LinkConditions(delay_s=0.02))
    pair.run(lambda: pair.machine.quic._handshake_confirmed)
    host = Host()
    made = Scene(pair, host, PathWatch(pair.machine, host))
    made.watch.on_change = lambda: made.changes.append(made.watch.peer)
    return made


def test_the_same_address_is_no_news(scene: Scene) -> None:
    before = scene.connection_id
    scene.watch.look(scene.pair.now_s)
    assert scene.host.asked == [SERVER]
    assert (scene.connection_id, scene.changes) == (before, [])
    assert not scene.begun_anew()


def test_from_another_address_the_connection_goes_on_with_another_id(scene: Scene) -> None:
    before = scene.connection_id
    scene.host.answers = [True]
    scene.watch.look(scene.pair.now_s)
    assert scene.connection_id != before
    assert scene.changes == [SERVER]
    assert scene.begun_anew()


def test_what_arrives_elsewhere_is_a_reason_to_look(scene: Scene) -> None:
    scene.watch.heed(scene.pair.now_s)
    assert scene.host.asked == []
    scene.host.arrived_elsewhere = True
    scene.host.answers = [True]
    scene.watch.heed(scene.pair.now_s)
    assert scene.changes == [SERVER]


def test_nothing_is_done_before_the_handshake_is_complete_or_after_the_end(
    certificates: Certificates, scene: Scene
) -> None:
    young = PathWatch(make_machine(client_configuration(certificates)), scene.host)
    young.look(scene.pair.now_s)
    assert scene.host.asked == []
    scene.pair.machine.close()
    scene.watch.look(scene.pair.now_s)
    assert scene.host.asked == []


def test_without_a_way_out_it_is_looked_for_again_and_again_but_not_for_ever(scene: Scene) -> None:
    began_s = now_s = scene.pair.now_s
    scene.host.answers = [NO_ROUTE] * 1000
    scene.watch.look(now_s)
    while scene.pair.machine.close_cause is None:
        assert now_s < scene.watch.look_s <= now_s + 0.25
        now_s = scene.watch.look_s
        scene.watch.look(now_s)
    assert now_s - began_s == pytest.approx(WAY_OUT_S, abs=0.3)
    assert scene.pair.machine.close_cause.kind is CloseKind.UNREACHABLE
    assert "unreachable" in scene.pair.machine.close_cause.reason


def test_outages_that_are_apart_are_not_added_up(scene: Scene) -> None:
    now_s = scene.pair.now_s
    for _ in range(20):
        scene.watch.unsent(NO_ROUTE, now_s)
        now_s += 1.5
    assert scene.pair.machine.close_cause is None


def test_after_an_outage_the_same_address_may_be_of_another_network(scene: Scene) -> None:
    before = scene.connection_id
    scene.host.answers = [NO_ROUTE, False]
    scene.watch.look(scene.pair.now_s)
    assert not scene.begun_anew()
    scene.watch.look(scene.watch.look_s)
    assert scene.begun_anew()
    assert scene.connection_id == before
    assert scene.watch.look_s == float("inf")


def test_after_an_outage_another_address_is_moved_to(scene: Scene) -> None:
    before = scene.connection_id
    scene.host.answers = [NO_ROUTE, True]
    scene.watch.look(scene.pair.now_s)
    scene.watch.look(scene.watch.look_s)
    assert scene.connection_id != before
    assert scene.changes == [SERVER]


def test_a_server_that_was_followed_elsewhere_is_noticed_once(scene: Scene) -> None:
    other = ("192.0.2.9", 4433)
    scene.pair.machine._peer = other
    scene.watch.heed(scene.pair.now_s)
    scene.watch.heed(scene.pair.now_s)
    assert (scene.watch.peer, scene.changes) == (other, [other])
    scene.watch.look(scene.pair.now_s)
    assert scene.host.asked == [other]
