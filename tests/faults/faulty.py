"""Uploads to peers that misbehave: how they are made, and what must be true of each failure."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

import trilane
from tests.interop.profile_checks import check_order
from tests.peers.scripted import Peer, Script, ScriptedServer, scripted_server
from trilane.transport.errors import Phase

HANG_S = 15.0
"""Nothing here takes a second; a busy machine may, but not this long."""

LARGE_BYTES = 24 << 20
"""More than the socket buffers of both ends hold."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Faulty:
    """A scheme to misbehave on."""

    tls: ssl.SSLContext | None
    ca: Path

    def server(self, *scripts: Script) -> AbstractContextManager[ScriptedServer]:
        """A server whose connections follow the scripts."""
        return scripted_server(*scripts, tls=self.tls)

    def client(self, **options: Any) -> trilane.AsyncClient:
        """A client that trusts the server and gives up in time."""
        merged: dict[str, Any] = {
            "verify": str(self.ca),
            "timeout": HANG_S,
            "trust_env": False,
        } | options
        return trilane.AsyncClient(**merged)


@asynccontextmanager
async def patient() -> AsyncIterator[None]:
    """Bound a block that must not hang."""
    with anyio.fail_after(HANG_S):
        yield


Error = TypeVar("Error", bound=trilane.TransportError)


async def failed_upload(
    client: trilane.AsyncClient, url: str, kind: type[Error], **options: Any
) -> Error:
    """Upload, expect one kind of error, and check what is true of every error."""
    async with patient():
        with pytest.raises(kind) as caught:
            await client.upload(url, **{"file": b"payload"} | options)
    error = caught.value
    assert type(error) is kind
    check_failure(error)
    return error


def check_failure(error: trilane.TransportError) -> None:
    assert str(error)
    assert isinstance(error.phase, Phase)
    profile = error.profile
    assert profile is not None
    check_order(profile)
    assert profile.response_end is None or error.phase is Phase.RECEIVE
    if profile.legs:
        assert profile.legs[-1].error
        assert error.bytes_sent == profile.body_sent_bytes
        assert profile.body_bytes is None or profile.body_sent_bytes <= profile.body_bytes
        assert (error.bytes_acked or 0) <= profile.body_sent_bytes


def answer(data: bytes = OK) -> Script:
    """Answer every request of a connection alike, once it was read."""

    def script(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(data)

    return script


def answer_once(data: bytes) -> Script:
    """Answer one request and close."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(data)

    return script
