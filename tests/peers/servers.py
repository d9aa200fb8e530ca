"""The foreign servers the interop tests upload to, each as a context manager.

Every server listens on loopback only, with the tests' certificate. nginx and caddy pass requests
on to an `Upstream`, whose receipt says what arrived; nghttpd echoes and gtlsserver dumps what it
got (see `receivers.py`).
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.certificates import Certificates, Identity
from tests.peers.process import (
    RunningServer,
    find_program,
    free_port,
    running,
    tcp_ready,
    udp_ready,
)

HOST = "127.0.0.1"

NGHTTPD_FLAGS = ("--echo-upload", "--verbose", "--window-bits=20", "--connection-window-bits=22")
"""Echoes uploads and logs frames; its default windows of 64 KiB allow 80 MB/s on loopback."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a server listens; a port is None when it does not speak that scheme."""

    name: str
    server: RunningServer
    ca: Path
    """Authority that a client has to trust."""
    cleartext_server: RunningServer | None = None
    """The process behind the cleartext ports, where that is another one."""
    https_port: int | None = None
    """TLS on TCP, and QUIC on UDP where the server speaks HTTP/3."""
    http_port: int | None = None
    """Cleartext HTTP/1.1."""
    sockets: Path | None = None
    """Folder of the Unix sockets `http.sock`, `h2c.sock` and `tls.sock`."""
    h2c_port: int | None = None
    """Cleartext HTTP/2 with prior knowledge."""

    def url(
        self, scheme: str, path: str = "/upload", *, h2c: bool = False, host: str = HOST
    ) -> str:
        """Absolute URL of a path on this server."""
        port = self.https_port if scheme == "https" else self.h2c_port if h2c else self.http_port
        if port is None:
            raise ValueError(f"{self.name} does not listen for {scheme}{' (h2)' if h2c else ''}")
        return f"{scheme}://{host}:{port}{path}"

    def log_of(self, scheme: str) -> Path:
        """Log of the process that serves a scheme."""
        other = self.cleartext_server if scheme == "http" else None
        return (other or self.server).log


@contextmanager
def upstream(folder: Path, certificates: Certificates) -> Iterator[Endpoints]:
    """The independent receiver, over http and over https (two processes)."""
    with (
        _upstream_process(folder / "upstream-http.log", None) as (plain, http_port),
        _upstream_process(folder / "upstream-https.log", certificates.server) as (tls, https_port),
    ):
        yield Endpoints(
            "upstream", tls, certificates.ca, plain, https_port=https_port, http_port=http_port
        )


@contextmanager
def caddy(
    folder: Path, certificates: Certificates, upstream_port: int, *, client_ca: Path | None = None
) -> Iterator[Endpoints]:
    """Caddy (Go, quic-go): HTTP/1.1, h2 and h3 on one port, cleartext HTTP/1.1 and h2c on another.

    Over TLS, `?alt_svc=VALUE` sets the Alt-Svc field of the response. With `client_ca`, clients
    must show a certificate of that authority.

    Raises:
        ProgramMissing: caddy is not installed.
    """
    https_port, http_port = free_port(), free_port()
    text = _CADDYFILE.format(
        folder=folder,
        cert=certificates.server.cert,
        key=certificates.server.key,
        https_port=https_port,
        http_port=http_port,
        upstream_port=upstream_port,
        client_auth="" if client_ca is None else _CADDY_CLIENT_AUTH.format(ca=client_ca),
    )
    with running_caddy(folder, "caddy", text, https_port, http_port) as server:
        yield Endpoints(
            "caddy",
            server,
            certificates.ca,
            https_port=https_port,
            http_port=http_port,
            h2c_port=http_port,
        )


