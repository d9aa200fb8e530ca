"""Whose round trips are taken, and how often: addresses and the throttle."""

from __future__ import annotations

import pytest

from tests.quality.support import MS, S
from trilane.transport.quality.peers import is_public
from trilane.transport.quality.throttle import RttThrottle


@pytest.mark.parametrize(
    ("address", "public"),
    [
        # PrivateAddressRTTNotNotified
        ("157.0.0.1", True),
        ("127.0.0.1", False),
        ("192.168.0.1", False),
        ("::1", False),
        ("0.0.0.0", False),
        ("2607:f8b0:4006:819::200e", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("172.32.0.1", True),
        ("169.254.1.1", False),
        ("100.64.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("224.0.1.1", False),
        ("::ffff:192.168.0.1", False),
        ("::ffff:157.0.0.1", True),
        ("memory", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_connection_speaks_once_a_second_while_others_speak() -> None:
    throttle, now = RttThrottle(), 1000 * S

    assert throttle.admits(1, 10, now)
    assert not throttle.admits(1, 10, now + 100 * MS)
    assert throttle.admits(2, 10, now + 100 * MS)
    assert not throttle.admits(1, 10, now + 299 * MS)
    assert throttle.admits(3, 10, now + 800 * MS)
    # A second after it last spoke, though another spoke just now.
    assert not throttle.admits(1, 10, now + 999 * MS)
    assert throttle.admits(1, 10, now + 1000 * MS)


def test_a_connection_alone_speaks_five_times_a_second() -> None:
    throttle, now = RttThrottle(), 1000 * S

    admitted = [throttle.admits(1, 10, now + ms * MS) for ms in (0, 199, 200, 399, 400)]

    assert admitted == [True, False, True, False, True]


@pytest.mark.parametrize(("rtt_ms", "admitted"), [(0.0, False), (0.001, False), (0.0011, True)])
def test_a_microsecond_is_no_round_trip(rtt_ms: float, admitted: bool) -> None:
    assert RttThrottle().admits(1, rtt_ms, S) is admitted


def test_what_is_refused_does_not_hold_up_others() -> None:
    throttle = RttThrottle()
    assert not throttle.admits(1, 0.0, S)

    assert throttle.admits(1, 10, S)


def test_silent_connections_are_forgotten() -> None:
    throttle = RttThrottle()
    for number in range(1000):
        assert throttle.admits(number, 10, number * S)

    # All but the one that speaks may speak again at any time.
    assert list(throttle._spoke_at) == [999]
