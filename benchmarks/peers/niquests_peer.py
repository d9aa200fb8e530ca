"""niquests, with HTTP/3 by qh3; an AsyncSession for the crowd."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import IO

import niquests
from niquests.structures import AsyncQuicSharedCache, QuicSharedCache

from ..lanes import Lane
from .client import BlockingClient, Source, crowd, require_ok


class NiquestsClient(BlockingClient):
    """A Session that may speak the lane's protocol only."""

    _session: niquests.Session | None = None

    def upload(self, path: str, source: Source) -> bytes:
        """POST the source; see `BlockingClient.upload`."""
        if self._session is None:
            lane = self.target.lane
            known = QuicSharedCache(max_size=None)
            if lane is Lane.H3:
                known.add_domain(*self.target.address)
            self._session = niquests.Session(
                disable_http1=lane in {Lane.H2, Lane.H3},
                disable_http2=lane is not Lane.H2,
                disable_http3=lane is not Lane.H3,
                quic_cache_layer=known,
            )
        if isinstance(source, Path):
            with source.open("rb") as file:
                return self._post(self._session, path, file)
        return self._post(self._session, path, source)

    def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            self._session.close()

    def crowd(self, path: str, source: Source, uploads: int, at_once: int) -> list[int]:
        """See `Client.crowd`."""
        data = source.read_bytes() if isinstance(source, Path) else source
        return asyncio.run(self._crowd(path, data, uploads, at_once))

    def _post(self, session: niquests.Session, path: str, content: bytes | IO[bytes]) -> bytes:
        response = session.post(
            self.target.url(path), files={"file": ("upload.bin", content)}, verify=self.target.ca
        )
        return require_ok(response.status_code or 0, response.content or b"")

    async def _crowd(self, path: str, data: bytes, uploads: int, at_once: int) -> list[int]:
        lane, ca = self.target.lane, self.target.ca
        known = AsyncQuicSharedCache(max_size=None)
        if lane is Lane.H3:
            known.add_domain(*self.target.address)
        async with niquests.AsyncSession(
            disable_http1=lane in {Lane.H2, Lane.H3},
            disable_http2=lane is not Lane.H2,
            disable_http3=lane is not Lane.H3,
            pool_maxsize=at_once,
            quic_cache_layer=known,
        ) as session:

            async def upload() -> bytes:
                response = await session.post(
                    self.target.url(path), files={"file": ("upload.bin", data)}, verify=ca
                )
                return require_ok(response.status_code or 0, response.content or b"")

            await upload()
            return await crowd(upload, uploads, at_once)
