"""Options and limits of the engine: frozen values, units in their names, reasons beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from ssl import SSLContext
from typing import Literal, Protocol

from .pins import Pins

RetryStale = Literal["always", "idempotent", "never"]
"""Whether a request is resent when a reused connection dies before any response byte."""
TlsVersion = Literal["1.2", "1.3"]
ThroughputRule = Literal["relaxed", "chromium"]
"""`relaxed`: any response of 64 kB, or over two round trips, tells of the network's throughput.
`chromium`: only five GET requests at once, of 32 kB together; uploads never qualify."""
CipherSuite = Literal[
    "TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"
]
"""A cipher suite of TLS 1.3 that QUIC can have here."""
QualityScope = Literal["process", "client"]
"""Whose requests count: those of all clients with the same options, or of this one alone."""


AddressRule = Callable[[IPv4Address | IPv6Address], bool]
"""Says whether an address may be dialled. An IPv4-mapped IPv6 address is shown to it as the IPv4
address that the operating system would connect to."""


class HttpVersion(StrEnum):
    """A protocol of the engine, by its ALPN identifier (RFC 7301, RFC 9113, RFC 9114)."""

    HTTP1 = "http/1.1"
    HTTP2 = "h2"
    HTTP3 = "h3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each part of a request may take, in seconds; None means without limit."""

    total_s: float | None = 60.0
    """The whole call, redirects and retries included (the seed's default is 60 000 ms)."""
    connect_s: float | None = None
    """Name, TCP and TLS (or QUIC) together, for one connection."""
    write_idle_s: float | None = None
    """Without the peer taking a single byte of the request."""
    read_idle_s: float | None = None
    """Without a single byte of the response, counted from the end of the request."""
    pool_s: float | None = None
    """Waiting for one of the parallel slots, or for a connection another request is making."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one client keeps, opens or accepts."""

    parallel_requests: int = 10
    """Requests on their way at once; more wait in FIFO order (WeChat's documented limit is 10)."""
    connections_per_origin: int = 10
    """TCP connections to one origin; as many as there are slots, so HTTP/1.1 never waits twice."""
    connections_total: int = 100
    """Connections over all origins, idle ones included (httpx's default)."""
    idle_connection_s: float = 30.0
    """An unused connection is closed after this time; below the 60-75 s at which servers do it."""
    response_head_bytes: int = 64 * 1024
    """A larger response head is refused (curl allows 300 KiB, node 16 KiB, h2 64 KiB)."""
    response_body_bytes: int = 64 * 1024 * 1024
    """A larger response body is refused: it is kept in memory, and an upload's answer is small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """How the peer is verified and how we identify ourselves; the same for TCP and QUIC."""

    verify: bool | str | SSLContext = True
    """True: the system's trust store. False: no verification. A path: a CA file or folder.
    An `ssl.SSLContext` is used as it is for TCP; QUIC takes its CA certificates from it."""
    cert: str | None = None
    """PEM file with the client certificate (and its key, unless `key` is given)."""
    key: str | None = None
    """PEM file with the client's private key."""
    key_password: str | None = field(default=None, repr=False)
    """Password of the private key."""
    minimum: TlsVersion = "1.2"
    """The oldest TLS version over TCP; QUIC has TLS 1.3 always (RFC 9001 §4.2)."""
    ciphers: str | None = None
    """Cipher suites of TLS 1.2 as an OpenSSL cipher string; None for OpenSSL's default. Those of
    TLS 1.3 are not governed by it; QUIC's are `QuicOptions.cipher_suites`."""
    pins: Pins = frozenset()
    """Keys that servers must have, beside passing verification."""
    keylog_path: str | None = None
    """NSS key log (RFC 9850) to append to; the `SSLKEYLOGFILE` variable sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuicOptions:
    """How HTTP/3 connections behave."""

    congestion_control: Literal["cubic", "reno"] = "cubic"
    """CUBIC (RFC 9438) is what every large deployment runs; Reno is RFC 9002's own."""
    max_datagram_bytes: int = 1472
    """Largest UDP payload tried: what Ethernet carries over IPv4. What the path takes is found out
    by probing (RFC 8899), from 1200 on, which is QUIC's floor; up to 65 000 with jumbo frames."""
    idle_timeout_s: float = 30.0
    """The idle timeout we offer (RFC 9000 §10.1)."""
    preferred_address: Literal["follow", "ignore"] = "follow"
    """Whether to go on at the address a server says it prefers (RFC 9000 §9.6), once that was
    validated; `allow_address` is asked about it."""
    cipher_suites: tuple[CipherSuite, ...] = (
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
    )
    """What the handshake offers, preferred first."""
    qlog_dir: str | None = None
    """Folder for qlog files; the `QLOGDIR` variable sets it."""


