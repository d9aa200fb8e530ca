"""0-RTT through the engine: only when the caller asks, and visible in the profile."""

from __future__ import annotations

import anyio
import pytest
from aioquic.tls import SessionTicket

import trilane
from tests.http3.pair import ServerSide
from tests.http3.udp_server import UdpServer, serving
from tests.peers.certificates import Certificates
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
    await anyio.sleep(0.05)
    for connection in client._engine.pool.connections:
        connection.retire()


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
