"""nghttpd with small windows, and nghttpd that answers before it has read the body."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import trilane
from tests.interop.cases import MIB, one_mebibyte
from tests.interop.profile_checks import check_order
from tests.peers import servers
from tests.peers.certificates import Certificates
from tests.peers.receivers import LogFollower, receipt_of, requests_in_nghttpd_log
from tests.peers.servers import Endpoints
from tests.peers.started import started

pytestmark = pytest.mark.interop


@pytest.fixture
def small_windows(tmp_path: Path, certificates: Certificates) -> Iterator[Endpoints]:
    flags = ("--echo-upload", "--verbose", "--window-bits=10", "--connection-window-bits=16")
    yield from started(servers.nghttpd(tmp_path, certificates, flags))


@pytest.fixture
def early(tmp_path: Path, certificates: Certificates) -> Iterator[Endpoints]:
    yield from started(servers.nghttpd(tmp_path, certificates, ("--early-response",)))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_windows_of_a_kibibyte(small_windows: Endpoints, tmp_path: Path, scheme: str) -> None:
    upload = one_mebibyte(tmp_path)
    url = small_windows.url(scheme, h2c=scheme == "http")
    async with trilane.AsyncClient(verify=str(small_windows.ca), timeout=60.0) as client:
        # The first one learns of the windows. nghttp2 resets a stream whose window its SETTINGS
        # shrink while a WINDOW_UPDATE waits to be written; tests/http2 shrinks windows instead.
        await client.upload(url, b"", protocol="h2")
        log = LogFollower(small_windows.log_of(scheme))
        response = await client.upload(url, files=upload.files, form=upload.form, protocol="h2")
    [logged] = requests_in_nghttpd_log(log)

    assert receipt_of(logged.headers, response.content).parts == upload.expected


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_early_answer_ends_the_upload_and_not_the_connection(
    early: Endpoints, scheme: str
) -> None:
    url = early.url(scheme, h2c=scheme == "http")
    async with trilane.AsyncClient(verify=str(early.ca)) as client:
        with anyio.fail_after(10):
            first = await client.upload(url, bytes(64 * MIB), protocol="h2")
            second = await client.upload(url, bytes(64 * MIB), protocol="h2")

    for response in (first, second):
        assert response.status_code == 200
        assert response.content == b"received\n"
        assert response.profile is not None
        check_order(response.profile)
        assert response.profile.early_response
        assert not response.profile.upload_complete
        assert response.profile.body_sent_bytes < 64 * MIB
    assert second.profile is not None
    assert second.profile.socket_reused