@contextmanager
def running_caddy(
    folder: Path, name: str, text: str, https_port: int, *http_ports: int
) -> Iterator[RunningServer]:
    """Caddy with a configuration of one's own, which is kept under a name, like its log.

    Raises:
        ProgramMissing: caddy is not installed.
    """
    program, config = find_program("caddy", "caddy"), folder / f"{name}.caddyfile"
    config.write_text(text, encoding="utf-8")
    with running(
        [program, "run", "--config", str(config), "--adapter", "caddyfile"],
        log=folder / f"{name}.log",
        env={"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        ready=lambda _: all(map(tcp_ready, (https_port, *http_ports))) and udp_ready(https_port),
    ) as server:
        yield server


@contextmanager
def nginx(
    folder: Path, certificates: Certificates, upstream_port: int, *, client_ca: Path | None = None
) -> Iterator[Endpoints]:
    """nginx: HTTP/1.1 and h2 over TLS on one port, HTTP/1.1 and h2c on one each.

    With `client_ca`, clients must show a certificate of that authority.

    Raises:
        ProgramMissing: nginx is not installed.
    """
    program = find_program("nginx", "nginx-light")
    https_port, http_port, h2c_port = free_port(), free_port(), free_port()
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX_CONF.format(
            folder=folder,
            cert=certificates.server.cert,
            key=certificates.server.key,
            https_port=https_port,
            http_port=http_port,
            h2c_port=h2c_port,
            upstream_port=upstream_port,
            client_auth="" if client_ca is None else _NGINX_CLIENT_AUTH.format(ca=client_ca),
        ),
        encoding="utf-8",
    )
    with running(
        [program, "-e", "stderr", "-p", str(folder), "-c", str(config)],
        log=folder / "nginx.log",
        ready=lambda _: all(map(tcp_ready, (https_port, http_port, h2c_port))),
    ) as server:
        yield Endpoints(
            "nginx",
            server,
            certificates.ca,
            https_port=https_port,
            http_port=http_port,
            h2c_port=h2c_port,
            sockets=folder,
        )


@contextmanager
def nghttpd(
    folder: Path, certificates: Certificates, flags: Sequence[str] = NGHTTPD_FLAGS
) -> Iterator[Endpoints]:
    """nghttpd (nghttp2): h2 over TLS and h2c, in two processes; POST bodies are echoed.

    Raises:
        ProgramMissing: nghttpd is not installed.
    """
    program = find_program("nghttpd", "nghttp2-server")
    https_port, h2c_port = free_port(), free_port()
    documents = _document_root(folder)
    common = [program, "--address", HOST, "--htdocs", str(documents), *flags]
    identity = certificates.server
    with (
        running(
            [*common, "--no-tls", str(h2c_port)],
            log=folder / "nghttpd-h2c.log",
            ready=lambda _: tcp_ready(h2c_port),
        ) as cleartext,
        running(
            [*common, str(https_port), str(identity.key), str(identity.cert)],
            log=folder / "nghttpd-tls.log",
            ready=lambda _: tcp_ready(https_port),
        ) as server,
    ):
        yield Endpoints(
            "nghttpd",
            server,
            certificates.ca,
            cleartext,
            https_port=https_port,
            h2c_port=h2c_port,
        )


@contextmanager
def gtlsserver(
    folder: Path, certificates: Certificates, flags: Sequence[str] = ()
) -> Iterator[Endpoints]:
    """gtlsserver (ngtcp2 and nghttp3 over GnuTLS): h3 only. `--quiet` also ends its body dump.

    Raises:
        ProgramMissing: gtlsserver or stdbuf is not installed.
    """
    program = find_program("gtlsserver", "ngtcp2-server")
    # Its log goes out in tiny unbuffered writes, which slows it to 0.5 MB/s; by line: 6 MB/s.
    stdbuf = find_program("stdbuf", "coreutils")
    port = free_port()
    documents = _document_root(folder)
    identity = certificates.server
    argv = [stdbuf, "-eL", program, "--htdocs", str(documents), "--no-quic-dump", *flags]
    with running(
        [*argv, HOST, str(port), str(identity.key), str(identity.cert)],
        log=folder / "gtlsserver.log",
        ready=lambda _: udp_ready(port),
    ) as server:
        yield Endpoints("gtlsserver", server, certificates.ca, https_port=port)


