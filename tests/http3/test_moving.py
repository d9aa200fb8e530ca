"""The client's address changes under way, noticed or not: trains and requests go on from there."""

from __future__ import annotations

import random

import pytest

from tests.http3.bulk import BulkUpload, begin, finish
from tests.http3.conftest import MakePair
from tests.http3.pair import CLIENT, Pair, Upload
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.aioquic_private import datagram_bytes
from trilane.transport.protocols.events import ConnectionTerminated
from trilane.transport.protocols.http3_close import CloseKind

ELSEWHERE = ("198.51.100.7", 50_000)
CONTENT = random.Random(3).randbytes(300_000)
SLOW = LinkConditions(delay_s=0.02)
BAD = LinkConditions(delay_s=0.01, jitter_s=0.01, loss=0.05, duplication=0.05)
INITIAL_WINDOW = 10 * 1200


def halfway(pair: Pair, upload: BulkUpload) -> None:
    received = pair.server.requests

    def there() -> bool:
        request = received.get(upload.stream_id)
        return request is not None and len(request.body) > len(upload.body) / 2

    pair.run(there)


def move(pair: Pair) -> None:
    """The client notices that its address has changed."""
    pair.client = ELSEWHERE
    pair.machine.moved(pair.now_s)


def server_at(pair: Pair, address: tuple[str, int]) -> bool:
    """The server knows this path to the client, and soon that it is true."""
    path = pair.server.quic._network_paths[0]
    pair.run(lambda: path.is_validated)
    return bool(path.addr == address)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "rebound by a NAT"])
def test_trains_go_on_exactly_once(make_pair: MakePair, seed: int, noticed: bool) -> None:
    pair = make_pair(conditions=BAD, seed=seed)
    (upload,) = begin(pair, CONTENT[:80_000])
    halfway(pair, upload)
    trains = pair.trains
    if noticed:
        move(pair)
    else:
        pair.client = ELSEWHERE
    finish(pair, upload)

    # While a challenge is lost and sent again, aioquic may come to the end of so short a body.
    assert noticed or pair.trains > trains


def test_back_and_forth(make_pair: MakePair) -> None:
    pair = make_pair(conditions=SLOW)
    (upload,) = begin(pair, CONTENT * 2)
    for turn in range(4):
        pair.run(lambda: received(pair) > (turn + 1) * 100_000)  # noqa: B023  # run is over by then
        pair.client = CLIENT if turn % 2 else ELSEWHERE
        pair.machine.moved(pair.now_s)
    finish(pair, upload)

    assert server_at(pair, CLIENT)


def received(pair: Pair) -> int:
    return sum(len(request.body) for request in pair.server.requests.values())


def test_small_requests_and_long_bodies_go_on_together(make_pair: MakePair) -> None:
    pair = make_pair(conditions=SLOW)
    (long,) = begin(pair, CONTENT)
    halfway(pair, long)
    small = Upload(pair, b"x" * 1000)
    move(pair)
    feed_long = pair.each_step

    def feed() -> None:
        feed_long()
        small.feed()

    pair.each_step = feed
    finish(pair, long, small)


def test_nothing_is_supposed_about_the_new_path(make_pair: MakePair) -> None:
    pair = make_pair(conditions=SLOW)
    (upload,) = begin(pair, CONTENT * 2)
    halfway(pair, upload)
    before = pair.machine.recovery()
    assert before.congestion_window_bytes > 2 * INITIAL_WINDOW
    assert pair.datagram_sizes[-1] > 1200
    connection_id = pair.machine.quic._peer_cid.cid
    pair.link.conditions = LinkConditions(delay_s=0.05)
    pair.datagram_sizes.clear()
    move(pair)

    after = pair.machine.recovery()
    assert (after.smoothed_rtt_s, after.min_rtt_s, after.pto_count) == (None, None, 0)
    assert (after.congestion_window_bytes, after.bytes_in_flight) == (INITIAL_WINDOW, 0)
    assert after.lost_packets == before.lost_packets
    assert after.retransmitted_bytes - before.retransmitted_bytes == before.bytes_in_flight
    assert pair.machine.quic._peer_cid.cid != connection_id
    trains = pair.trains
    pair.run(lambda: pair.machine.quic._network_paths[0].is_validated)
    # Until the server has answered the challenge: the initial window, sent by aioquic.
    assert pair.trains == trains
    assert set(pair.datagram_sizes) == {1200}
    assert datagram_bytes(pair.machine.quic) == 1200
    assert sum(pair.datagram_sizes) <= INITIAL_WINDOW
    pair.run(lambda: pair.machine.recovery().smoothed_rtt_s is not None)
    smoothed_s = pair.machine.recovery().smoothed_rtt_s
    assert smoothed_s is not None
    assert smoothed_s >= 0.1
    finish(pair, upload)
    # Found out again.
    assert pair.datagram_sizes.count(1350) > 50


