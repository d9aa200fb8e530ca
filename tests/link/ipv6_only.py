"""On a host without IPv4: uploads to a server by its IPv4 address, and prints what came of it.

    python -m tests.link.ipv6_only BACKEND CA HOST [KNOWN]

HOST is an IPv4 address, or NAME=ADDRESS for a name that a name server elsewhere knows. KNOWN is
what the network's own name server answers for `ipv4only.arpa`; without it, nothing.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from typing import Literal

import anyio

import trilane
from tests.link.servers import HTTP_PORT, HTTPS_PORT
from trilane.transport.profile.invariants import order_violations

Protocol = Literal["auto", "http/1.1", "h2", "h3"]

BODY = bytes(range(256)) * 400
#: With TLS or without, and over which protocol.
WAYS: tuple[tuple[bool, Protocol], ...] = (
    (False, "http/1.1"),
    (False, "h2"),
    (True, "http/1.1"),
    (True, "h2"),
    (True, "h3"),
    (True, "auto"),
)


class Elsewhere:
    """A resolver that is not the network's: it has one name, which has an IPv4 address only."""

    def __init__(self, name: str, address: str) -> None:
        self._known = {name: (address,)}

    async def resolve(self, host: str) -> tuple[str, ...]:
        return self._known[host]


async def main(ca: str, host: str, known: str | None) -> None:
    name, _, address = host.rpartition("=")
    system_asked: list[str] = []

    def look_up(asked: str, *_args: object, **_options: object) -> list[object]:
        system_asked.append(asked)
        if known is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (known, 0, 0, 0))]

    socket.getaddrinfo = look_up  # type: ignore[assignment]
    told = []
    for secure, protocol in WAYS:
        asked: list[str] = []

        def allow(candidate: object, asked: list[str] = asked) -> bool:
            asked.append(str(candidate))
            return True

        scheme, port = ("https", HTTPS_PORT) if secure else ("http", HTTP_PORT)
        url = f"{scheme}://{name or address}:{port}/upload"
        resolver = Elsewhere(name, address) if name else None
        async with trilane.AsyncClient(
            verify=ca, allow_address=allow, resolver=resolver, http3=True
        ) as client:
            told.append(await upload(client, url, protocol) | {"asked": asked})
    print(json.dumps({"system_asked": system_asked, "told": told}))  # noqa: T201 - to the test


async def upload(client: trilane.AsyncClient, url: str, protocol: Protocol) -> dict[str, object]:
    try:
        response = await client.request("POST", url, content=BODY, protocol=protocol)
    except trilane.ConnectError as error:
        return {"error": str(error)}
    profile = response.profile
    assert profile is not None
    return {
        "peer": profile.peer_ip,
        "version": response.http_version,
        "intact": response.json()["body_sha256"] == hashlib.sha256(BODY).hexdigest(),
        "looked_up": profile.dns_start is not None and profile.dns_end is not None,
        "violations": order_violations(profile),
    }


if __name__ == "__main__":
    backend, ca, host, *rest = sys.argv[1:]
    anyio.run(main, ca, host, rest[0] if rest else None, backend=backend)
