"""The foreign proxies the tests go through, each as a context manager, on loopback only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.certificates import Certificates
from tests.peers.process import RunningServer, find_program, free_port, running, tcp_ready

USER, PASSWORD = "bob", "s3cr:t/@"
"""What the proxies with passwords want; escaped in URLs."""
CREDENTIALS = "bob:s3cr%3At%2F%40"

_DANTE = """
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
    command: connect udpassociate udpreply
}}
"""
_TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
DisableViaHeader Yes
{more}
"""
# The helper reads lines of user and password; `sed` needs no file that squid's own user could read.
_SQUID = """
http_port 127.0.0.1:{port}
pid_filename none
pinger_enable off
cache deny all
cache_mem 8 MB
access_log none
cache_log /dev/stderr
coredump_dir none
shutdown_lifetime 0 seconds
visible_hostname squid
auth_param basic program {sed} -u -e s|^{user}.{password}$|OK| -e t -e s|.*|ERR|
auth_param basic children 1 startup=0
acl known proxy_auth REQUIRED
http_access allow known
"""
_STUNNEL = """
foreground = yes
pid =
[proxy]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{inner}
cert = {cert}
key = {key}
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that listens."""

    port: int
    server: RunningServer

    def url(self, scheme: str, credentials: str | None = None) -> str:
        """What to give to a client."""
        user = f"{credentials}@" if credentials is not None else ""
        return f"{scheme}://{user}127.0.0.1:{self.port}"


@contextmanager
def dante(folder: Path, user: str) -> Iterator[Proxy]:
    """Dante: SOCKS5 without passwords, with UDP ASSOCIATE.

    Raises:
        ProgramMissing: it is not installed.
    """
    program, port = find_program("danted", "dante-server"), free_port()
    config = folder / "danted.conf"
    config.write_text(_DANTE.format(port=port, user=user), encoding="utf-8")
    with _started([program, "-f", str(config), "-N", "1"], port, folder / "dante.log") as proxy:
        yield proxy


@contextmanager
def microsocks(folder: Path) -> Iterator[Proxy]:
    """microsocks: SOCKS5 with a password, without UDP.

    Raises:
        ProgramMissing: it is not installed.
    """
    program, port = find_program("microsocks", "microsocks"), free_port()
    argv = [program, "-i", "127.0.0.1", "-p", str(port), "-u", USER, "-P", PASSWORD]
    with _started(argv, port, folder / "microsocks.log") as proxy:
        yield proxy


@contextmanager
def v2ray(folder: Path) -> Iterator[Proxy]:
    """V2Ray: SOCKS5 with a password and UDP ASSOCIATE, whose relay has the proxy's own port.

    Raises:
        ProgramMissing: it is not installed.
    """
    program, port = find_program("v2ray", "v2ray"), free_port()
    config = folder / "v2ray.json"
    accounts = [{"user": USER, "pass": PASSWORD}]
    settings = {"auth": "password", "accounts": accounts, "udp": True, "ip": "127.0.0.1"}
    inbound = {"listen": "127.0.0.1", "port": port, "protocol": "socks", "settings": settings}
    outbound = {"protocol": "freedom"}
    config.write_text(json.dumps({"inbounds": [inbound], "outbounds": [outbound]}))
    with _started([program, "-config", str(config)], port, folder / "v2ray.log") as proxy:
        yield proxy


@contextmanager
def squid(folder: Path) -> Iterator[Proxy]:
    """squid: HTTP with Basic, which keeps connections and says 407 to forwarded requests, too.

    Raises:
        ProgramMissing: it is not installed.
    """
    program, port = find_program("squid", "squid"), free_port()
    config = folder / "squid.conf"
    sed = find_program("sed", "sed")
    text = _SQUID.format(port=port, sed=sed, user=USER, password=PASSWORD)
    config.write_text(text, encoding="utf-8")
    with _started([program, "-N", "-f", str(config)], port, folder / "squid.log") as proxy:
        yield proxy


@contextmanager
def tinyproxy(folder: Path, *, password: str | None = None) -> Iterator[Proxy]:
    """tinyproxy: HTTP, with Basic or without.

    Raises:
        ProgramMissing: it is not installed.
    """
    program, port = find_program("tinyproxy", "tinyproxy"), free_port()
    config = folder / f"tinyproxy-{port}.conf"
    more = "" if password is None else f"BasicAuth {USER} {password}"
    config.write_text(_TINYPROXY.format(port=port, more=more), encoding="utf-8")
    argv = [program, "-d", "-c", str(config)]
    with _started(argv, port, folder / f"tinyproxy-{port}.log") as proxy:
        yield proxy


@contextmanager
def tls_before(inner: Proxy, folder: Path, certificates: Certificates) -> Iterator[Proxy]:
    """stunnel: TLS in front of another proxy.

    Raises:
        ProgramMissing: it is not installed.
    """
    program, port = find_program("stunnel4", "stunnel4"), free_port()
    config = folder / f"stunnel-{port}.conf"
    identity = certificates.server
    text = _STUNNEL.format(port=port, inner=inner.port, cert=identity.cert, key=identity.key)
    config.write_text(text, encoding="utf-8")
    with _started([program, str(config)], port, folder / f"stunnel-{port}.log") as proxy:
        yield proxy


@contextmanager
def _started(argv: list[str], port: int, log: Path) -> Iterator[Proxy]:
    with running(argv, log=log, ready=lambda _: tcp_ready(port)) as server:
        yield Proxy(port, server)
