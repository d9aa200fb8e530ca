"""The seed's view of a profile: its spellings, its units, its rules for what did not happen.

Times are epoch milliseconds with microsecond fraction. 0 stands for "not reached"; a phase that a
reused connection or a cache made unnecessary equals fetchStart; `SSLconnection*` is 0 on plain
http; `redirect*` is 0 unless every hop stayed on the origin; `httpDNS*` is there only when names
are looked up over HTTPS.
"""

from __future__ import annotations

from ..config import HttpVersion
from ..quality.estimate import QualityEstimate
from .moments import Ns
from .profile import Profile

_PROTOCOL_NAMES = {HttpVersion.HTTP1: "http1.1", HttpVersion.HTTP2: "h2", HttpVersion.HTTP3: "quic"}
#: Chromium's marker (net/nqe) for a round trip or throughput of which nothing is known.
_NO_ESTIMATE = -1


def seed_view(profile: Profile) -> dict[str, object]:
    """Every field of the seed's table, JSON-serialisable."""
    fetch_start = profile.fetch_start
    quality = profile.quality or QualityEstimate()
    skipped = fetch_start if profile.connect_end is not None or profile.socket_reused else None
    secure = profile.url is not None and profile.url.startswith("https:")
    show_redirects = profile.redirects_same_origin

    def ms(at: Ns | None, otherwise: Ns | None = None) -> float:
        moment = otherwise if at is None else at
        return 0 if moment is None else profile.wall.epoch_ms(moment)

    http_dns = {
        "httpDNSDomainLookUpStart": ms(profile.http_dns_start, skipped),
        "httpDNSDomainLookUpEnd": ms(profile.http_dns_end, skipped),
    }
    return {
        "invokeStart": ms(profile.invoke_start),
        **(http_dns if profile.http_dns else {}),
        "queueStart": ms(profile.queue_start),
        "queueEnd": ms(profile.queue_end),
        "redirectStart": ms(profile.redirect_start) if show_redirects else 0,
        "redirectEnd": ms(profile.redirect_end) if show_redirects else 0,
        "fetchStart": ms(fetch_start),
        "domainLookUpStart": ms(profile.dns_start, skipped),
        "domainLookUpEnd": ms(profile.dns_end, skipped),
        "connectStart": ms(profile.connect_start, skipped),
        "connectEnd": ms(profile.connect_end, skipped),
        "SSLconnectionStart": ms(profile.tls_start, skipped) if secure else 0,
        "SSLconnectionEnd": ms(profile.tls_end, skipped) if secure else 0,
        "requestStart": ms(profile.request_start),
        "requestEnd": ms(profile.request_end),
        "responseStart": ms(profile.response_start),
        "responseEnd": ms(profile.response_end),
        "rtt": _rounded(profile.rtt_ms),
        "estimate_nettype": int(quality.effective_type),
        "httpRttEstimate": _estimated(quality.http_rtt_ms),
        "transportRttEstimate": _estimated(quality.transport_rtt_ms),
        "downstreamThroughputKbpsEstimate": _estimated(quality.downstream_kbps),
        "upstreamThroughputKbpsEstimate": _estimated(quality.upstream_kbps),
        "throughputKbps": _rounded(profile.throughput_kbps),
        "peerIP": profile.peer_ip or "",
        "port": profile.port or 0,
        "socketReused": profile.socket_reused,
        "sendBytesCount": profile.sent_bytes,
        "receivedBytedCount": profile.received_bytes,
        "protocol": _PROTOCOL_NAMES[profile.http_version] if profile.http_version else "unknown",
        "usingHighPerformanceMode": profile.high_performance,
    }


def _estimated(value: float | None) -> float:
    return _NO_ESTIMATE if value is None else round(value, 3)


def _rounded(value: float | None) -> float:
    return 0 if value is None else round(value, 3)
