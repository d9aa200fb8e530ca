"""A connected pair, ready for requests; foreign servers for one test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from tests.http3.pair import Pair, ServerSide, client_configuration, make_machine
from tests.peers.certificates import Certificates
from tests.peers.process import ProgramMissing
from tests.peers.servers import Endpoints
from trilane.transport.net.memory_datagram import LinkConditions

MakePair = Callable[..., Pair]


@pytest.fixture
def make_pair(certificates: Certificates) -> MakePair:
    """Makes pairs whose handshake is complete."""

    def make(
        *,
        conditions: LinkConditions | None = None,
        seed: int = 1,
        client: dict[str, object] | None = None,
        server: dict[str, object] | None = None,
        **machine_changes: object,
    ) -> Pair:
        configuration = client_configuration(certificates, **(client or {}))
        machine = make_machine(configuration, **machine_changes)
        pair = Pair(machine, ServerSide(certificates.server, **(server or {})), conditions, seed)  # type: ignore[arg-type]
        pair.connect()
        pair.run(lambda: machine.handshake_complete)
        return pair

    return make


@pytest.fixture
def start_server() -> Iterator[Callable[[AbstractContextManager[Endpoints]], Endpoints]]:
    """Starts a foreign server for one test; without its program, skips or fails the test."""
    with ExitStack() as stack:

        def start(server: AbstractContextManager[Endpoints]) -> Endpoints:
            try:
                return stack.enter_context(server)
            except ProgramMissing as exc:
                if os.environ.get("TRILANE_REQUIRE_INTEROP") == "1":
                    pytest.fail(str(exc))
                pytest.skip(str(exc))

        yield start
