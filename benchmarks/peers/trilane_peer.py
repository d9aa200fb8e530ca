"""trilane itself, with the profile on, on the event loops it supports."""

from __future__ import annotations

from functools import cache

import trilane
from trilane.api.client_options import ProtocolInput
from trilane.transport.protocols import ipsec_mb

from ..lanes import Lane
from .client import AsyncClient, Source, require_ok

#: The crowd asks for 64 uploads at once; the default of 10 would measure our own queue.
_LIMITS = trilane.Limits(parallel_requests=64, connections_per_origin=64)


_PROTOCOLS: dict[Lane, ProtocolInput] = {
    Lane.H1: "http/1.1",
    Lane.H1_TLS: "http/1.1",
    Lane.H2: "h2",
    Lane.H3: "h3",
}


class AsyncioClient(AsyncClient):
    """On asyncio's own loop."""

    async def open(self) -> None:
        """Begin, inside the event loop."""
        verify = self.target.ca if self.target.lane is not Lane.H1 else True
        self._client = trilane.AsyncClient(
            verify=verify,
            limits=_LIMITS,
            congestion_control=self.target.congestion_control or None,
        )
        await self._client.__aenter__()

    async def upload(self, path: str, source: Source) -> bytes:
        """POST the source; see `AsyncClient.upload`."""
        response = await self._client.upload(
            self.target.url(path),
            source,
            filename="upload.bin",
            protocol=_PROTOCOLS[self.target.lane],
            early_data=self.early_data,
        )
        tls = response.profile.tls if response.profile is not None else None
        if tls is not None:
            self.resumed = tls.session_resumed and (
                not self.early_data or bool(tls.early_data_accepted)
            )
        return require_ok(response.status_code, response.content)

    def drop_connections(self) -> None:
        """See `Client.drop_connections`."""
        for connection in self._client._engine.pool.connections:  # noqa: SLF001 - our own
            connection.retire()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.__aexit__(None, None, None)


class PlainClient(AsyncioClient):
    """As if libIPSec_MB were not installed."""

    async def open(self) -> None:
        """See `AsyncioClient.open`."""
        ipsec_mb.installed = _no_library
        await super().open()


class UvloopClient(AsyncioClient):
    """On asyncio with uvloop."""

    backend_options = {"use_uvloop": True}  # noqa: RUF012 - read only


class TrioClient(AsyncioClient):
    """On trio."""

    backend = "trio"


@cache
def _no_library() -> None:
    return None
