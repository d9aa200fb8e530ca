"""What the faces accept, turned into the engine's own option values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from ssl import SSLContext
from typing import Literal, get_args

from ..transport.config import (
    AddressRule,
    EngineOptions,
    HttpVersion,
    Limits,
    Preference,
    ProxyOptions,
    QualityOptions,
    QualityScope,
    QuicOptions,
    ThroughputRule,
    Timeouts,
    TlsOptions,
    TlsVersion,
)
from ..transport.errors import UsageError
from ..transport.pins import read_pins
from .name_options import ResolveInput, ResolverInput, name_options
from .proxy_input import proxy_options
from .quiet import refuse_coroutines
from .socket_input import SocketInput, socket_options

PathInput = str | os.PathLike[str]
VerifyInput = bool | PathInput | SSLContext
"""True (system trust store), False (no verification), a CA file or folder, or a context."""
CertInput = PathInput | tuple[PathInput, PathInput] | tuple[PathInput, PathInput, str]
"""A PEM file with certificate and key, or (certificate, key), or (certificate, key, password)."""
TimeoutInput = float | Timeouts | None
"""Seconds for the whole call, or each part on its own, or None for no limit."""
ProtocolInput = Literal["auto", "http/1.1", "h2", "h3"] | Preference
"""`auto`: what the client's flags allow; a name: that protocol or an error."""


class ConnectOptions(SocketInput, total=False):
    """How a client connects."""

    http2: bool
    """May speak HTTP/2 where the server offers it (ALPN); default True."""
    http3: bool
    """May speak HTTP/3: QUIC is raced against TCP. Default False, because a network that swallows
    UDP costs the first upload a wait."""
    verify: VerifyInput
    """True (default) for the system's trust store, False for no verification, a CA file or folder,
    or an `ssl.SSLContext`."""
    cert: CertInput | None
    """Client certificate: a PEM file, (certificate, key), or (certificate, key, password)."""
    tls_minimum: TlsVersion
    """The oldest TLS version over TCP: "1.2" (default) or "1.3". QUIC has 1.3 always."""
    ciphers: str | None
    """Cipher suites of TLS 1.2, as an OpenSSL cipher string. Python cannot choose those of TLS 1.3
    over TCP; QUIC's are `QuicOptions.cipher_suites`."""
    pins: Mapping[str, Iterable[str]] | None
    """By host, or `*.` and a domain, the keys a certificate may have, beside passing verification:
    `{"example.com": ["sha256/…="]}`, as curl's `--pinnedpubkey` writes them. Over TCP and QUIC."""
    sessions: PathInput | None
    """File that keeps QUIC's session tickets from one process to the next, so that the first
    connection resumes, or sends early data. Default None: they are kept in memory. It is readable
    by its owner alone; who reads it takes it away, because a ticket is used once."""
    resolver: ResolverInput
    """Who looks names up: None (default) for the operating system, the `https://` URL of a name
    server (RFC 8484) or a `DnsOverHttps`, `dns://` and the IP address of one that is asked in clear
    or a `DnsServer` (these need the extra `dns`), or an object with `async def resolve(self, host)`
    that returns IP addresses."""
    resolve: ResolveInput
    """Addresses that are not looked up: `{"host:port": ["192.0.2.1", ...]}`, as curl's `--resolve`;
    also `host`, `*:port` and `*`."""
    proxy: str | None
    """URL of a proxy for every host: `http://`, `https://` (TLS to the proxy), `socks5://` or
    `socks5h://` (the proxy resolves names), with `user:password@` if it wants them. None (default):
    what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say. `""`: no proxy."""
    no_proxy: str | None
    """Hosts that are reached directly, written as in `NO_PROXY`, which it replaces."""
    limits: Limits | None
    """Bounds on connections and responses."""
    quic: QuicOptions | None
    """How HTTP/3 connections behave."""
    quality: QualityOptions | None
    """How the quality of the network is estimated."""
    kernel_timestamps: bool
    """Whether the kernel notes when a request's first and last byte left, and when the last was
    acknowledged, for `Profile.transport`: TCP on Linux only. Default False."""
    allow_address: AddressRule | None
    """Says of every IP address, just before it is dialled, whether it may be: a plain, quick
    function of an `ipaddress` object that returns True or False, such as `public_addresses_only`.
    It is asked about literals, the addresses of names, redirects and alternative services, over TCP
    and QUIC. Default None: any address will do."""
    trust_env: bool
    """Whether `SSLKEYLOGFILE`, `QLOGDIR` and the variables for proxies are honoured; default
    True."""


class ClientOptions(ConnectOptions, total=False):
    """Everything a client can be made with."""

    timeout: TimeoutInput
    """Seconds for a whole call (default 60), `Timeouts` for its parts, or None for no limit."""


