"""httpx: one Client, and an AsyncClient for the crowd."""

from __future__ import annotations

import asyncio
import ssl
from io import BytesIO
from pathlib import Path

import httpx

from ..lanes import Lane
from .client import BlockingClient, Source, crowd, require_ok


class HttpxClient(BlockingClient):
    """httpx as its documentation says; h2 by its `http2` option."""

    _client: httpx.Client | None = None

    def upload(self, path: str, source: Source) -> bytes:
        """POST the source; see `BlockingClient.upload`."""
        if self._client is None:
            self._client = httpx.Client(
                verify=_context(self.target.ca), http2=self.target.lane is Lane.H2, timeout=60
            )
        if isinstance(source, Path):
            with source.open("rb") as file:
                response = self._client.post(
                    self.target.url(path), files={"file": ("upload.bin", file)}
                )
        else:
            response = self._client.post(
                self.target.url(path), files={"file": ("upload.bin", BytesIO(source))}
            )
        return require_ok(response.status_code, response.content)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def crowd(self, path: str, source: Source, uploads: int, at_once: int) -> list[int]:
        """See `Client.crowd`."""
        return asyncio.run(self._crowd(path, source, uploads, at_once))

    async def _crowd(self, path: str, source: Source, uploads: int, at_once: int) -> list[int]:
        data = source.read_bytes() if isinstance(source, Path) else source
        async with httpx.AsyncClient(
            verify=_context(self.target.ca), http2=self.target.lane is Lane.H2, timeout=60
        ) as client:

            async def upload() -> bytes:
                response = await client.post(
                    self.target.url(path), files={"file": ("upload.bin", BytesIO(data))}
                )
                return require_ok(response.status_code, response.content)

            await upload()
            return await crowd(upload, uploads, at_once)


def _context(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)
