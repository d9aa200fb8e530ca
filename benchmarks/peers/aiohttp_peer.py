"""aiohttp, which speaks HTTP/1.1 only."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp

from ..lanes import Lane
from .client import AsyncClient, Source, require_ok


class AiohttpClient(AsyncClient):
    """A ClientSession with as many connections as it wants."""

    async def open(self) -> None:
        """Begin, inside the event loop."""
        secure = self.target.lane is not Lane.H1
        context = ssl.create_default_context(cafile=self.target.ca) if secure else True
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        self._session = aiohttp.ClientSession(connector=connector)

    async def upload(self, path: str, source: Source) -> bytes:
        """POST the source; see `AsyncClient.upload`."""
        if not isinstance(source, Path):
            return await self._post(path, source)
        with source.open("rb") as file:
            return await self._post(path, file)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _post(self, path: str, content: object) -> bytes:
        form = aiohttp.FormData()
        form.add_field("file", content, filename="upload.bin")
        async with self._session.post(self.target.url(path), data=form) as response:
            return require_ok(response.status, await response.read())
