"""A name server is asked over its own connection: HTTP/1.1, HTTP/2 or HTTP/3, as it is told."""

from __future__ import annotations

from typing import Literal

import pytest

import trilane
from tests.names.conftest import CLOSED_PORT
from tests.peers.name_server_front import protocols_asked_over
from tests.peers.servers import Endpoints
from trilane import DnsOverHttps, HttpVersion, Preference

pytestmark = pytest.mark.interop

Method = Literal["POST", "GET"]


def client(front: Endpoints, preference: Preference | None, method: Method) -> trilane.AsyncClient:
    url = front.url("https", "/dns-query", host="localhost")
    server = DnsOverHttps(url, method)
    if preference is not None:
        server = DnsOverHttps(url, method, preference)
    return trilane.AsyncClient(verify=str(front.ca), resolver=server, http3=True)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    ("preference", "seen"),
    [
        (None, "HTTP/2.0"),
        (Preference(exactly=HttpVersion.HTTP1), "HTTP/1.1"),
        (Preference(exactly=HttpVersion.HTTP2), "HTTP/2.0"),
        (Preference(exactly=HttpVersion.HTTP3), "HTTP/3.0"),
        (Preference(http2=True, http3=True), "HTTP/3.0"),
    ],
)
async def test_over_which_protocol_it_is_asked(
    doh_front: Endpoints, method: Method, preference: Preference | None, seen: str
) -> None:
    before = len(protocols_asked_over(doh_front))
    url = f"https://moved.trilane.test:{CLOSED_PORT}/upload"
    async with client(doh_front, preference, method) as uploads:
        response = await uploads.upload(url, b"x")
        again = await uploads.upload(url, b"x")
    # Addresses of two names, both families, and the HTTPS record, which leads to another port.
    asked = protocols_asked_over(doh_front)[before:]
    assert len(asked) >= 3
    assert set(asked) == {seen}
    assert [each.http_version for each in (response, again)] == ["HTTP/3", "HTTP/3"]
    profile = response.profile
    assert profile is not None
    # A connection of its own: no attempt of it shows in the upload's.
    ports = {each.address[1] for each in profile.attempts if each.address}
    assert doh_front.https_port not in ports
    assert profile.http_dns_start is not None
    assert profile.http_dns_end is not None
    assert profile.http_dns_start < profile.http_dns_end


@pytest.mark.parametrize("version", [HttpVersion.HTTP2, HttpVersion.HTTP3])
async def test_failures_are_told_over_each(doh_front: Endpoints, version: HttpVersion) -> None:
    async with client(doh_front, Preference(exactly=version), "POST") as uploads:
        for name, reason in (("gone", "NO_SUCH_NAME"), ("broken", "SERVER_FAILURE")):
            with pytest.raises(trilane.ResolveError) as caught:
                await uploads.upload(f"https://{name}.trilane.test/", b"x")
            assert caught.value.reason.name == reason
