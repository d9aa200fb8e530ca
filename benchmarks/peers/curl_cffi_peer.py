"""libcurl with BoringSSL by curl_cffi."""

from __future__ import annotations

import asyncio
from pathlib import Path

from curl_cffi import AsyncSession, CurlHttpVersion, CurlMime, Session

from ..lanes import Lane
from .client import BlockingClient, Source, crowd, require_ok

_VERSIONS = {
    Lane.H1: CurlHttpVersion.V1_1,
    Lane.H1_TLS: CurlHttpVersion.V1_1,
    Lane.H2: CurlHttpVersion.V2TLS,
    Lane.H3: CurlHttpVersion.V3ONLY,
}
# libcurl would ask before each big body, which none of the others does.
_HEADERS = {"Expect": ""}


class CurlCffiClient(BlockingClient):
    """A Session; an AsyncSession for the crowd."""

    _session: Session | None = None

    def upload(self, path: str, source: Source) -> bytes:
        """POST the source; see `BlockingClient.upload`."""
        if self._session is None:
            version = _VERSIONS[self.target.lane]
            self._session = Session(verify=self.target.ca, http_version=version)
        form = _form(source)
        try:
            response = self._session.post(
                self.target.url(path), multipart=form, headers=_HEADERS, timeout=60
            )
        finally:
            form.close()
        return require_ok(response.status_code, response.content)

    def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            self._session.close()

    def crowd(self, path: str, source: Source, uploads: int, at_once: int) -> list[int]:
        """See `Client.crowd`."""
        return asyncio.run(self._crowd(path, source, uploads, at_once))

    async def _crowd(self, path: str, source: Source, uploads: int, at_once: int) -> list[int]:
        version = _VERSIONS[self.target.lane]
        async with AsyncSession(
            verify=self.target.ca, http_version=version, max_clients=at_once
        ) as session:

            async def upload() -> bytes:
                form = _form(source)
                try:
                    response = await session.post(
                        self.target.url(path), multipart=form, headers=_HEADERS, timeout=60
                    )
                finally:
                    form.close()
                return require_ok(response.status_code, response.content)

            await upload()
            return await crowd(upload, uploads, at_once)


def _form(source: Source) -> CurlMime:
    form = CurlMime()
    if isinstance(source, Path):
        form.addpart("file", filename="upload.bin", local_path=source)
    else:
        form.addpart("file", filename="upload.bin", data=source)
    return form
