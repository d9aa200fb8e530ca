"""A name server over HTTPS on HTTP/1.1, HTTP/2 and HTTP/3: caddy in front of dnsdist, which has h2.

Its log says over which protocol it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.certificates import Certificates
from tests.peers.process import free_port
from tests.peers.servers import Endpoints, running_caddy


@contextmanager
def caddy_front(folder: Path, certificates: Certificates, behind: Endpoints) -> Iterator[Endpoints]:
    """Caddy, which passes on what it is asked.

    Raises:
        ProgramMissing: caddy is not installed.
    """
    port = free_port()
    text = _CADDYFILE.format(
        folder=folder,
        cert=certificates.server.cert,
        key=certificates.server.key,
        port=port,
        behind=behind.https_port,
        ca=behind.ca,
    )
    with running_caddy(folder, "caddy-doh", text, port) as server:
        yield Endpoints("caddy-doh", server, certificates.ca, https_port=port)


def protocols_asked_over(front: Endpoints) -> list[str]:
    """What its log says, one entry for each message; `HTTP/1.1`, `HTTP/2.0` or `HTTP/3.0`."""
    lines = front.server.log.read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [entry["request"]["proto"] for entry in entries if "request" in entry]


_CADDYFILE = """\
{{
    admin off
    auto_https off
    default_sni localhost
    storage file_system {folder}
    servers {{
        protocols h1 h2 h3
    }}
}}
https://:{port} {{
    bind 127.0.0.1
    tls {cert} {key}
    log {{
        output stderr
        format json
    }}
    reverse_proxy https://127.0.0.1:{behind} {{
        transport http {{
            versions 2
            tls_server_name localhost
            tls_trusted_ca_certs {ca}
        }}
    }}
}}
"""
