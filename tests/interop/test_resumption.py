"""Resumption and early data at foreign servers: accepted, refused, and with a ticket used twice."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path

import anyio
import pytest

import trilane
from tests.peers.servers import Endpoints
from trilane.api.client_options import ProtocolInput
from trilane.transport.facts import TlsFacts
from trilane.transport.profile.invariants import order_violations

pytestmark = pytest.mark.interop

HTTP3_SERVERS = ("caddy", "gtlsserver")
BODY = bytes(range(256)) * 16


@pytest.fixture(params=HTTP3_SERVERS)
def server(request: pytest.FixtureRequest) -> Endpoints:
    found: Endpoints = request.getfixturevalue(request.param)
    return found


async def upload(server: Endpoints, sessions: Path, *, early_data: bool = True) -> trilane.Profile:
    """One upload as a process of its own would make it."""
    async with trilane.AsyncClient(verify=str(server.ca), sessions=sessions) as client:
        response = await client.request(
            "POST",
            server.url("https", host="localhost"),
            content=BODY,
            protocol="h3",
            early_data=early_data,
        )
        assert response.status_code == 200
        await anyio.sleep(0.1)  # tickets come after the handshake
    assert response.profile is not None
    assert order_violations(response.profile) == []
    assert response.profile.body_sent_bytes == len(BODY)
    return response.profile


def facts(profile: trilane.Profile) -> TlsFacts:
    assert profile.tls is not None
    return profile.tls


async def test_early_data_is_accepted(server: Endpoints, tmp_path: Path) -> None:
    sessions = tmp_path / "sessions"
    with anyio.fail_after(30):
        first = await upload(server, sessions)
        second = await upload(server, sessions)
    assert not facts(first).session_resumed
    assert facts(first).early_data_accepted is None
    assert facts(second).session_resumed
    assert facts(second).early_data_accepted


async def test_a_session_is_resumed_without_early_data(server: Endpoints, tmp_path: Path) -> None:
    sessions = tmp_path / "sessions"
    with anyio.fail_after(30):
        await upload(server, sessions)
        second = await upload(server, sessions, early_data=False)
    assert facts(second).session_resumed
    assert facts(second).early_data_accepted is None


async def test_early_data_with_a_ticket_the_server_cannot_read(
    server: Endpoints, tmp_path: Path
) -> None:
    sessions = tmp_path / "sessions"
    with anyio.fail_after(30):
        await upload(server, sessions)
        _spoil_tickets(sessions)
        second = await upload(server, sessions)
    assert not facts(second).session_resumed
    assert facts(second).early_data_accepted is False
    assert [leg.status for leg in second.legs] == [200]


async def test_a_ticket_that_was_used_before(server: Endpoints, tmp_path: Path) -> None:
    """We never do; whatever the server makes of it, the upload arrives, and once for us."""
    sessions = tmp_path / "sessions"
    with anyio.fail_after(30):
        await upload(server, sessions)
        stolen = sessions.read_bytes()
        await upload(server, sessions)
        sessions.write_bytes(stolen)
        again = await upload(server, sessions)
    assert facts(again).early_data_accepted in (True, False)
    assert again.legs[-1].status == 200


def _spoil_tickets(path: Path) -> None:
    document = json.loads(path.read_text())
    tickets = [ticket for entry in document["sessions"].values() for ticket in entry["tickets"]]
    assert tickets
    for ticket in tickets:
        ticket["ticket"] = b64encode(bytes(len(b64decode(ticket["ticket"])))).decode()
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("nginx", "http/1.1"),
        ("nginx", "h2"),
        ("caddy", "http/1.1"),
        ("caddy", "h2"),
        ("nghttpd", "h2"),
    ],
)
async def test_sessions_over_tcp(
    request: pytest.FixtureRequest, name: str, protocol: ProtocolInput
) -> None:
    server: Endpoints = request.getfixturevalue(name)
    resumed = []
    async with trilane.AsyncClient(verify=str(server.ca)) as client:
        for _ in range(3):
            response = await client.request(
                "POST", server.url("https"), content=BODY, protocol=protocol
            )
            assert response.status_code == 200
            assert response.profile is not None
            resumed.append(facts(response.profile).session_resumed)
            for connection in client._engine.pool.connections:
                connection.retire()
    assert resumed == [False, True, True]
