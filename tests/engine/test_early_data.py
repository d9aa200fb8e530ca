"""0-RTT through the engine: only when the caller asks, and visible in the profile."""

from __future__ import annotations

import anyio
import pytest
from aioquic.quic.events import HandshakeCompleted
from aioquic.tls import SessionTicket

import trilane
from tests.http3.pair import ServerSide
from tests.http3.udp_server import UdpServer, serving
from tests.peers.certificates import Certificates
from tests.peers.new_sessions import kept
from trilane.transport.profile.invariants import order_violations


async def upload(
    client: trilane.AsyncClient, server: UdpServer, *, early_data: bool
) -> trilane.Profile:
    response = await client.request(
        "POST", server.url(), content=b"body", protocol="h3", early_data=early_data
    )
    assert response.status_code == 200
    assert response.profile is not None
    assert order_violations(response.profile) == []
    return response.profile


async def leave_connection(client: trilane.AsyncClient) -> None:
    """Have the next request make a new one, once the session ticket is there."""
    while not kept(client):  # the one before is used up
        await anyio.sleep(0.002)
    for connection in client._engine.pool.connections:
        connection.retire()


class TooEarly(ServerSide):
    """Answers what comes ahead of the handshake with 425 (RFC 8470), or whatever comes."""

    always = False

    def respond(self, stream_id: int, *_: object) -> None:
        completed = any(isinstance(event, HandshakeCompleted) for event in self.events)
        refused = self.always or not completed
        status = b"425" if refused else b"200"
        super().respond(stream_id, [(b":status", status)], b"")


class AlwaysTooEarly(TooEarly):
    always = True


@pytest.mark.parametrize("kind", [TooEarly, AlwaysTooEarly])
async def test_too_early_is_retried_once_after_the_handshake(
    certificates: Certificates, kind: type[TooEarly]
) -> None:
    tickets: dict[bytes, SessionTicket] = {}
    with anyio.fail_after(20):
        async with (
            serving(lambda: kind(certificates.server, tickets=tickets)) as server,
            trilane.AsyncClient(verify=str(certificates.ca)) as client,
        ):
            url = server.url()
            first = await client.request("POST", url, content=b"1", protocol="h3", early_data=True)
            # Nothing went early, so nobody shall send it again.
            assert first.status_code == (425 if kind.always else 200)
            assert first.profile is not None
            assert len(first.profile.legs) == 1
            await leave_connection(client)
            second = await client.request("POST", url, content=b"2", protocol="h3", early_data=True)
        requests = list(server.sides[1].requests.values())

    assert second.status_code == (425 if kind.always else 200)
    assert second.profile is not None
    assert [leg.status for leg in second.profile.legs] == [425, second.status_code]
    assert second.profile.tls is not None
    assert second.profile.tls.early_data_accepted
    assert [bytes(request.body) for request in requests] == [b"2", b"2"]


async def test_the_confirmation_of_the_handshake_is_in_the_profile(
    certificates: Certificates,
) -> None:
    with anyio.fail_after(20):
        async with (
            serving(lambda: ServerSide(certificates.server)) as server,
            trilane.AsyncClient(verify=str(certificates.ca)) as client,
        ):
            first = await upload(client, server, early_data=False)
            second = await upload(client, server, early_data=False)

    assert first.handshake_confirmed is not None
    assert first.connect_end is not None
    assert first.connect_end <= first.handshake_confirmed
    assert second.socket_reused
    assert second.handshake_confirmed is None


@pytest.mark.parametrize("accepted", [True, False])
async def test_early_data_is_sent_when_asked_for(
    certificates: Certificates, accepted: bool
) -> None:
    tickets: dict[bytes, SessionTicket] = {}
    with anyio.fail_after(20):
        async with (
            serving(lambda: ServerSide(certificates.server, tickets=tickets)) as server,
            trilane.AsyncClient(verify=str(certificates.ca)) as client,
        ):
            first = await upload(client, server, early_data=True)
            await leave_connection(client)
            second = await upload(client, server, early_data=False)
            await leave_connection(client)
            if not accepted:
                tickets.clear()  # as a server that was restarted
            third = await upload(client, server, early_data=True)

    facts = [profile.tls for profile in (first, second, third)]
    assert [tls.session_resumed for tls in facts if tls] == [False, True, accepted]
    assert [tls.early_data_accepted for tls in facts if tls] == [None, None, accepted]