class ProxyScheme(StrEnum):
    """How a proxy is spoken to."""

    HTTP = "http"
    HTTPS = "https"
    """HTTP inside TLS to the proxy."""
    SOCKS5 = "socks5"
    """RFC 1928; names are resolved on this host."""
    SOCKS5H = "socks5h"
    """The same; names are resolved by the proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyServer:
    """A proxy. Its text and its repr leave the credentials out."""

    scheme: ProxyScheme
    host: str
    """Name or IP literal (IPv6 without brackets)."""
    port: int
    user: str | None = field(default=None, repr=False)
    """None: without credentials."""
    password: str = field(default="", repr=False)

    @property
    def is_socks(self) -> bool:
        """Whether it relays anything; the others speak HTTP."""
        return self.scheme in {ProxyScheme.SOCKS5, ProxyScheme.SOCKS5H}

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyOptions:
    """Which origins are reached through which proxy; see `policy.routes`."""

    for_http: ProxyServer | None = None
    """For http:// origins; None: directly."""
    for_https: ProxyServer | None = None
    """For https:// origins, HTTP/3 included; None: directly."""
    no_proxy: str = ""
    """Hosts that are reached directly, as the `NO_PROXY` variable writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOptions:
    """Where sockets leave from, and how their packets are treated; see `ConnectOptions`."""

    uds: str | None = None
    """Path of a Unix socket that stands for every host, or NUL and an abstract name (Linux)."""
    local_address: tuple[str, int] | None = None
    """IP address and port to send from; port 0: any."""
    interface: str | None = None
    """Network interface to send through."""
    congestion_control: str | None = None
    """TCP's, by the kernel's name for it."""
    dscp: int | None = None
    """Differentiated services codepoint (RFC 2474), 0 to 63."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityOptions:
    """How the quality of the network is estimated; see `docs/profile.md`."""

    include_private: bool = False
    """Whether peers with loopback, private or link-local addresses count; they say nothing about
    the network outside."""
    throughput_rule: ThroughputRule = "relaxed"
    platform_defaults: bool = False
    """Whether to suppose, as Chromium does, what such networks are like until something was
    observed. Off: no figure is better than an invented one."""
    scope: QualityScope = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Which protocols a request may use: the seed's two flags, or exactly one protocol."""

    http2: bool = False
    http3: bool = False
    exactly: HttpVersion | None = None
    """When set, only this protocol will do: anything else is `ProtocolUnavailable`."""


class Resolver(Protocol):
    """Finds the addresses of a name. It is not asked about IP literals."""

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Return at least one IP address as text, preferred first.

        Raises:
            ResolveError: the name has no address, or it could not be found out.
        """
        ...


@dataclass(frozen=True, slots=True)
class DnsOverHttps:
    """A name server that is asked over HTTPS (RFC 8484), by connections of their own."""

    url: str = field(repr=False)
    """`https://…`; a `{?dns}` at its end is left out. Its own name is looked up by the system. Some
    servers know their customers by it, so `repr` leaves it out."""
    method: Literal["POST", "GET"] = "POST"
    """GET lets caches on the way answer; POST tells fewer logs."""
    preference: Preference = field(default_factory=lambda: Preference(http2=True))
    """Which protocols it is asked over; HTTP/2 by default, HTTP/1.1 where it has no other."""


@dataclass(frozen=True, slots=True)
class DnsServer:
    """A name server that is asked in clear: over UDP, and over TCP for what is too long for it."""

    address: str
    """Its IP address; IPv6 without brackets."""
    port: int = 53

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"dns://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameOptions:
    """Where the addresses of names come from."""

    resolver: DnsOverHttps | DnsServer | Resolver | None = None
    """A name server, over HTTPS or in clear, or a resolver of the caller's; None: the system."""
    static: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Addresses that are known: `host:port`, `host`, `*:port` or `*`, in this order, and IPs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Everything one client's engine is made with. Clients with equal options may share one."""

    tls: TlsOptions = field(default_factory=TlsOptions)
    limits: Limits = field(default_factory=Limits)
    quic: QuicOptions = field(default_factory=QuicOptions)
    quality: QualityOptions = field(default_factory=QualityOptions)
    names: NameOptions = field(default_factory=NameOptions)
    proxies: ProxyOptions = field(default_factory=ProxyOptions)
    kernel_timestamps: bool = False
    """Whether the kernel notes when a request's ends left and arrived (TCP on Linux)."""
    sessions_path: Path | None = None
    """File that keeps QUIC's session tickets and tokens from one process to the next."""
    alt_svc_path: Path | None = None
    """File that keeps alternative services (RFC 7838) from one process to the next."""
    sockets: SocketOptions = field(default_factory=SocketOptions)
    allow_address: AddressRule | None = None
    """Asked about every address just before it is dialled; None: all will do."""
