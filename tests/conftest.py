"""Every async test runs on asyncio and on trio (anyio's pytest plugin); servers run once."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis  # before anything is frozen: it looks through referrers
import pytest

from tests.peers import servers
from tests.peers.certificates import Certificates, make_certificates
from tests.peers.multi_buffer import installed_library
from tests.peers.servers import Endpoints
from tests.peers.started import started
from trilane.transport.protocols import ipsec_mb
from trilane.transport.protocols.ipsec_mb import IpsecMb

# Helpers that assert explain themselves as tests do.
pytest.register_assert_rewrite("tests.interop.profile_checks", "tests.peers.leaks")

# Variables that redirect certificate trust, or the traffic, would make comparisons lie.
_TRUST = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
for _name in (*_TRUST, *_PROXIES, *(name.lower() for name in _PROXIES)):
    os.environ.pop(_name, None)

# How long an example takes says something about the machine; what hangs meets pytest's limit.
hypothesis.settings.register_profile(
    "at any speed",
    parent=hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("at any speed")

_files_begun: set[str] = set()


def pytest_collection_finish() -> None:
    """Spare the collector what stays: thousands of tests, looked through each time one asks it."""
    _spare_what_stays()


def pytest_runtest_logstart(location: tuple[str, int | None, str]) -> None:
    """The same with what is kept of the tests of each file: their reports, until the end."""
    if location[0] not in _files_begun:
        _files_begun.add(location[0])
        _spare_what_stays()


def _spare_what_stays() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session", params=["cryptography", "libIPSec_MB"])
def library(request: pytest.FixtureRequest) -> IpsecMb | None:
    """What seals trains and records: None for cryptography, one by one."""
    return installed_library() if request.param == "libIPSec_MB" else None


@pytest.fixture
def each_sealer(library: IpsecMb | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the engine seal with the library, and without it."""
    monkeypatch.setattr(ipsec_mb, "installed", lambda: library)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where servers keep their configuration and logs."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def upstream(server_folder: Path, certificates: Certificates) -> Iterator[Endpoints]:
    yield from started(servers.upstream(server_folder, certificates))


@pytest.fixture(scope="session")
def caddy(
    server_folder: Path, certificates: Certificates, upstream: Endpoints
) -> Iterator[Endpoints]:
    assert upstream.http_port
    yield from started(servers.caddy(server_folder, certificates, upstream.http_port))


@pytest.fixture(scope="session")
def nginx(
    server_folder: Path, certificates: Certificates, upstream: Endpoints
) -> Iterator[Endpoints]:
    assert upstream.http_port
    yield from started(servers.nginx(server_folder, certificates, upstream.http_port))


@pytest.fixture(scope="session")
def nghttpd(server_folder: Path, certificates: Certificates) -> Iterator[Endpoints]:
    yield from started(servers.nghttpd(server_folder, certificates))


@pytest.fixture(scope="session")
def gtlsserver(server_folder: Path, certificates: Certificates) -> Iterator[Endpoints]:
    yield from started(servers.gtlsserver(server_folder, certificates))


@pytest.fixture(scope="session")
def receiver(server_folder: Path) -> Iterator[Endpoints]:
    yield from started(servers.receiver(server_folder))


@pytest.fixture(scope="session")
def hypercorn(server_folder: Path, certificates: Certificates) -> Iterator[Endpoints]:
    yield from started(servers.hypercorn(server_folder, certificates))
