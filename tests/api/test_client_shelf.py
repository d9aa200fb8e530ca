"""Who shares a client, who does not, and how long clients are kept."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import trilane
from tests.api.receiver import Receiver, running_receiver
from tests.peers.certificates import Certificates
from trilane import uploadFile
from trilane.api.client import AsyncClient
from trilane.api.client_shelf import IDLE_CLIENTS, ClientShelf


@pytest.fixture
def secure_receiver(certificates: Certificates) -> Iterator[Receiver]:
    with running_receiver(certificates.server.server_context()) as running:
        yield running


@pytest.fixture
def strict_receiver(certificates: Certificates) -> Iterator[Receiver]:
    """Wants a certificate from its clients."""
    context = certificates.server.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca)
    with running_receiver(context) as running:
        yield running


def options_for(receiver: Receiver, photo: Path, **more: Any) -> dict[str, Any]:
    return {"url": receiver.url(), "filePath": str(photo), "name": "file", **more}


async def test_verification(
    secure_receiver: Receiver, certificates: Certificates, photo: Path
) -> None:
    for verify in (False, str(certificates.ca), certificates.ca, certificates.client_context()):
        res = await uploadFile(options_for(secure_receiver, photo, verify=verify))
        assert res["statusCode"] == 200
        assert res["profile"]["SSLconnectionStart"] > 0
    failures: list[dict[str, Any]] = []
    with pytest.raises(trilane.CertificateError):
        await uploadFile(options_for(secure_receiver, photo, fail=failures.append))

    assert failures[0]["errno"] == 600001
    assert "-207:net::ERR_CERT_INVALID" in failures[0]["errMsg"]


async def test_a_client_certificate(
    strict_receiver: Receiver, certificates: Certificates, photo: Path
) -> None:
    mine = (certificates.client.cert, certificates.client.key)
    options = options_for(strict_receiver, photo, verify=certificates.ca)
    res = await uploadFile(options, cert=mine)
    with pytest.raises(trilane.TransportError):
        await uploadFile(options)

    assert res["statusCode"] == 200


async def test_calls_with_the_same_certificates_share_connections(
    secure_receiver: Receiver, certificates: Certificates, photo: Path
) -> None:
    for verify in (str(certificates.ca), certificates.ca, str(certificates.ca)):
        await uploadFile(options_for(secure_receiver, photo, verify=verify))
    shared = {request.client_port for request in secure_receiver.received}
    await uploadFile(options_for(secure_receiver, photo, verify=False))

    assert len(shared) == 1
    assert secure_receiver.received[-1].client_port not in shared


async def test_uploads_that_begin_at_once_share_a_client() -> None:
    clients: list[AsyncClient] = []

    async def borrow() -> None:
        async with shelf.client({}) as client:
            clients.append(client)

    async with anyio.create_task_group() as tasks:
        shelf = ClientShelf(tasks)
        async with anyio.create_task_group() as borrowers:
            for _ in range(5):
                borrowers.start_soon(borrow)
        shelf.close()

    assert len(clients) == 5
    assert len(set(clients)) == 1


async def test_idle_clients_are_kept_up_to_a_limit(receiver: Receiver) -> None:
    contexts = [ssl.create_default_context() for _ in range(IDLE_CLIENTS + 2)]
    idle: list[AsyncClient] = []
    async with anyio.create_task_group() as tasks:
        shelf = ClientShelf(tasks)
        async with shelf.client({"verify": contexts[0]}) as busy:
            for context in contexts[1:]:
                async with shelf.client({"verify": context}) as client:
                    idle.append(client)
            await anyio.wait_all_tasks_blocked()
            for client in (busy, *idle[1:]):
                assert (await client.request("GET", receiver.url())).status_code == 200
            with pytest.raises(trilane.ClientClosed):
                await idle[0].request("GET", receiver.url())
        shelf.close()
