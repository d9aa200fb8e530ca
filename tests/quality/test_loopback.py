"""The engine feeds the estimator: uploads and downloads over loopback, on all three protocols."""

from __future__ import annotations

import anyio
import pytest

import trilane
from tests.peers.scripted import Peer, scripted_server
from tests.peers.servers import Endpoints
from trilane.api.client_options import ProtocolInput
from trilane.transport.quality.estimate import EstimateSource
from trilane.transport.quality.network import effective_type_of

OWN = trilane.QualityOptions(include_private=True, scope="client")
MIB = b"\0" * (1 << 20)

every_protocol = pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])


def client_of(
    caddy: Endpoints, quality: trilane.QualityOptions | None = OWN
) -> trilane.AsyncClient:
    return trilane.AsyncClient(verify=str(caddy.ca), quality=quality)


def quality_of(response: trilane.Response) -> trilane.QualityEstimate:
    assert response.profile is not None
    assert response.profile.quality is not None
    return response.profile.quality


@pytest.mark.interop
@every_protocol
async def test_an_upload_is_estimated(caddy: Endpoints, protocol: ProtocolInput) -> None:
    async with client_of(caddy) as client:
        response = await client.upload(caddy.url("https"), MIB, protocol=protocol)

    quality, profile = quality_of(response), response.profile
    assert response.status_code == 200
    assert profile is not None
    assert profile.request_end is not None
    assert profile.response_start is not None
    assert quality.http_rtt_ms is not None
    # The upload took its time, which is not in it.
    assert 0 < quality.http_rtt_ms <= (profile.response_start - profile.request_end) / 1e6
    assert quality.effective_type is effective_type_of(quality.http_rtt_ms)
    assert quality.transport_rtt_ms == profile.rtt_ms
    assert (quality.end_to_end_rtt_ms is not None) is (protocol == "h3")
    assert quality.upstream_kbps is not None
    assert quality.upstream_kbps > 1000
    for evidence in (
        quality.http_rtt_evidence,
        quality.transport_rtt_evidence,
        quality.upstream_evidence,
    ):
        assert evidence.source is EstimateSource.OBSERVED
        assert evidence.samples == 1


@pytest.mark.interop
@every_protocol
async def test_a_download_is_estimated(caddy: Endpoints, protocol: ProtocolInput) -> None:
    url = f"{caddy.url('https')}?body_bytes={16 << 20}"
    async with client_of(caddy) as client:
        response = await client.request("GET", url, protocol=protocol)

    quality = quality_of(response)
    assert len(response.content) == 16 << 20
    assert quality.downstream_kbps is not None
    assert quality.downstream_kbps > 1000
    assert quality.downstream_evidence.source is EstimateSource.OBSERVED
    assert quality.upstream_kbps is None
    assert quality.http_rtt_evidence.samples == 1


@pytest.mark.interop
@every_protocol
async def test_the_seeds_view_has_the_estimates(caddy: Endpoints, protocol: ProtocolInput) -> None:
    async with client_of(caddy) as client:
        response = await client.upload(caddy.url("https"), MIB, protocol=protocol)

    quality = quality_of(response)
    assert response.profile is not None
    assert quality.http_rtt_ms is not None
    assert quality.transport_rtt_ms is not None
    seed = response.profile.seed()
    assert seed["estimate_nettype"] == quality.effective_type.value
    assert type(seed["estimate_nettype"]) is int
    assert seed["estimate_nettype"] >= 2
    assert seed["httpRttEstimate"] == round(quality.http_rtt_ms, 3)
    assert seed["transportRttEstimate"] == round(quality.transport_rtt_ms, 3)
    assert seed["downstreamThroughputKbpsEstimate"] == -1
    assert seed["upstreamThroughputKbpsEstimate"] == quality.upstream_kbps


@pytest.mark.interop
async def test_a_loopback_peer_says_nothing_unless_asked(caddy: Endpoints) -> None:
    async with client_of(caddy, None) as client:
        response = await client.upload(caddy.url("https"), MIB)

    assert quality_of(response) == trilane.QualityEstimate()
    assert response.profile is not None
    seed = response.profile.seed()
    assert seed["estimate_nettype"] == 0
    for name in ("httpRtt", "transportRtt", "downstreamThroughputKbps", "upstreamThroughputKbps"):
        assert seed[f"{name}Estimate"] == -1


@pytest.mark.interop
async def test_chromiums_defaults_are_there_for_who_wants_them(caddy: Endpoints) -> None:
    options = trilane.QualityOptions(platform_defaults=True, scope="client")
    async with client_of(caddy, options) as client:
        response = await client.upload(caddy.url("https"), MIB)

    assert response.profile is not None
    seed = response.profile.seed()
    # What a fresh Chromium says, and dumps of real mini-programs show.
    assert seed["estimate_nettype"] == 5
    assert seed["httpRttEstimate"] == 115
    assert seed["transportRttEstimate"] == 55
    assert seed["downstreamThroughputKbpsEstimate"] == 1961
    assert seed["upstreamThroughputKbpsEstimate"] == -1


@pytest.mark.interop
async def test_a_call_without_a_profile_is_not_counted(caddy: Endpoints) -> None:
    async with client_of(caddy) as client:
        unseen = await client.upload(caddy.url("https"), MIB, profile=False)
        response = await client.upload(caddy.url("https"), b"", profile=True)

    assert unseen.profile is None
    quality = quality_of(response)
    assert quality.http_rtt_evidence.samples == 1
    assert quality.upstream_kbps is None


@pytest.mark.interop
async def test_clients_of_one_process_learn_from_each_other(caddy: Endpoints) -> None:
    # Options no other test asks for; what earlier runs of this one taught is forgotten.
    shared = trilane.QualityOptions(include_private=True, throughput_rule="chromium")
    trilane.network_changed()
    async with client_of(caddy, shared) as client:
        await client.upload(caddy.url("https"), MIB)
    async with client_of(caddy, shared) as client:
        response = await client.upload(caddy.url("https"), MIB)

    assert quality_of(response).transport_rtt_evidence.samples >= 1
    assert quality_of(response).upstream_evidence.samples == 2


@pytest.mark.interop
async def test_five_downloads_at_once_make_a_window(caddy: Endpoints) -> None:
    options = trilane.QualityOptions(
        include_private=True, throughput_rule="chromium", scope="client"
    )
    url = f"{caddy.url('https')}?body_bytes={1 << 20}"
    async with client_of(caddy, options) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(client.request, "GET", url)
        response = await client.request("GET", url)

    assert quality_of(response).downstream_evidence.samples >= 1


async def test_a_failed_upload_carries_what_is_known() -> None:
    def answer_then_reset(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        peer.read_head()
        peer.reset()

    with scripted_server(answer_then_reset) as server:
        async with trilane.AsyncClient(quality=OWN) as client:
            await client.request("POST", server.url(), content=b"body")
            with pytest.raises(trilane.ConnectionLost) as caught:
                await client.request("POST", server.url(), content=b"body", retry_stale="never")

    assert caught.value.profile is not None
    quality = caught.value.profile.quality
    assert quality is not None
    assert quality.http_rtt_evidence.samples == 1
    assert quality.http_rtt_ms is not None


@pytest.mark.parametrize(
    "options",
    [
        {"throughput_rule": "strict"},
        {"scope": "machine"},
    ],
)
def test_options_with_impossible_values_are_refused(options: dict[str, str]) -> None:
    (value,) = options.values()
    with pytest.raises(trilane.UsageError, match=value):
        trilane.AsyncClient(quality=trilane.QualityOptions(**options))  # type: ignore[arg-type]