def test_an_old_acknowledgement_says_nothing_of_the_new_path(make_pair: MakePair) -> None:
    pair = make_pair(conditions=SLOW)
    (upload,) = begin(pair, CONTENT)
    halfway(pair, upload)
    # Both addresses are there for a while: what was sent before is acknowledged in time.
    pair.machine.moved(pair.now_s)
    window = pair.machine.recovery().congestion_window_bytes
    pair.link.conditions = LinkConditions(loss=1.0)
    for _ in range(8):
        pair.step()

    assert pair.machine.recovery().congestion_window_bytes == window
    assert pair.machine.recovery().smoothed_rtt_s is None
    pair.link.conditions = SLOW
    finish(pair, upload)


def test_a_lost_challenge_is_sent_again(make_pair: MakePair) -> None:
    pair = make_pair(conditions=SLOW)
    (upload,) = begin(pair, CONTENT)
    halfway(pair, upload)
    move(pair)
    pair.link.conditions = LinkConditions(loss=1.0)
    pair.run(lambda: pair.machine.recovery().pto_count == 1)
    pair.link.conditions = SLOW
    finish(pair, upload)

    assert server_at(pair, ELSEWHERE)


def ends(pair: Pair) -> CloseKind:
    pair.run(lambda: bool(pair.of_kind(ConnectionTerminated)))
    assert pair.machine.close_cause is not None
    assert not pair.of_kind(ConnectionTerminated)[0].clean
    return pair.machine.close_cause.kind


def test_a_server_that_does_not_answer_there(make_pair: MakePair) -> None:
    pair = make_pair(conditions=SLOW)
    (upload,) = begin(pair, CONTENT)
    halfway(pair, upload)
    move(pair)
    moved_s = pair.now_s
    pair.link.conditions = LinkConditions(loss=1.0)

    assert ends(pair) is CloseKind.MOVED
    assert 2.9 < pair.now_s - moved_s < 3.5
    assert "new address" in pair.of_kind(ConnectionTerminated)[0].reason


def test_a_server_that_does_not_let_connections_move(make_pair: MakePair) -> None:
    pair = make_pair(server={"movable": False})
    (upload,) = begin(pair, CONTENT)
    halfway(pair, upload)
    move(pair)

    assert ends(pair) is CloseKind.MOVED
    assert "does not let" in pair.of_kind(ConnectionTerminated)[0].reason


def test_what_it_forbids_does_not_concern_a_nat(make_pair: MakePair) -> None:
    pair = make_pair(server={"movable": False}, conditions=SLOW)
    (upload,) = begin(pair, CONTENT)
    halfway(pair, upload)
    pair.client = ELSEWHERE
    finish(pair, upload)

    assert server_at(pair, ELSEWHERE)


def test_without_a_spare_connection_id(make_pair: MakePair) -> None:
    pair = make_pair()
    (upload,) = begin(pair, CONTENT)
    halfway(pair, upload)
    pair.machine.quic._peer_cid_available.clear()
    move(pair)

    assert ends(pair) is CloseKind.MOVED
    assert "connection id" in pair.of_kind(ConnectionTerminated)[0].reason


def test_the_way_may_change_while_addresses_stay(make_pair: MakePair) -> None:
    pair = make_pair(conditions=SLOW)
    (upload,) = begin(pair, CONTENT)
    halfway(pair, upload)
    connection_id = pair.machine.quic._peer_cid.cid
    pair.machine.path_changed(pair.now_s)

    assert pair.machine.recovery().congestion_window_bytes == INITIAL_WINDOW
    finish(pair, upload)
    assert pair.machine.quic._peer_cid.cid == connection_id


def test_an_answer_is_asked_for_even_when_nothing_is_to_be_said(make_pair: MakePair) -> None:
    pair = make_pair(conditions=SLOW)
    pair.run(lambda: pair.machine.quic._handshake_confirmed)
    pair.run(lambda: pair.machine.recovery().bytes_in_flight == 0)
    pair.machine.path_changed(pair.now_s)
    changed_s = pair.now_s
    pair.run(lambda: pair.machine.recovery().smoothed_rtt_s is not None)
    # One round trip later, and not when the idle timeout is near.
    assert pair.now_s - changed_s < 3 * SLOW.delay_s
    pair.run(lambda: pair.machine.recovery().bytes_in_flight == 0)
    move(pair)
    pair.run(lambda: pair.machine.recovery().smoothed_rtt_s is not None)

    assert server_at(pair, ELSEWHERE)
