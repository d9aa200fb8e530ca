"""The order every profile keeps, as curl asserts its own timeline."""

from __future__ import annotations

from itertools import pairwise

from .moments import Ns
from .profile import Profile


def order_violations(profile: Profile) -> list[str]:
    """What is out of order; empty for a sound profile. Moments that did not happen are skipped.

    Two exceptions are part of the order: with early data the request may start before the
    connection is complete, and an early response may start before the request ends.
    """
    early_data = profile.tls is not None and bool(profile.tls.early_data_accepted)
    connecting = ["dns_start", "dns_end", "connect_start", "tcp_connected"]
    handshakes = ["proxy_handshake_start", "proxy_handshake_end", "tls_start", "tls_end"]
    connecting += ["proxy_connect_end", *handshakes, "connect_end"]
    chains = [
        ["invoke_start", "queue_start", "queue_end", "fetch_start", *connecting],
        ["fetch_start" if early_data else "connect_end", "request_start", "request_end"],
        ["fetch_start", "request_start", "response_start", "response_head_end", "response_end"],
        # Beside a name server over HTTPS, the local one may be asked for its network's translator.
        ["fetch_start", "http_dns_start", "http_dns_end", "connect_start"],
        ["dns_end", "proxy_connect_start", "connect_start"],
        ["http_dns_end", "proxy_connect_start"],
        ["request_end", "request_acked"],
        ["request_start", "interim_start", "response_start"],
        ["invoke_start", "fetch_start", "failed"],
    ]
    if not profile.early_response:
        chains.append(["request_end", "response_start"])
    return [problem for chain in chains for problem in _out_of_order(profile, chain)]


def _out_of_order(profile: Profile, names: list[str]) -> list[str]:
    times: list[tuple[str, Ns]] = []
    for name in names:
        at = getattr(profile, name)
        if at is not None:
            times.append((name, at))
    return [
        f"{later} ({later_at}) is before {earlier} ({earlier_at})"
        for (earlier, earlier_at), (later, later_at) in pairwise(times)
        if later_at < earlier_at
    ]