def engine_options(given: ConnectOptions) -> EngineOptions:
    """What the options ask of the engine.

    Raises:
        UsageError: one has a value it cannot have.
    """
    trust_env = given.get("trust_env", True)
    return EngineOptions(
        tls=tls_options(given, trust_env=trust_env),
        limits=given.get("limits") or Limits(),
        quic=quic_options(given.get("quic"), trust_env=trust_env),
        quality=quality_options(given.get("quality")),
        sessions_path=_path(given.get("sessions")),
        names=name_options(given.get("resolver"), given.get("resolve")),
        proxies=_proxies(given, trust_env=trust_env),
        kernel_timestamps=given.get("kernel_timestamps", False),
        sockets=socket_options(given),
        allow_address=address_rule(given.get("allow_address")),
    )


def _proxies(given: ConnectOptions, *, trust_env: bool) -> ProxyOptions:
    if given.get("uds") is not None:
        if given.get("proxy"):
            raise UsageError("uds and proxy: a Unix socket is not reached through a proxy")
        return ProxyOptions()
    environment = os.environ if trust_env else None
    return proxy_options(given.get("proxy"), given.get("no_proxy"), environment)


def default_preference(given: ConnectOptions) -> Preference:
    """Which protocols calls may use that say nothing about it."""
    return Preference(http2=given.get("http2", True), http3=given.get("http3", False))


def refuse_unknown(given: Iterable[str], known: frozenset[str]) -> None:
    """Refuse keywords that have no meaning, as Python does for named parameters.

    Raises:
        TypeError: there is one.
    """
    if not known.issuperset(given):
        raise TypeError(f"unexpected keyword argument {min(set(given) - known)!r}")


def tls_options(given: ConnectOptions, *, trust_env: bool) -> TlsOptions:
    """All about TLS; `SSLKEYLOGFILE` when the environment is trusted.

    Raises:
        UsageError: an option has a value it cannot have.
    """
    verify, cert = given.get("verify", True), given.get("cert")
    minimum = given.get("tls_minimum", "1.2")
    if minimum not in get_args(TlsVersion):
        raise UsageError(f"tls_minimum must be one of {get_args(TlsVersion)}, not {minimum!r}")
    try:
        checked = verify if isinstance(verify, bool | SSLContext) else os.fspath(verify)
        certificate, key, password = _certificate(cert)
    except (TypeError, ValueError):
        raise UsageError(
            "verify must be True, False, a path or an ssl.SSLContext, and cert a path, "
            f"(cert, key) or (cert, key, password): got {verify!r} and a {type(cert).__name__}"
        ) from None
    return TlsOptions(
        verify=checked,
        cert=certificate,
        key=key,
        key_password=password,
        minimum=minimum,
        ciphers=given.get("ciphers"),
        pins=read_pins(given.get("pins") or {}),
        keylog_path=_environment("SSLKEYLOGFILE") if trust_env else None,
    )


def quic_options(quic: QuicOptions | None, *, trust_env: bool) -> QuicOptions:
    """The given options, else the default ones, with `QLOGDIR` when the environment is trusted."""
    if quic is not None:
        return quic
    return QuicOptions(qlog_dir=_environment("QLOGDIR") if trust_env else None)


def quality_options(quality: QualityOptions | None) -> QualityOptions:
    """The given options, else the default ones."""
    if quality is None:
        return QualityOptions()
    for value, annotation in (
        (quality.throughput_rule, ThroughputRule),
        (quality.scope, QualityScope),
    ):
        if value not in get_args(annotation):
            raise UsageError(f"{value!r} is none of {get_args(annotation)}")
    return quality


def address_rule(rule: AddressRule | None) -> AddressRule | None:
    """The given rule, if it can be asked."""
    if rule is not None and not callable(rule):
        raise UsageError(f"allow_address must be a function of an address, not {rule!r}")
    refuse_coroutines(rule)
    return rule


# By plain str, whose hash, unlike an enum's, needs no call.
_EXACTLY = {version.value: Preference(exactly=version) for version in HttpVersion}


def timeouts_of(timeout: TimeoutInput) -> Timeouts:
    """Seconds, or values per phase, as `Timeouts`."""
    if isinstance(timeout, Timeouts):
        return timeout
    if timeout is None:
        return Timeouts(total_s=None)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise UsageError(f"timeout must be a positive number of seconds, not {timeout!r}")
    return Timeouts(total_s=float(timeout))


def preference_of(protocol: ProtocolInput, default: Preference) -> Preference:
    """Which protocols a call may use."""
    if isinstance(protocol, Preference):
        return protocol
    if protocol == "auto":
        return default
    try:
        return _EXACTLY[protocol]
    except (KeyError, TypeError):
        known = ", ".join(repr(str(name)) for name in ("auto", *HttpVersion))
        raise UsageError(f"protocol {protocol!r} is none of {known}") from None


def _certificate(cert: CertInput | None) -> tuple[str | None, str | None, str | None]:
    match cert:
        case None:
            return None, None, None
        case (certificate, key):
            return os.fspath(certificate), os.fspath(key), None
        case (certificate, key, password):
            return os.fspath(certificate), os.fspath(key), str(password)
        case tuple():
            raise ValueError("too many, or too few")
    return os.fspath(cert), None, None


def _path(given: object) -> Path | None:
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike) or not given:
        raise UsageError(f"sessions must be the path of a file, not {given!r}")
    return Path(given)


def _environment(name: str) -> str | None:
    return os.environ.get(name) or None
