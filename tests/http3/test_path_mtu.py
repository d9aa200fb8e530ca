"""Finding out what a path takes (RFC 8899): the search alone, and on the virtual link."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http3.bulk import BulkUpload
from tests.http3.conftest import MakePair
from tests.http3.pair import Pair
from trilane.transport.net.memory_datagram import LinkConditions
from trilane.transport.protocols.events import ResponseEnded
from trilane.transport.protocols.path_mtu import BASE_BYTES, PathMtu

CONTENT = random.Random(3).randbytes(400_000)


def search(path: PathMtu, takes_bytes: int, now_s: float = 0.0) -> list[int]:
    """Probe until there is nothing more to probe; the sizes probed."""
    probed = []
    while (size := path.next_probe(now_s)) is not None:
        probed.append(size)
        (path.arrived if size <= takes_bytes else path.lost)(size)
    return probed


@given(st.integers(1200, 65_000), st.integers(1200, 65_527))
def test_the_search_ends_near_what_the_path_takes(most: int, takes: int) -> None:
    path = PathMtu(most)
    probed = search(path, takes)

    assert path.size_bytes <= min(most, takes)
    assert path.size_bytes == most or min(most, takes) - path.size_bytes <= 16
    assert len(probed) <= 3 * 17
    assert all(BASE_BYTES < size <= most for size in probed)


def test_the_largest_size_is_tried_first() -> None:
    path = PathMtu(1472)

    assert search(path, 1500) == [1472]
    assert path.size_bytes == 1472


def test_a_size_gets_three_chances() -> None:
    path = PathMtu(1472)
    for _ in range(2):
        assert path.next_probe(0.0) == 1472
        assert path.next_probe(0.0) is None
        path.lost(1472)
    assert path.next_probe(0.0) == 1472
    path.arrived(1472)

    assert path.size_bytes == 1472


def test_what_the_host_says_is_tried_next() -> None:
    path = PathMtu(1472)
    assert path.next_probe(0.0) == 1472
    path.refused(None, ipv6=True)
    path.refused(1500, ipv6=True)

    assert path.next_probe(0.0) == 1452
    path.lost(1472)
    path.arrived(1452)
    assert path.size_bytes == 1452
    assert path.next_probe(0.0) is None


def test_a_narrower_path_is_believed_at_once() -> None:
    path = PathMtu(1472)
    search(path, 1472)
    path.refused(1280, ipv6=False)

    assert path.size_bytes == 1252


def test_nobody_can_talk_it_below_the_base() -> None:
    path = PathMtu(1472)
    search(path, 1472)
    path.refused(68, ipv6=False)

    assert path.size_bytes == BASE_BYTES
    assert path.next_probe(0.0) is None


def test_after_a_black_hole_smaller_sizes_are_tried() -> None:
    path = PathMtu(1472)
    search(path, 1472)
    path.swallowed()
    assert path.size_bytes == BASE_BYTES
    probed = search(path, 1300)

    assert max(probed) < 1472
    assert 1284 <= path.size_bytes <= 1300


def test_the_path_is_asked_again_after_ten_minutes() -> None:
    path = PathMtu(1472)
    search(path, 1300)
    assert path.next_probe(599.0) is None
    search(path, 1472, now_s=601.0)

    assert path.size_bytes == 1472
    assert path.next_probe(10_000.0) is None


def test_the_peers_limit_bounds_the_search() -> None:
    path = PathMtu(9000)
    path.bound(1350)

    assert search(path, 65_000) == [1350]


# --- on the link ------------------------------------------------------------------------------


def upload(pair: Pair, content: bytes = CONTENT) -> BulkUpload:
    one = BulkUpload(pair, content)
    pair.each_step = one.feed
    pair.run(lambda: bool(pair.of_kind(ResponseEnded)))
    assert bytes(pair.server.requests[one.stream_id].body) == one.body
    return one


@pytest.mark.parametrize("most", [1472, 9000])
def test_datagrams_grow_to_what_the_path_takes(make_pair: MakePair, most: int) -> None:
    pair = make_pair(max_datagram_bytes=most)
    assert max(pair.datagram_sizes) == 1200
    upload(pair)

    assert max(pair.datagram_sizes) == most
    assert pair.datagram_sizes.count(most) > 0.3 * len(CONTENT) / most
    assert pair.machine.recovery().lost_packets == 0


def test_a_narrow_path_costs_probes_and_nothing_else(make_pair: MakePair) -> None:
    pair = make_pair(max_datagram_bytes=1472, conditions=LinkConditions(largest_bytes=1400))
    upload(pair, CONTENT * 4)
    too_large = [size for size in pair.datagram_sizes if size > 1400]

    assert len(too_large) < 3 * 8
    assert len(too_large) == pair.link.counters.lost
    assert max(size for size in pair.datagram_sizes if size <= 1400) >= 1336
    # A lost probe is no congestion (RFC 9000 §14.4).
    assert pair.machine.recovery().lost_packets == 0


def test_a_path_that_becomes_narrow(make_pair: MakePair) -> None:
    pair = make_pair(max_datagram_bytes=1472)
    one = BulkUpload(pair, CONTENT)
    pair.each_step = one.feed
    pair.run(lambda: pair.datagram_sizes.count(1472) > 20)
    pair.link.conditions = LinkConditions(largest_bytes=1280)
    pair.run(lambda: bool(pair.of_kind(ResponseEnded)))

    assert bytes(pair.server.requests[one.stream_id].body) == one.body


def test_short_requests_probe_nothing(make_pair: MakePair) -> None:
    pair = make_pair(max_datagram_bytes=1472)
    one = BulkUpload(pair, CONTENT[:10_000])
    pair.each_step = one.feed
    pair.run(lambda: bool(pair.of_kind(ResponseEnded)))

    assert max(pair.datagram_sizes) == 1200


def test_many_short_requests_are_worth_a_probe(make_pair: MakePair) -> None:
    pair = make_pair(max_datagram_bytes=1472)
    for _ in range(10):
        one = BulkUpload(pair, CONTENT[:10_000])
        pair.each_step = one.feed
        pair.run(lambda: one.stream_id in {e.stream_id for e in pair.of_kind(ResponseEnded)})  # noqa: B023 - called at once

    assert pair.datagram_sizes.count(1472) > 1
