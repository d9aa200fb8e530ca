"""Connections to a name with given addresses, made by a fresh process in a namespace.

Run as `python -m tests.link.dials PLAN`, where PLAN is a `Plan` in JSON; prints a list of `Dial`s
in JSON, one for each protocol on each event loop; those of one event loop are made at once.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import anyio

import trilane
from tests.link.namespaces import Namespace
from tests.peers.process import ahead_of_others

PROTOCOLS = ("http/1.1", "h2", "h3")
BACKENDS = ("asyncio", "trio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where uploads go, and what the name of the server resolves to."""

    ca: str
    port: int
    addresses: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """An attempt to reach an address; seconds since the answer of the name server."""

    address: str
    start_s: float
    end_s: float
    outcome: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """What the profile of one upload said of its connection."""

    protocol: str
    backend: str
    peer_ip: str
    connected_s: float
    """From the name server's answer to the end of all handshakes."""
    tries: Sequence[Try]
    """Of TCP, or of QUIC, in the order in which they began."""


def dials_from(host: Namespace, plan: Plan) -> list[Dial]:
    """Carry out a plan inside a namespace, ahead of other work."""
    with ahead_of_others():
        output = host.python("tests.link.dials", json.dumps(asdict(plan)))
    return [
        Dial(**{**dial, "tries": [Try(**each) for each in dial["tries"]]})
        for dial in json.loads(output)
    ]


async def _dial(plan: Plan, protocol: Any, backend: str) -> Dial:
    async with trilane.AsyncClient(verify=plan.ca) as client:
        url = f"https://localhost:{plan.port}/raw"
        response = await client.request("POST", url, content=b"x", protocol=protocol)
    profile = response.profile
    assert profile is not None
    assert profile.dns_end is not None
    assert profile.connect_end is not None
    assert profile.peer_ip is not None
    resolved = profile.dns_end
    tries = [
        Try(
            address="" if each.address is None else each.address[0],
            start_s=(each.start - resolved) / 1e9,
            end_s=(each.end - resolved) / 1e9,
            outcome=each.outcome,
            error=each.error,
        )
        for each in sorted(profile.attempts, key=lambda each: each.start)
        if each.protocol != "tls"
    ]
    return Dial(
        protocol=protocol,
        backend=backend,
        peer_ip=profile.peer_ip,
        connected_s=(profile.connect_end - resolved) / 1e9,
        tries=tries,
    )


async def _dial_all(plan: Plan, backend: str) -> list[Dial]:
    dials: dict[str, Dial] = {}

    async def one(protocol: str) -> None:
        dials[protocol] = await _dial(plan, protocol, backend)

    async with anyio.create_task_group() as tasks:
        for protocol in PROTOCOLS:
            tasks.start_soon(one, protocol)
    return [dials[protocol] for protocol in PROTOCOLS]


def _main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))

    def look_up(host: str, *_args: object, **_options: object) -> list[object]:
        assert host == "localhost"
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, 0))
            for each in plan.addresses
        ]

    socket.getaddrinfo = look_up  # type: ignore[assignment]
    dials = [
        asdict(dial)
        for backend in BACKENDS
        for dial in anyio.run(_dial_all, plan, backend, backend=backend)
    ]
    sys.stdout.write(json.dumps(dials))


if __name__ == "__main__":
    _main()
