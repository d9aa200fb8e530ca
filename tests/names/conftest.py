"""A name server over HTTPS with records of the receivers the tests upload to."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.peers.certificates import Certificates
from tests.peers.name_server_front import caddy_front
from tests.peers.name_servers import alpn, dnsdist, hint, host_record, https_record, port
from tests.peers.scripted import refused_port
from tests.peers.servers import Endpoints
from tests.peers.started import started

_kept = ExitStack()
atexit.register(_kept.close)
#: Nobody listens there, nor can, for it is kept; the records say where to go instead.
CLOSED_PORT = _kept.enter_context(refused_port())


@pytest.fixture(scope="session")
def doh(server_folder: Path, certificates: Certificates, caddy: Endpoints) -> Iterator[Endpoints]:
    there = caddy.https_port or 0
    prefix = f"_{CLOSED_PORT}._https"
    records = [
        *map(host_record, ("moved.trilane.test", "aliased.trilane.test")),
        *map(host_record, ("service.trilane.test", "plain.trilane.test", "strange.trilane.test")),
        host_record("hinted.trilane.test", "192.0.2.1"),
        # Both families: dnsmasq names no SOA where one has no address, so that is not remembered.
        host_record("one.trilane.test", "127.0.0.1,::1"),
        "cname=two.trilane.test,one.trilane.test",
        https_record(
            f"{prefix}.moved.trilane.test",
            1,
            "service.trilane.test",
            alpn("h3", "h2") | port(there),
        ),
        https_record(f"{prefix}.aliased.trilane.test", 0, "target.trilane.test", {}),
        https_record(
            "target.trilane.test", 1, "service.trilane.test", alpn("h3", "h2") | port(there)
        ),
        # The target has no address of its own in time; the hint says it.
        https_record(
            f"{prefix}.hinted.trilane.test",
            1,
            "broken.trilane.test",
            alpn("h3") | port(there) | hint("127.0.0.1"),
        ),
        https_record(f"_{there}._https.plain.trilane.test", 1, "", alpn("h2")),
        # Key 667 is mandatory, and nobody knows what it means.
        https_record(
            f"_{there}._https.strange.trilane.test",
            1,
            "nowhere.trilane.test",
            {0: b"\x02\x9b", 667: b"x"} | alpn("h3"),
        ),
    ]
    yield from started(dnsdist(server_folder, certificates, records))


@pytest.fixture(scope="session")
def doh_front(
    server_folder: Path, certificates: Certificates, doh: Endpoints
) -> Iterator[Endpoints]:
    """The same name server, asked over all three protocols."""
    yield from started(caddy_front(server_folder, certificates, doh))


@pytest.fixture
def dns(doh: Endpoints) -> str:
    """The same name server in clear."""
    return f"dns://127.0.0.1:{doh.http_port}"
