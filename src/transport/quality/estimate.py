"""What the estimator says: a value that profiles carry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .network import EffectiveType


class EstimateSource(StrEnum):
    """Where a figure comes from; of several sources the first of this list."""

    OBSERVED = "observed"
    """Measured by requests, on this network."""
    CACHED = "cached"
    """Known from an earlier stay on this network."""
    DEFAULT = "default"
    """Supposed of this type of network."""
    TYPICAL = "typical"
    """Put in place of better figures, because the signal is too weak to believe them."""
    NONE = "none"
    """There is no figure."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a figure rests on."""

    source: EstimateSource = EstimateSource.NONE
    samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityEstimate:
    """The quality of the network, estimated over several requests; None where nothing is known."""

    effective_type: EffectiveType = EffectiveType.UNKNOWN
    http_rtt_ms: float | None = None
    """From the last byte of a request to the first of its response."""
    transport_rtt_ms: float | None = None
    """TCP's or QUIC's."""
    end_to_end_rtt_ms: float | None = None
    """QUIC's alone: TCP may be answered by something in between."""
    downstream_kbps: int | None = None
    upstream_kbps: int | None = None
    """From acknowledged bytes."""
    http_rtt_evidence: Evidence = Evidence()
    transport_rtt_evidence: Evidence = Evidence()
    end_to_end_rtt_evidence: Evidence = Evidence()
    downstream_evidence: Evidence = Evidence()
    upstream_evidence: Evidence = Evidence()