@contextmanager
def hypercorn(folder: Path, certificates: Certificates) -> Iterator[Endpoints]:
    """Plain hypercorn: h11, h2 and, over aioquic, h3; keeps bodies in memory."""
    port = free_port()
    identity = certificates.server
    certificate = [f"--certfile={identity.cert}", f"--keyfile={identity.key}"]
    binds = [f"--bind={HOST}:{port}", f"--quic-bind={HOST}:{port}"]
    argv = [sys.executable, "-m", "hypercorn", *certificate, *binds]
    with running(
        [*argv, "tests.peers.hypercorn_app:app"],
        log=folder / "hypercorn.log",
        ready=lambda _: tcp_ready(port) and udp_ready(port),
    ) as server:
        yield Endpoints("hypercorn", server, certificates.ca, https_port=port)


@contextmanager
def receiver(folder: Path) -> Iterator[Endpoints]:
    """Our own built-in receiver (hypercorn and aioquic), with the certificate it makes itself."""
    https_port, http_port = free_port(), free_port()
    ports = [f"--port={https_port}", f"--cleartext-port={http_port}"]
    # Its first line of output tells where it is and which authority to trust.
    with running(
        [sys.executable, "-m", "trilane.api.receiver", *ports],
        log=folder / "receiver.log",
        ready=lambda server: b"\n" in server.log.read_bytes(),
    ) as server:
        address = json.loads(server.log.read_bytes().splitlines()[0])
        yield Endpoints(
            "receiver",
            server,
            Path(address["ca_path"]),
            https_port=https_port,
            http_port=http_port,
        )


@contextmanager
def _upstream_process(log: Path, identity: Identity | None) -> Iterator[tuple[RunningServer, int]]:
    port = free_port()
    argv = [sys.executable, "-m", "tests.peers.upstream_server", "--port", str(port)]
    if identity:
        argv += ["--cert", str(identity.cert), "--key", str(identity.key)]
    with running(argv, log=log, ready=lambda _: tcp_ready(port)) as server:
        yield server, port
        server.stop(signal.SIGKILL)


def _document_root(folder: Path) -> Path:
    """A folder with one file, so that a POST to /upload is answered with 200 and not 404."""
    root = folder / "htdocs"
    root.mkdir(exist_ok=True)
    (root / "upload").write_bytes(b"received\n")
    return root


_CADDYFILE = """\
{{
    admin off
    auto_https off
    default_sni localhost
    storage file_system {folder}
    servers {{
        protocols h1 h2 h2c h3
        strict_sni_host insecure_off
    }}
}}
(receiver) {{
    reverse_proxy 127.0.0.1:{upstream_port} {{
        flush_interval -1
    }}
}}
https://:{https_port} {{
    bind 127.0.0.1
    tls {cert} {key} {client_auth}
    @moved query alt_svc=*
    header @moved {{
        Alt-Svc {{query.alt_svc}}
        defer
    }}
    import receiver
}}
http://:{http_port} {{
    bind 127.0.0.1
    import receiver
}}
"""

_CADDY_CLIENT_AUTH = """{{
        client_auth {{
            mode require_and_verify
            trusted_ca_cert_file {ca}
        }}
    }}"""

_NGINX_CLIENT_AUTH = "ssl_client_certificate {ca}; ssl_verify_client on;"

_NGINX_CONF = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    server {{
        listen 127.0.0.1:{http_port};
        listen 127.0.0.1:{h2c_port} http2;
        listen 127.0.0.1:{https_port} ssl http2;
        listen unix:{folder}/http.sock;
        listen unix:{folder}/h2c.sock http2;
        listen unix:{folder}/tls.sock ssl http2;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        {client_auth}
        location / {{
            proxy_pass http://127.0.0.1:{upstream_port};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
        }}
    }}
}}
"""
