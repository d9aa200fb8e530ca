"""What must be true of every profile, written against the contract and not against the fold."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import trilane
from trilane.transport.profile.invariants import order_violations

CONNECTING = (
    "fetchStart",
    "domainLookUpStart",
    "domainLookUpEnd",
    "connectStart",
    "connectEnd",
    "requestStart",
    "requestEnd",
)
ANSWERING = ("requestStart", "responseStart", "responseEnd")
SECURING = ("connectStart", "SSLconnectionStart", "SSLconnectionEnd", "connectEnd")


def check_order(profile: trilane.Profile) -> Mapping[str, object]:
    """Contract section 5: the order always holds. Return the seed's view."""
    assert order_violations(profile) == []
    seed = profile.seed()
    # An early response may precede the end of the request, and then the end is not on the way.
    connecting = [
        name for name in CONNECTING if not (profile.early_response and name == "requestEnd")
    ]
    secured = [SECURING] if seed["SSLconnectionStart"] else []
    for chain in (connecting, ANSWERING, *secured):
        for earlier, later in pairwise(chain):
            # A phase that was not reached is 0.
            if seed[earlier] and seed[later]:
                assert number(seed, earlier) <= number(seed, later), (earlier, later, seed)
    return seed


def check_complete(response: trilane.Response, *, protocol: str, secure: bool) -> None:
    """A fresh connection that carried a request to its end shows every phase."""
    profile = response.profile
    assert profile is not None
    seed = check_order(profile)
    assert seed["socketReused"] is False
    assert seed["protocol"] == protocol
    assert seed["requestEnd"]
    assert seed["responseEnd"]
    assert bool(seed["SSLconnectionStart"]) is secure
    if protocol == "quic":
        assert seed["SSLconnectionStart"] == seed["connectStart"]
        assert seed["SSLconnectionEnd"] == seed["connectEnd"]
    assert seed["peerIP"] == "127.0.0.1"
    assert number(seed, "rtt") > 0
    assert profile.upload_complete
    assert profile.body_bytes in (None, profile.body_sent_bytes)
    assert number(seed, "sendBytesCount") > profile.body_sent_bytes
    assert number(seed, "receivedBytedCount") > len(response.content)


def check_reused(response: trilane.Response, *, secure: bool) -> None:
    """On a reused connection every connecting phase equals fetchStart; SSL is 0 on plain http."""
    profile = response.profile
    assert profile is not None
    seed = check_order(profile)
    assert seed["socketReused"] is True
    for name in ("domainLookUpStart", "domainLookUpEnd", "connectStart", "connectEnd"):
        assert seed[name] == seed["fetchStart"], (name, seed)
    for name in ("SSLconnectionStart", "SSLconnectionEnd"):
        assert seed[name] == (seed["fetchStart"] if secure else 0), (name, seed)


def number(seed: Mapping[str, object], name: str) -> float:
    value = seed[name]
    assert isinstance(value, int | float)
    return value
