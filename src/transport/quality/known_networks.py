"""What is remembered of networks the machine has left (Chromium's `network_quality_store`)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from .estimate import QualityEstimate
from .network import TYPICAL, Network, NetworkType

#: The network that was remembered longest ago is forgotten first.
MAX_NETWORKS = 20


class KnownNetworks:
    """The last estimates of each network, by type, name and signal level."""

    def __init__(self) -> None:
        self._estimates: OrderedDict[Network, QualityEstimate] = OrderedDict()

    def remember(self, network: Network, estimate: QualityEstimate) -> None:
        """Keep what is known, if anything is, and the network can be told from others."""
        nameless = network.type is NetworkType.UNKNOWN and not network.name
        if nameless or estimate.effective_type not in TYPICAL:
            return
        self._estimates[network] = estimate
        self._estimates.move_to_end(network)
        if len(self._estimates) > MAX_NETWORKS:
            self._estimates.popitem(last=False)

    def recall(self, network: Network) -> QualityEstimate | None:
        """What was known; figures that were not are what is typical of the class."""
        estimate = self._estimates.get(network)
        if estimate is None:
            return None
        typical = TYPICAL[estimate.effective_type]
        return replace(
            estimate,
            transport_rtt_ms=_known(estimate.transport_rtt_ms, typical.transport_rtt_ms),
            downstream_kbps=int(_known(estimate.downstream_kbps, typical.downstream_kbps)),
        )


def _known(figure: float | None, typical: float) -> float:
    return typical if figure is None else figure
