"""What a QUIC server gives for the next connection, which comes some time after the handshake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import anyio

import trilane

_POLL_S = 0.002

Kind = Literal["tickets", "tokens"]


@asynccontextmanager
async def waiting_for_new(
    client: trilane.AsyncClient, kind: Kind = "tickets"
) -> AsyncIterator[None]:
    """Wait at the end of the block until the client has one that it had not before."""
    before = kept(client, kind)
    yield
    while all(any(each is old for old in before) for each in kept(client, kind)):
        await anyio.sleep(_POLL_S)


def kept(client: trilane.AsyncClient, kind: Kind = "tickets") -> list[object]:
    """What the client could use."""
    return [each for _, entry in client._engine._sessions for each in getattr(entry, kind)]
