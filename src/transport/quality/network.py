"""What a network is and how good it is: Chromium's classes and tables (net/nqe), as data.

Numbers are those of `network_quality_estimator_params.cc`: percentiles of what Android devices
observed on each kind of network.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType


class EffectiveType(IntEnum):
    """How good a network is, whatever it is made of; ordered, and the seed's `estimate_nettype`.

    The seed's table ends with 6, "last": Chromium's sentinel, which is never a result.
    """

    UNKNOWN = 0
    OFFLINE = 1
    SLOW_2G = 2
    TYPE_2G = 3
    TYPE_3G = 4
    TYPE_4G = 5

    @property
    def label(self) -> str:
        """Its name as the web writes it: `slow-2g`, `4g`."""
        return self.name.removeprefix("TYPE_").lower().replace("_", "-")


class NetworkType(Enum):
    """What a network is made of, as the operating system says."""

    UNKNOWN = "unknown"
    ETHERNET = "ethernet"
    WIFI = "wifi"
    CELLULAR_2G = "2g"
    CELLULAR_3G = "3g"
    CELLULAR_4G = "4g"
    CELLULAR_5G = "5g"
    BLUETOOTH = "bluetooth"
    NONE = "none"
    """The machine is offline."""


@dataclass(frozen=True, slots=True)
class Network:
    """The network the machine is on."""

    type: NetworkType = NetworkType.UNKNOWN
    name: str = ""
    """Tells networks of one type apart: an SSID, an operator."""
    signal_level: int | None = None
    """Strength of a radio signal, 0 to 4; None when it is not known or there is none."""

    def __post_init__(self) -> None:
        if self.signal_level is not None and not 0 <= self.signal_level <= 4:
            raise ValueError(f"signal_level must be 0 to 4 or None, not {self.signal_level!r}")


@dataclass(frozen=True, slots=True)
class Quality:
    """The three figures of a network, in milliseconds and kbit/s."""

    http_rtt_ms: float
    transport_rtt_ms: float
    downstream_kbps: int


#: The least HTTP round trip of each class, slowest first; what is faster than all is 4G.
HTTP_RTT_THRESHOLDS_MS = (
    (2010, EffectiveType.SLOW_2G),
    (1420, EffectiveType.TYPE_2G),
    (272, EffectiveType.TYPE_3G),
)

#: What networks of a class are typically like.
TYPICAL = MappingProxyType(
    {
        EffectiveType.SLOW_2G: Quality(3600, 3000, 40),
        EffectiveType.TYPE_2G: Quality(1800, 1500, 75),
        EffectiveType.TYPE_3G: Quality(450, 400, 400),
        EffectiveType.TYPE_4G: Quality(175, 125, 1600),
    }
)

#: What to suppose of a network before anything was observed; used only when asked for.
PLATFORM_DEFAULTS = MappingProxyType(
    {
        NetworkType.UNKNOWN: Quality(115, 55, 1961),
        NetworkType.ETHERNET: Quality(90, 33, 1456),
        NetworkType.WIFI: Quality(116, 66, 2658),
        NetworkType.CELLULAR_2G: Quality(1726, 1531, 74),
        NetworkType.CELLULAR_3G: Quality(273, 209, 749),
        NetworkType.CELLULAR_4G: Quality(137, 80, 1708),
        NetworkType.NONE: Quality(163, 83, 575),
        NetworkType.BLUETOOTH: Quality(385, 318, 476),
    }
)

#: The throughput of a slow class is believed up to this multiple of the typical one.
TYPICAL_KBPS_MULTIPLE = 3.5

#: By network and signal level (0, 1, 2): the best class to be believed. Above 2, any.
_SIGNAL_CAPS = {
    NetworkType.CELLULAR_2G: (EffectiveType.SLOW_2G, EffectiveType.SLOW_2G, EffectiveType.TYPE_2G),
    NetworkType.CELLULAR_3G: (EffectiveType.SLOW_2G, EffectiveType.TYPE_2G, EffectiveType.TYPE_3G),
    NetworkType.CELLULAR_4G: (EffectiveType.TYPE_2G, EffectiveType.TYPE_3G, EffectiveType.TYPE_4G),
    NetworkType.CELLULAR_5G: (EffectiveType.TYPE_2G, EffectiveType.TYPE_3G, EffectiveType.TYPE_4G),
    NetworkType.WIFI: (EffectiveType.TYPE_2G, EffectiveType.TYPE_3G, EffectiveType.TYPE_4G),
}


def effective_type_of(http_rtt_ms: float | None) -> EffectiveType:
    """The class of a network with this HTTP round trip; nothing else enters the decision."""
    if http_rtt_ms is None:
        return EffectiveType.UNKNOWN
    for threshold_ms, effective_type in HTTP_RTT_THRESHOLDS_MS:
        if http_rtt_ms >= threshold_ms:
            return effective_type
    return EffectiveType.TYPE_4G


def capped_by_signal(effective_type: EffectiveType, network: Network) -> EffectiveType:
    """The class to be believed at the network's signal level."""
    caps, level = _SIGNAL_CAPS.get(network.type), network.signal_level
    if effective_type not in TYPICAL or caps is None or level is None or level >= len(caps):
        return effective_type
    return min(effective_type, caps[level])


def capped_kbps(kbps: int | None, effective_type: EffectiveType) -> int | None:
    """The throughput to be believed of a network of this class."""
    if kbps is None or effective_type not in TYPICAL or effective_type is EffectiveType.TYPE_4G:
        return kbps
    return min(kbps, int(TYPICAL[effective_type].downstream_kbps * TYPICAL_KBPS_MULTIPLE))
