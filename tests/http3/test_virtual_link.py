from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.net.memory_datagram import LinkConditions, VirtualLink

A, B = ("192.0.2.1", 1), ("192.0.2.2", 2)


def fates(conditions: LinkConditions, seed: int, count: int) -> list[tuple[float, bytes]]:
    link = VirtualLink(conditions, seed)
    for n in range(count):
        link.send(n.to_bytes(2, "big"), A, B, n * 0.001)
    arrived = []
    while (at := link.next_delivery_s()) is not None:
        arrived += [(at, delivery.data) for delivery in link.deliver(at)]
    return arrived


@given(
    st.integers(0, 2**32),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 0.1),
)
def test_a_seed_decides_everything(
    seed: int, loss: float, duplication: float, jitter_s: float
) -> None:
    conditions = LinkConditions(loss=loss, duplication=duplication, jitter_s=jitter_s)
    first = fates(conditions, seed, 50)

    assert first == fates(conditions, seed, 50)
    assert [at for at, _ in first] == sorted(at for at, _ in first)
    assert all(at >= int.from_bytes(data, "big") * 0.001 + 0.010 for at, data in first)


def test_loss_duplication_and_reordering_happen() -> None:
    arrived = fates(LinkConditions(loss=0.2, duplication=0.2, jitter_s=0.01), 1, 500)
    numbers = [int.from_bytes(data, "big") for _, data in arrived]

    assert 300 < len(set(numbers)) < 500
    assert len(numbers) > len(set(numbers))
    assert numbers != sorted(numbers)


def test_too_large_a_datagram_is_lost() -> None:
    link = VirtualLink(LinkConditions(largest_bytes=1280), 1)
    link.send(bytes(1280), A, B, 0.0)
    link.send(bytes(1281), A, B, 0.0)

    assert [len(delivery.data) for delivery in link.deliver(1.0)] == [1280]
    assert (link.counters.sent, link.counters.lost) == (2, 1)
