"""Classes of networks, and what limits them: the golden edges and the tables."""

from __future__ import annotations

import pytest

from trilane.transport.quality.network import (
    PLATFORM_DEFAULTS,
    TYPICAL,
    EffectiveType,
    Network,
    NetworkType,
    Quality,
    capped_by_signal,
    capped_kbps,
    effective_type_of,
)

SLOW_2G, TYPE_2G, TYPE_3G, TYPE_4G = (
    EffectiveType.SLOW_2G,
    EffectiveType.TYPE_2G,
    EffectiveType.TYPE_3G,
    EffectiveType.TYPE_4G,
)


@pytest.mark.parametrize(
    ("http_rtt_ms", "label"),
    [
        (271, "4g"),
        (272, "3g"),
        (1419, "3g"),
        (1420, "2g"),
        (2009, "2g"),
        (2010, "slow-2g"),
        # Between whole milliseconds.
        (271.999, "4g"),
        (2009.999, "2g"),
        # DefaultHttpRTTBasedThresholds
        (5000, "slow-2g"),
        (4000, "slow-2g"),
        (3000, "slow-2g"),
        (2000, "2g"),
        (1500, "2g"),
        (1000, "3g"),
        (100, "4g"),
        (20, "4g"),
        (None, "unknown"),
    ],
)
def test_the_http_round_trip_alone_decides(http_rtt_ms: float | None, label: str) -> None:
    assert effective_type_of(http_rtt_ms).label == label


def test_the_numbers_are_those_of_the_seed() -> None:
    assert [(kind.label, int(kind)) for kind in EffectiveType] == [
        ("unknown", 0), ("offline", 1), ("slow-2g", 2), ("2g", 3), ("3g", 4), ("4g", 5),
    ]  # fmt: skip


@pytest.mark.parametrize("effective_type", TYPICAL)
def test_a_typical_network_is_of_its_own_class(effective_type: EffectiveType) -> None:
    assert effective_type_of(TYPICAL[effective_type].http_rtt_ms) is effective_type


def test_every_network_but_5g_has_a_default_as_in_chromium() -> None:
    assert PLATFORM_DEFAULTS.keys() == set(NetworkType) - {NetworkType.CELLULAR_5G}
    # The figures of a fresh Chromium, which dumps of real mini-programs show.
    assert PLATFORM_DEFAULTS[NetworkType.UNKNOWN] == Quality(115, 55, 1961)


@pytest.mark.parametrize(
    ("http_rtt_ms", "observed_kbps", "expected_kbps"),
    [
        (3000, 2**31 - 1, 140),
        (1500, 2**31 - 1, 262),
        (700, 2**31 - 1, 1400),
        (500, 2**31 - 1, 1400),
        (500, 100, 100),
        (40, 2**31 - 1, 2**31 - 1),
        (40, 100, 100),
        (None, 5000, 5000),
        (3000, None, None),
    ],
)
def test_a_slow_network_is_not_believed_to_carry_much(
    http_rtt_ms: float | None, observed_kbps: int | None, expected_kbps: int | None
) -> None:
    assert capped_kbps(observed_kbps, effective_type_of(http_rtt_ms)) == expected_kbps


@pytest.mark.parametrize(
    ("network_type", "caps"),
    [
        (NetworkType.CELLULAR_2G, (SLOW_2G, SLOW_2G, TYPE_2G, TYPE_4G, TYPE_4G)),
        (NetworkType.CELLULAR_3G, (SLOW_2G, TYPE_2G, TYPE_3G, TYPE_4G, TYPE_4G)),
        (NetworkType.CELLULAR_4G, (TYPE_2G, TYPE_3G, TYPE_4G, TYPE_4G, TYPE_4G)),
        (NetworkType.CELLULAR_5G, (TYPE_2G, TYPE_3G, TYPE_4G, TYPE_4G, TYPE_4G)),
        (NetworkType.WIFI, (TYPE_2G, TYPE_3G, TYPE_4G, TYPE_4G, TYPE_4G)),
        (NetworkType.ETHERNET, (TYPE_4G,) * 5),
    ],
)
def test_a_weak_signal_caps_the_class(
    network_type: NetworkType, caps: tuple[EffectiveType, ...]
) -> None:
    for level, cap in enumerate(caps):
        network = Network(network_type, signal_level=level)
        assert capped_by_signal(TYPE_4G, network) is cap
        assert capped_by_signal(SLOW_2G, network) is SLOW_2G
        assert capped_by_signal(EffectiveType.UNKNOWN, network) is EffectiveType.UNKNOWN
    assert capped_by_signal(TYPE_4G, Network(network_type)) is TYPE_4G


@pytest.mark.parametrize("level", [-1, 5])
def test_a_signal_level_is_0_to_4(level: int) -> None:
    with pytest.raises(ValueError, match="0 to 4"):
        Network(NetworkType.WIFI, signal_level=level)
