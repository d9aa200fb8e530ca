"""Resumption and early data at foreign servers: accepted, refused, and with a ticket used twice."""

from __future__ import annotations

import hashlib
import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

import trilane
from tests.peers import servers
from tests.peers.certificates import Certificates
from tests.peers.new_sessions import Kind, waiting_for_new
from tests.peers.process import free_port
from tests.peers.receivers import LogFollower, requests_in_gtlsserver_log
from tests.peers.servers import Endpoints
from tests.peers.started import started
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


async def upload(
    server: Endpoints, sessions: Path, *, early_data: bool = True, await_new: Kind = "tickets"
) -> trilane.Profile:
    """One upload as a process of its own would make it."""
    async with (
        trilane.AsyncClient(verify=str(server.ca), sessions=sessions) as client,
        waiting_for_new(client, await_new),
    ):
        response = await client.request(
            "POST",
            server.url("https", host="localhost"),
            content=BODY,
            protocol="h3",
            early_data=early_data,
        )
        assert response.status_code == 200
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
        _change_tickets(sessions, ticket=_unreadable)
        second = await upload(server, sessions)
    assert not facts(second).session_resumed
    assert facts(second).early_data_accepted is False
    assert [leg.status for leg in second.legs] == [200]


async def test_a_ticket_that_was_used_before(server: Endpoints, tmp_path: Path) -> None:
    """We never do (RFC 8446 §C.4). Both servers keep no account of tickets, and take it again."""
    sessions = tmp_path / "sessions"
    with anyio.fail_after(30):
        await upload(server, sessions)
        stolen = sessions.read_bytes()
        await upload(server, sessions)
        assert json.loads(stolen)["sessions"] != json.loads(sessions.read_bytes())["sessions"]
        sessions.write_bytes(stolen)
        again = await upload(server, sessions)
    assert facts(again).session_resumed
    assert facts(again).early_data_accepted
    assert [leg.status for leg in again.legs] == [200]


async def test_early_data_of_a_ticket_that_seems_replayed(
    gtlsserver: Endpoints, tmp_path: Path
) -> None:
    """Its age is wrong (RFC 8446 §8.3): the server resumes the session, and refuses early data."""
    sessions = tmp_path / "sessions"
    follower = LogFollower(gtlsserver.server.log)
    with anyio.fail_after(30):
        await upload(gtlsserver, sessions)
        _change_tickets(sessions, age_add=lambda given: (given + 100_000) % 2**32)
        second = await upload(gtlsserver, sessions)
    assert facts(second).session_resumed
    assert facts(second).early_data_accepted is False
    assert [leg.status for leg in second.legs] == [200]
    # Both uploads arrived, and the second not twice.
    bodies = [bytes(each.body) for each in requests_in_gtlsserver_log(follower)]
    assert bodies == [BODY, BODY]


@pytest.mark.parametrize("kind", HTTP3_SERVERS)
async def test_a_server_that_was_restarted_has_forgotten_the_ticket(
    certificates: Certificates,
    upstream: Endpoints,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """It has other keys, and refuses session and early data: the upload is sent once more."""
    sessions, ports = tmp_path / "sessions", [free_port(), free_port()]
    profiles = []
    with anyio.fail_after(60):
        for uploads in (1, 2):
            monkeypatch.setattr(servers, "free_port", iter(ports).__next__)
            for server in started(_server(kind, tmp_path, certificates, upstream)):
                profiles += [await upload(server, sessions) for _ in range(uploads)]
    found = [(facts(each).session_resumed, facts(each).early_data_accepted) for each in profiles]
    assert found == [(False, None), (False, False), (True, True)]
    assert [leg.status for each in profiles for leg in each.legs] == [200, 200, 200]


async def test_a_long_file_whose_early_data_is_refused_arrives_whole(
    server: Endpoints, tmp_path: Path
) -> None:
    """What had gone early, more than the server had room for, is read and sent again."""
    sessions, file = tmp_path / "sessions", tmp_path / "file"
    data = random.Random(7).randbytes(1 << 20)
    file.write_bytes(data)
    url, follower = server.url("https", host="localhost"), LogFollower(server.server.log)
    with anyio.fail_after(60):
        await upload(server, sessions)
        _change_tickets(sessions, ticket=_unreadable)
        async with trilane.AsyncClient(verify=str(server.ca), sessions=sessions) as client:
            response = await client.request(
                "POST", url, content=file, protocol="h3", early_data=True
            )
    profile = response.profile
    assert profile is not None
    assert facts(profile).early_data_accepted is False
    assert profile.body_sent_bytes == len(data)
    assert order_violations(profile) == []
    if server.name == "caddy":
        assert response.json()["body_sha256"] == hashlib.sha256(data).hexdigest()
    else:
        received = requests_in_gtlsserver_log(follower)
        assert [bytes(each.body) for each in received] == [BODY, data]


async def test_a_token_proves_the_address_without_a_retry(
    certificates: Certificates, tmp_path: Path
) -> None:
    """What NEW_TOKEN brought is sent with the next connection's first packet (RFC 9000 §8.1.3)."""
    sessions, logs = tmp_path / "sessions", []
    with anyio.fail_after(60):
        for server in started(servers.gtlsserver(tmp_path, certificates, ("--validate-addr",))):
            for _ in range(3):
                follower = LogFollower(server.server.log)
                await upload(server, sessions, early_data=False, await_new="tokens")
                logs.append(b"\n".join(follower.lines()))
    assert [b"Sending Retry packet" in log for log in logs] == [True, False, False]
    assert [b"Verifying token" in log for log in logs] == [False, True, True]
    # Each once.
    tokens = [log.partition(b"NEW_TOKEN(0x07) token=")[2].split()[0] for log in logs]
    assert len(set(tokens)) == 3


def _server(
    kind: str, folder: Path, certificates: Certificates, upstream: Endpoints
) -> AbstractContextManager[Endpoints]:
    if kind == "caddy":
        return servers.caddy(folder, certificates, upstream.http_port or 0)
    return servers.gtlsserver(folder, certificates)


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


def _unreadable(ticket: str) -> str:
    return b64encode(bytes(len(b64decode(ticket)))).decode()


def _change_tickets(path: Path, **changes: Callable[[Any], Any]) -> None:
    document = json.loads(path.read_text())
    tickets = [ticket for entry in document["sessions"].values() for ticket in entry["tickets"]]
    assert tickets
    for ticket in tickets:
        ticket |= {name: change(ticket[name]) for name, change in changes.items()}
    path.write_text(json.dumps(document))
