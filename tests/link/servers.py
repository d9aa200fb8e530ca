"""Receivers inside a namespace: the independent upstream server, and caddy in front of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.link.namespaces import Namespace
from tests.peers.certificates import Identity
from tests.peers.process import RunningServer, find_program

#: A namespace has all ports to itself.
HTTPS_PORT, HTTP_PORT, UPSTREAM_PORT = 443, 80, 8080
#: As HTTPS_PORT, but nobody listens there over IPv6.
V4_ONLY_PORT = 8443


@dataclass(frozen=True, slots=True)
class Site:
    """Where uploads go: one host, three protocols."""

    host: str
    ca: Path
    caddy: RunningServer

    def url(self, protocol: str, path: str = "/raw", *, secure: bool = True) -> str:
        """URL at which caddy speaks the protocol."""
        if secure or protocol == "h3":
            return f"https://{self.host}:{HTTPS_PORT}{path}"
        return f"http://{self.host}:{HTTP_PORT}{path}"

    def upstream_url(self, path: str = "/raw") -> str:
        """URL of the upstream itself, HTTP/1.1 without TLS: nothing lies between it and us."""
        return f"http://{self.host}:{UPSTREAM_PORT}{path}"


@contextmanager
def serving(
    home: Namespace, folder: Path, host: str, *, bound: str | None = None
) -> Iterator[Site]:
    """Run both servers in a namespace, listening on every address of it.

    Args:
        home: where they run.
        folder: takes their logs, configuration and certificates.
        host: the address clients will use; the certificate is valid for it.
        bound: the address of the one port that listens on one only; `host`, if it is not given.

    Raises:
        ProgramMissing: caddy is not installed.
    """
    program = find_program("caddy", "caddy")
    ca, identity = make_identity(folder, host)
    config = folder / "Caddyfile"
    config.write_text(
        _CADDYFILE.format(folder=folder, bound=bound or host, cert=identity.cert, key=identity.key),
        encoding="utf-8",
    )
    environment = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    upstream = [sys.executable, "-m", "tests.peers.upstream_server", "--address", "0.0.0.0"]
    with (
        home.serving(
            [*upstream, "--port", str(UPSTREAM_PORT)],
            log=folder / "upstream.log",
            tcp_ports=[UPSTREAM_PORT],
        ),
        home.serving(
            [program, "run", "--config", str(config), "--adapter", "caddyfile"],
            log=folder / "caddy.log",
            tcp_ports=[HTTP_PORT, HTTPS_PORT, V4_ONLY_PORT],
            udp_ports=[HTTPS_PORT, V4_ONLY_PORT],
            env=environment,
        ) as caddy,
    ):
        yield Site(host, ca, caddy)


def make_identity(folder: Path, host: str) -> tuple[Path, Identity]:
    """An authority, and a certificate of its that is valid for the address."""
    authority = trustme.CA()
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    # The name is what caddy takes for a client that connects to an address and names nobody.
    leaf = authority.issue_cert(host, "localhost", "*.trilane.test")
    identity = Identity(folder / "server.pem", folder / "server.key")
    leaf.private_key_pem.write_to_path(identity.key)
    for index, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(identity.cert, append=index > 0)
    return ca, identity


_CADDYFILE = f"""\
{{{{
    admin off
    auto_https off
    default_sni localhost
    storage file_system {{folder}}
    servers {{{{
        protocols h1 h2 h2c h3
    }}}}
}}}}
(receiver) {{{{
    reverse_proxy 127.0.0.1:{UPSTREAM_PORT} {{{{
        flush_interval -1
    }}}}
}}}}
https://:{HTTPS_PORT} {{{{
    tls {{cert}} {{key}}
    import receiver
}}}}
https://:{V4_ONLY_PORT} {{{{
    bind {{bound}}
    tls {{cert}} {{key}}
    import receiver
}}}}
http://:{HTTP_PORT} {{{{
    import receiver
}}}}
"""
