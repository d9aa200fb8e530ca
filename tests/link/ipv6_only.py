"""On a host without IPv4: asks a server by its IPv4 address, and prints what came of it.

    python -m tests.link.ipv6_only BACKEND IPV4 IPV6 [KNOWN]

The server listens on IPV6. KNOWN is what `ipv4only.arpa` resolves to here; without it, nothing is.
"""

from __future__ import annotations

import json
import sys

import anyio
from anyio.abc import SocketAttribute, SocketStream

import trilane


async def main(address: str, listening: str, known: str | None) -> None:
    listener = await anyio.create_tcp_listener(local_host=listening)
    port = listener.extra(SocketAttribute.local_port)
    names = {"ipv4only.arpa": [known]} if known else {}
    asked: list[str] = []

    def allow(candidate: object) -> bool:
        asked.append(str(candidate))
        return True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        async with trilane.AsyncClient(resolve=names, allow_address=allow) as client:
            try:
                response = await client.request("GET", f"http://{address}:{port}/")
                told = response.profile.peer_ip if response.profile else None
            except trilane.ConnectError as error:
                told = str(error)
        tasks.cancel_scope.cancel()
    await listener.aclose()
    print(json.dumps({"told": told, "asked": asked}))  # noqa: T201 - to the test


async def answer(stream: SocketStream) -> None:
    async with stream:
        await stream.receive()
        await stream.send(b"HTTP/1.1 204 No Content\r\n\r\n")


if __name__ == "__main__":
    backend, *arguments = sys.argv[1:]
    address, listening, known = (*arguments, None)[:3]
    assert address is not None
    assert listening is not None
    anyio.run(main, address, listening, known, backend=backend)
