"""The emulated link's arithmetic, on a clock of its own."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.link.shaper import Direction, Shape


def test_a_perfect_wire_delivers_at_once() -> None:
    direction = Direction(Shape())

    direction.offer(b"packet", 1.0)

    assert direction.arrived(1.0) == [b"packet"]
    assert direction.next_due_s == inf


def test_a_delay_holds_packets_back() -> None:
    direction = Direction(Shape(delay_s=0.02))

    direction.offer(b"packet", 1.0)

    assert direction.next_due_s == pytest.approx(1.02)
    assert direction.arrived(1.0199) == []
    assert direction.arrived(1.0201) == [b"packet"]


def test_a_rate_spaces_packets_out() -> None:
    direction = Direction(Shape(rate_bytes_per_s=1000.0, queue_bytes=10_000))

    for _ in range(3):
        direction.offer(bytes(100), 1.0)

    assert direction.arrived(1.0999) == []
    assert len(direction.arrived(1.1001)) == 1
    assert len(direction.arrived(1.3001)) == 2


def test_an_idle_wire_saves_nothing_up() -> None:
    direction = Direction(Shape(rate_bytes_per_s=1000.0))

    direction.offer(bytes(100), 5.0)

    assert direction.next_due_s == pytest.approx(5.1)


def test_a_full_queue_drops_what_comes_last() -> None:
    direction = Direction(Shape(rate_bytes_per_s=1000.0, queue_bytes=250))

    for number in range(4):
        direction.offer(bytes([number]) * 100, 1.0)

    # 100 and 200 bytes fit; 300 would not, and neither do the next.
    assert [packet[0] for packet in direction.arrived(9.0)] == [0, 1]
    assert direction.counts.overflowed_packets == 2
    assert direction.counts.longest_queue_bytes == 200


def test_a_packet_larger_than_the_queue_passes_when_the_wire_is_free() -> None:
    direction = Direction(Shape(rate_bytes_per_s=1000.0, queue_bytes=50))

    direction.offer(bytes(100), 1.0)

    assert len(direction.arrived(2.0)) == 1


def losses(seed: int) -> list[int]:
    direction = Direction(Shape(loss=0.1, seed=seed))
    lost = losses_among(direction, 2000)
    assert direction.counts.lost_packets == len(lost)
    return lost


def losses_among(direction: Direction, packets: int) -> list[int]:
    for number in range(packets):
        direction.offer(number.to_bytes(2), 0.0)
    came = {int.from_bytes(packet) for packet in direction.arrived(0.0)}
    return [number for number in range(packets) if number not in came]


def test_losses_are_as_many_as_asked_for_and_the_same_for_a_seed() -> None:
    assert 140 < len(losses(1)) < 260
    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_losses_begin_anew_with_a_shape() -> None:
    shape = Shape(loss=0.1, seed=1)
    direction = Direction(shape)
    before = losses_among(direction, 500)

    direction.shape = shape

    assert losses_among(direction, 500) == before


def test_lost_packets_take_up_the_wire() -> None:
    direction = Direction(Shape(rate_bytes_per_s=1000.0, loss=1.0))
    direction.offer(bytes(100), 1.0)
    direction.shape = Shape(rate_bytes_per_s=1000.0)

    direction.offer(b"x" * 100, 1.0)

    assert direction.next_due_s == pytest.approx(1.2)


packets = st.lists(st.tuples(st.floats(0, 0.1), st.integers(1, 1500)), min_size=1, max_size=60)


@given(packets)
def test_nothing_is_faster_than_the_link_or_overtakes(steps: list[tuple[float, int]]) -> None:
    shape = Shape(delay_s=0.02, rate_bytes_per_s=50_000.0, queue_bytes=4000)
    direction, now_s = Direction(shape), 0.0
    for number, (gap_s, size) in enumerate(steps):
        now_s += gap_s
        direction.offer(number.to_bytes(4) + bytes(size), now_s)
    dues: list[tuple[float, bytes]] = []
    while (due_s := direction.next_due_s) < inf:
        dues += [(due_s, packet) for packet in direction.arrived(due_s)]

    numbers = [int.from_bytes(packet[:4]) for _, packet in dues]
    assert numbers == sorted(numbers)
    assert len(dues) + direction.counts.overflowed_packets == len(steps)
    assert direction.counts.carried_bytes == sum(len(packet) for _, packet in dues)
    for (earlier_s, _), (later_s, packet) in pairwise(dues):
        assert later_s - earlier_s >= len(packet) / shape.rate_bytes_per_s - 1e-9
