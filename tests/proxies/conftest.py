"""The proxies, each started once."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import proxies
from tests.peers.certificates import Certificates
from tests.peers.proxies import Proxy
from tests.peers.servers import Endpoints
from tests.peers.started import started
from tests.proxies.kinds import KINDS, TINY_PASSWORD


@pytest.fixture(scope="session")
def dante(server_folder: Path) -> Iterator[Proxy]:
    yield from started(proxies.dante(server_folder, getpass.getuser()))


@pytest.fixture(scope="session")
def microsocks(server_folder: Path) -> Iterator[Proxy]:
    yield from started(proxies.microsocks(server_folder))


@pytest.fixture(scope="session")
def v2ray(server_folder: Path) -> Iterator[Proxy]:
    yield from started(proxies.v2ray(server_folder))


@pytest.fixture(scope="session")
def squid(server_folder: Path) -> Iterator[Proxy]:
    yield from started(proxies.squid(server_folder))


@pytest.fixture(scope="session")
def tinyproxy(server_folder: Path) -> Iterator[Proxy]:
    yield from started(proxies.tinyproxy(server_folder))


@pytest.fixture(scope="session")
def guarded_tinyproxy(server_folder: Path) -> Iterator[Proxy]:
    yield from started(proxies.tinyproxy(server_folder, password=TINY_PASSWORD))


@pytest.fixture(scope="session")
def secure_tinyproxy(
    server_folder: Path, certificates: Certificates, tinyproxy: Proxy
) -> Iterator[Proxy]:
    yield from started(proxies.tls_before(tinyproxy, server_folder, certificates))


@pytest.fixture(scope="session")
def secure_squid(server_folder: Path, certificates: Certificates, squid: Proxy) -> Iterator[Proxy]:
    yield from started(proxies.tls_before(squid, server_folder, certificates))


@pytest.fixture
def proxy(request: pytest.FixtureRequest, kind: str) -> Proxy:
    """The proxy of a test that is made for several kinds."""
    found: Proxy = request.getfixturevalue(KINDS[kind].fixture)
    return found


@pytest.fixture(scope="session")
def trust(server_folder: Path, certificates: Certificates, receiver: Endpoints) -> str:
    """The authorities of the receiver and of the proxy behind TLS."""
    both = server_folder / "trust.pem"
    both.write_bytes(receiver.ca.read_bytes() + certificates.ca.read_bytes())
    return str(both)
