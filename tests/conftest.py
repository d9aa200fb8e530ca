"""Every async test runs on asyncio and on trio (anyio's pytest plugin)."""

from __future__ import annotations

import os

import pytest

# Variables that redirect certificate trust would make comparisons lie.
for _name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
    os.environ.pop(_name, None)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
