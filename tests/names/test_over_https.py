"""Names from a foreign server over HTTPS, and where its HTTPS records lead uploads."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

import trilane
from tests.names.conftest import CLOSED_PORT
from tests.peers.servers import Endpoints
from trilane.transport.errors import ResolveReason
from trilane.transport.profile.invariants import order_violations

pytestmark = pytest.mark.interop


def client(doh: Endpoints, *, method: str = "POST", http3: bool = False) -> trilane.AsyncClient:
    server = trilane.DnsOverHttps(doh.url("https", "/dns-query"), method)  # type: ignore[arg-type]
    return trilane.AsyncClient(verify=str(doh.ca), resolver=server, http3=http3)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("host", ["one.trilane.test", "two.trilane.test"])
async def test_a_name_is_found_over_https(
    doh: Endpoints, caddy: Endpoints, host: str, method: str
) -> None:
    async with client(doh, method=method) as uploads:
        first = await uploads.upload(caddy.url("https", host=host), b"x")
        used = await uploads.upload(caddy.url("https", host=host), b"x")
        # Another connection to the same name: http:// has its own.
        cached = await uploads.upload(caddy.url("http", host=host), b"x")
    for response in (first, used, cached):
        profile = response.profile
        assert profile is not None
        assert response.status_code == 200
        assert not order_violations(profile)
        # The local DNS was not asked.
        assert (profile.dns_start, profile.dns_end, profile.http_dns) == (None, None, True)
        seed = profile.seed()
        assert seed["domainLookUpStart"] == seed["domainLookUpEnd"] == seed["fetchStart"]
        if response is first:
            assert profile.http_dns_start is not None
            assert profile.http_dns_end is not None
            assert seed["httpDNSDomainLookUpEnd"] > seed["httpDNSDomainLookUpStart"]  # type: ignore[operator]
        else:
            assert (profile.http_dns_start, profile.http_dns_end) == (None, None)
            assert seed["httpDNSDomainLookUpStart"] == seed["fetchStart"]
            assert seed["httpDNSDomainLookUpEnd"] == seed["fetchStart"]


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("gone.trilane.test", ResolveReason.NO_SUCH_NAME),
        ("broken.trilane.test", ResolveReason.SERVER_FAILURE),
        ("a..b", ResolveReason.INVALID_NAME),
        ("x" * 64 + ".trilane.test", ResolveReason.INVALID_NAME),
        (".".join(["x" * 60] * 5), ResolveReason.INVALID_NAME),
    ],
)
async def test_why_a_name_was_not_found_is_told(
    doh: Endpoints, host: str, reason: ResolveReason
) -> None:
    async with client(doh) as uploads:
        with pytest.raises(trilane.ResolveError) as caught:
            await uploads.upload(f"https://{host}/", b"x")
    assert caught.value.reason is reason
    profile = caught.value.profile
    assert profile is not None
    assert profile.http_dns_start is not None
    assert profile.http_dns_end is not None


async def test_a_record_leads_the_very_first_upload_to_h3_on_another_port(doh: Endpoints) -> None:
    for host in ("moved.trilane.test", "aliased.trilane.test", "hinted.trilane.test"):
        async with client(doh, http3=True) as uploads:
            response = await uploads.upload(f"https://{host}:{CLOSED_PORT}/upload", b"x")
        assert (response.status_code, response.http_version) == (200, "HTTP/3"), host
        assert response.profile is not None
        assert response.profile.peer_ip == "127.0.0.1"


async def test_the_flags_rule_whatever_the_records_say(doh: Endpoints) -> None:
    async with client(doh, http3=False) as uploads:
        response = await uploads.upload(f"https://moved.trilane.test:{CLOSED_PORT}/upload", b"x")
    assert response.http_version == "HTTP/2"


async def test_a_record_without_h3_saves_the_race(doh: Endpoints, caddy: Endpoints) -> None:
    async with client(doh, http3=True) as uploads:
        response = await uploads.upload(caddy.url("https", host="plain.trilane.test"), b"x")
    assert response.http_version == "HTTP/2"
    assert response.profile is not None
    assert {attempt.protocol for attempt in response.profile.attempts} == {"tcp", "tls"}


async def test_a_record_that_is_not_understood_is_left_out(
    doh: Endpoints, caddy: Endpoints
) -> None:
    async with client(doh, http3=True) as uploads:
        response = await uploads.upload(caddy.url("https", host="strange.trilane.test"), b"x")
    assert (response.status_code, response.http_version) == (200, "HTTP/3")


async def test_uploads_at_once_share_the_questions(doh: Endpoints, caddy: Endpoints) -> None:
    async with client(doh) as uploads, anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(uploads.upload, caddy.url("http", host="one.trilane.test"), b"x")


async def test_upload_file_fills_the_http_dns_fields(
    doh: Endpoints, caddy: Endpoints, tmp_path: Path
) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"x")
    options = {
        "url": caddy.url("https", host="one.trilane.test"),
        "filePath": str(file),
        "name": "file",
        "verify": str(caddy.ca),
    }
    server = doh.url("https", "/dns-query")
    profile = (await trilane.uploadFile(options, enableHttpDNS=True, resolver=server))["profile"]
    # Equal where the client was kept from another test, and the answer with it.
    assert profile["httpDNSDomainLookUpStart"] <= profile["httpDNSDomainLookUpEnd"]
    local = {**options, "url": caddy.url("https")}
    profile = (await trilane.uploadFile(local, enableHttpDNS=False, resolver=server))["profile"]
    assert "httpDNSDomainLookUpStart" not in profile


async def test_a_server_that_cannot_be_asked_is_named() -> None:
    async with trilane.AsyncClient(resolver=f"https://127.0.0.1:{CLOSED_PORT}/q") as uploads:
        with pytest.raises(trilane.ResolveError, match="could not be asked") as caught:
            await uploads.upload("https://one.trilane.test/", b"x")
    assert caught.value.reason is ResolveReason.UNREACHABLE
    assert isinstance(caught.value.__cause__, trilane.ConnectError)
