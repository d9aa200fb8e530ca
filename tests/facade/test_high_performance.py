"""`useHighPerformanceMode` chooses bulk senders; `usingHighPerformanceMode` says one worked."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.peers.servers import Endpoints
from trilane import uploadFile

LARGE_BYTES, SMALL_BYTES = 1 << 20, 1 << 10


async def used(
    server: Endpoints, scheme: str, path: Path, protocol: str, **options: object
) -> bool:
    given = {"verify": str(server.ca), **options}
    res = await uploadFile(
        url=server.url(scheme), filePath=path, name="file", protocol=protocol, **given
    )
    assert res["statusCode"] == 200
    value = res["profile"]["usingHighPerformanceMode"]
    assert type(value) is bool
    return value


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(LARGE_BYTES))
    return path


async def test_a_file_over_http_is_sent_by_the_kernel_unless_that_is_unwanted(
    receiver: Endpoints, large: Path
) -> None:
    assert await used(receiver, "http", large, "http/1.1")
    assert await used(receiver, "http", large, "http/1.1", useHighPerformanceMode=True)
    assert not await used(receiver, "http", large, "http/1.1", useHighPerformanceMode=False)


async def test_a_small_file_is_not_worth_it(receiver: Endpoints, tmp_path: Path) -> None:
    path = tmp_path / "small.bin"
    path.write_bytes(bytes(SMALL_BYTES))

    assert not await used(receiver, "http", path, "http/1.1")


async def test_a_file_over_tls_is_encrypted_in_place(
    receiver: Endpoints, large: Path, protocol: str
) -> None:
    assert await used(receiver, "https", large, protocol)


@pytest.mark.parametrize("tcp_protocol", ["http/1.1", "h2"])
async def test_a_context_of_the_users_is_left_to_openssl(
    receiver: Endpoints, large: Path, tcp_protocol: str
) -> None:
    context = ssl.create_default_context(cafile=str(receiver.ca))
    assert not await used(receiver, "https", large, tcp_protocol, verify=context)


async def test_every_protocol_can_do_without(
    receiver: Endpoints, large: Path, protocol: str
) -> None:
    assert not await used(receiver, "https", large, protocol, useHighPerformanceMode=False)
