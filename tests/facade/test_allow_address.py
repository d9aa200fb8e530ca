"""`allowAddress` of `uploadFile`: what it refuses is not dialled, and `fail` is told."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Literal

import pytest

import trilane
from tests.peers.servers import Endpoints
from trilane import uploadFile


def only_main(address: IPv4Address | IPv6Address) -> bool:
    return str(address) == "127.0.0.1"


@pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])
async def test_a_refused_address_is_a_failure(
    caddy: Endpoints, protocol: Literal["http/1.1", "h2", "h3"], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"x")
    options: dict[str, Any] = {
        "url": caddy.url("https"),
        "filePath": photo,
        "name": "file",
        "protocol": protocol,
        "verify": caddy.ca,
    }
    assert (await uploadFile(options, allowAddress=only_main))["statusCode"] == 200
    failures: list[Any] = []
    refusing = {"allowAddress": trilane.public_addresses_only, "fail": failures.append}
    with pytest.raises(trilane.AddressRefused):
        await uploadFile({**options, **refusing})
    (failure,) = failures
    assert failure["errno"] == 600001
    assert "ERR_BLOCKED_BY_CLIENT" in failure["errMsg"]
