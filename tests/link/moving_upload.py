"""One upload over one HTTP/3 connection while the host it runs on is moved.

Run as `python -m tests.link.moving_upload URL CA FILE BACKEND`; prints, in JSON, the local address
at first and at last, and whether the upload succeeded in trains.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio

from tests.http3.udp_server import background
from tests.http3.uploads import make_exchange
from tests.peers.plain_names import SYSTEM_NAMES
from trilane.transport.config import EngineOptions, TlsOptions
from trilane.transport.connections.http3_dialer import QuicDialer
from trilane.transport.message import parse_url
from trilane.transport.net.dial_log import DialLog
from trilane.transport.sessions import SessionStore
from trilane.transport.sources.joined import content_body

_TIMEOUT_S = 60.0


async def _upload(url: str, ca: str, path: Path) -> dict[str, object]:
    options = EngineOptions(tls=TlsOptions(verify=ca))
    dialer = QuicDialer(options, SessionStore())
    origin = parse_url(url).origin
    with anyio.fail_after(_TIMEOUT_S):
        address = origin.host, origin.port
        connection = await dialer.dial(origin, address, DialLog(), names=SYSTEM_NAMES)
        async with background(connection.run):
            first = connection.facts.local
            kind = {"content-type": "application/octet-stream"}
            exchange = make_exchange(url, await content_body(path), headers=kind)
            exchange.recorder.use_connection(connection.facts, reused=False)
            response = await connection.exchange(exchange)
            await connection.aclose()
    facts = exchange.recorder.leg.connection
    return {
        "status": response.head.status,
        "first": first,
        "last": None if facts is None else facts.local,
        "high_performance": exchange.recorder.leg.high_performance,
    }


def main() -> None:
    """Upload as the command line says."""
    url, ca, path, backend = sys.argv[1:]
    sys.stdout.write(json.dumps(anyio.run(_upload, url, ca, Path(path), backend=backend)))


if __name__ == "__main__":
    main()
