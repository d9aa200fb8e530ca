"""Fixtures: an emulated link, and receivers at its far end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.link.emulation import SERVER_ADDRESS, Link, emulated_link
from tests.link.namespaces import require_programs, require_root, require_tun
from tests.link.servers import Site, serving
from tests.link.shaper import Shape
from tests.peers.process import ahead_of_others

MakeLink = Callable[..., Link]


@pytest.fixture(scope="package")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Two hosts with a wire between them, one for all tests; `link` gives it its shape."""
    require_root()
    require_tun()
    require_programs()
    with emulated_link(tmp_path_factory.mktemp("link")) as link:
        yield link


@pytest.fixture(scope="package")
def site(wire: Link, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The receivers on the server's host."""
    require_programs(caddy="caddy")
    with ExitStack() as servers:
        with ahead_of_others():
            site = servers.enter_context(
                serving(wire.server, tmp_path_factory.mktemp("site"), SERVER_ADDRESS)
            )
        yield site


@pytest.fixture
def link(wire: Link) -> Iterator[MakeLink]:
    """Shape the wire: `link(rtt_ms=40, rate_mbit=10)`. Afterwards it is perfect, and has no NAT."""

    def make(
        *,
        rtt_ms: float = 0.0,
        rate_mbit: float = float("inf"),
        queue_bytes: int = 64 * 1024,
        loss: float = 0.0,
        seed: int = 0,
    ) -> Link:
        wire.shape(
            Shape(
                delay_s=rtt_ms / 2e3,
                rate_bytes_per_s=rate_mbit * 1e6 / 8,
                queue_bytes=queue_bytes,
                loss=loss,
                seed=seed,
            )
        )
        return wire

    yield make
    wire.shape(Shape())
    wire.black_hole()
    wire.end_translation()
