"""Every fault test proves, beside its own point, that no descriptor was left open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.faulty import Faulty
from tests.peers.certificates import Certificates
from tests.peers.leaks import no_leaked_descriptors


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


@pytest.fixture(params=["http", "https"])
def faulty(request: pytest.FixtureRequest, certificates: Certificates) -> Faulty:
    """Makes servers that misbehave, over http and over https."""
    tls = certificates.server.server_context("http/1.1") if request.param == "https" else None
    return Faulty(tls, certificates.ca)
