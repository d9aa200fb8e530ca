"""A connected pair, ready for requests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.http3.pair import Pair, ServerSide, client_configuration, make_machine
from tests.peers.certificates import Certificates
from trilane.transport.net.memory_datagram import LinkConditions

MakePair = Callable[..., Pair]


@pytest.fixture
def make_pair(certificates: Certificates) -> MakePair:
    """Makes pairs whose handshake is complete."""

    def make(
        *, conditions: LinkConditions | None = None, seed: int = 1, **machine_changes: object
    ) -> Pair:
        machine = make_machine(client_configuration(certificates), **machine_changes)
        pair = Pair(machine, ServerSide(certificates.server), conditions, seed)
        pair.connect()
        pair.run(lambda: machine.handshake_complete)
        return pair

    return make
