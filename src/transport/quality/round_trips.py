"""How the three round trips bound each other, and which HTTP round trips are not to be believed.

Facts: Chromium's `UpdateHttpRttUsingAllRttValues` and `IsHangingRequest`
(net/nqe/network_quality_estimator.cc).
"""

from __future__ import annotations

from dataclasses import dataclass

#: Observations a round trip must rest on before it bounds another.
MIN_COUNT = 5
#: An HTTP round trip is at least a transport one, and at most this many end-to-end ones.
END_TO_END_MULTIPLE = 3.0
#: A request may take so many transport round trips, or so many usual HTTP ones, or this long …
HANGING_TRANSPORT_MULTIPLE = 8
HANGING_HTTP_MULTIPLE = 6
HANGING_MIN_MS = 500
#: … while nothing is known of the usual ones, of which this stands for one.
_UNKNOWN_RTT_MS = 10_000


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """The estimates, in milliseconds, and how many observations two of them rest on."""

    http_ms: float | None = None
    transport_ms: float | None = None
    end_to_end_ms: float | None = None
    transport_count: int = 0
    end_to_end_count: int = 0

    @property
    def end_to_end_if_sure(self) -> float | None:
        """The end-to-end round trip, once it bounds others."""
        return self.end_to_end_ms if self.end_to_end_count >= MIN_COUNT else None

    @property
    def transport_if_sure(self) -> float | None:
        """The transport round trip, once it bounds others."""
        return self.transport_ms if self.transport_count >= MIN_COUNT else None


def bounded_http_rtt_ms(measured: RoundTrips) -> float | None:
    """The HTTP round trip, no less than transport and end-to-end ones and no more than thrice."""
    http_ms = measured.http_ms
    if http_ms is None:
        return None
    if measured.transport_if_sure is not None:
        http_ms = max(http_ms, measured.transport_if_sure)
    end_to_end_ms = measured.end_to_end_if_sure
    if end_to_end_ms is not None:
        http_ms = min(max(http_ms, end_to_end_ms), end_to_end_ms * END_TO_END_MULTIPLE)
    return http_ms


def is_hanging(observed_ms: float, estimated: RoundTrips) -> bool:
    """Whether a request took so long that its server, not the network, was slow."""
    limits_ms = [HANGING_HTTP_MULTIPLE * _or_unknown(estimated.http_ms)]
    if estimated.end_to_end_if_sure is not None:
        limits_ms.append(HANGING_TRANSPORT_MULTIPLE * estimated.end_to_end_if_sure)
    if estimated.transport_count >= MIN_COUNT:
        limits_ms.append(HANGING_TRANSPORT_MULTIPLE * _or_unknown(estimated.transport_ms))
    return observed_ms > HANGING_MIN_MS and observed_ms >= max(limits_ms)


def _or_unknown(rtt_ms: float | None) -> float:
    return _UNKNOWN_RTT_MS if rtt_ms is None else rtt_ms
