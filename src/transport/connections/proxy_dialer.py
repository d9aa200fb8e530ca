"""The way through a proxy: to the proxy itself, then its dialogue, then to the origin.

Each step is bounded by who cancels; whatever happens, nothing is left open but what is returned.
"""

from __future__ import annotations

from dataclasses import replace

from ..config import EngineOptions, ProxyScheme, ProxyServer
from ..errors import (
    ConnectionLost,
    NetworkError,
    ProtocolUnavailable,
    ProxyAuthenticationError,
    ProxyError,
    ResolveError,
    ResolveReason,
)
from ..message import Origin
from ..net.datagram import Address
from ..net.dial import Connector, connect_host, secure
from ..net.dial_log import DialLog
from ..net.reasons import address_text
from ..net.resolve import Names, resolve_host
from ..net.stream import LayerableStream
from ..net.tcp import connect_tcp
from ..net.tls import start_tls
from ..net.tls_context import tls_setup
from ..policy.eyeballs import interleave
from ..profile.moments import DialRecord
from ..protocols.http_connect import ConnectDialogue
from ..protocols.proxy_dialogue import ProxyDialogue
from ..protocols.socks5 import LONGEST_NAME, Command, Socks5Dialogue
from ..sessions import SessionSlot
from .socks_relay import SocksRelay

#: Where a client sends from that does not know its address as the proxy sees it (RFC 1928 §6).
_ANY_ADDRESS = ("0.0.0.0", 0)  # noqa: S104  # not bound to
_UNSPECIFIED = frozenset(("0.0.0.0", "::"))  # noqa: S104
#: All that HTTP proxies are spoken to in.
_PROXY_ALPN = ("http/1.1",)


class ProxyDialer:
    """Reaches origins through proxies; one client's."""

    def __init__(self, options: EngineOptions, connect: Connector = connect_tcp) -> None:
        self._tls = options.tls
        self._allow = options.allow_address
        self._sockets = options.sockets
        self._connect = connect

    def looks_up(self, proxy: ProxyServer) -> bool:
        """Whether names are looked up here: an address that is to be vetted must be known."""
        return proxy.scheme is ProxyScheme.SOCKS5 or self._allow is not None

    async def dial(
        self,
        origin: Origin,
        address: tuple[str, int],
        proxy: ProxyServer,
        *,
        tunnelled: bool,
        alpn: tuple[str, ...],
        names: Names,
        log: DialLog,
        sessions: SessionSlot | None,
    ) -> tuple[LayerableStream, DialRecord]:
        """Connect to an origin, TLS included, or to the proxy that forwards to it.

        Args:
            origin: whom the certificate must be valid for.
            address: host and port to connect to.
            proxy: on the way to it.
            tunnelled: whether the proxy is asked for a tunnel, or forwards.
            alpn: protocols to offer to the origin, preferred first.
            names: asked for the addresses of names.
            log: takes attempts and moments as they happen.
            sessions: the origin's sessions that TLS may resume.

        Raises:
            ResolveError: the origin's name was to be resolved here, and has no address; or it is
                too long for SOCKS5.
            AddressRefused: it has none that `allow_address` permits.
            ProxyError: the proxy cannot be reached, or refused.
            CertificateError: the origin's certificate was refused.
            TlsError: the TLS handshake with the origin failed otherwise.
            ProtocolUnavailable: the origin speaks none of `alpn`.
            UsageError: the TLS options cannot be used.
        """
        setup = await tls_setup(self._tls, alpn) if origin.secure else None
        try:
            if tunnelled:
                stream = await self._tunnel(proxy, address, names, log)
            else:
                stream = await self._reach(proxy, names, log.branch(str(proxy)), log)
            if setup is not None:
                stream = await secure(stream, setup, origin.host, log, sessions)
            else:
                log.connect_end = log.proxy_handshake_end or log.proxy_connect_end
        except NetworkError as exc:
            exc.attempts = tuple(log.attempts)
            raise
        return stream, log.freeze()

    async def relay(
        self, proxy: ProxyServer, target: Address, *, names: Names, log: DialLog
    ) -> SocksRelay:
        """Have a SOCKS5 proxy relay datagrams to a target, a name if it is to resolve it.

        Raises:
            ResolveError: the target's name is too long.
            ConnectError: there is no way to the relay.
            ProxyError: the proxy cannot be reached, relays nothing, or names no place to send to.
        """
        _check_name(target)
        way = log.branch(str(proxy))
        stream = await self._reach(proxy, names, way, log)
        way.tcp_connected = None  # the connection that carries requests is another one
        try:
            dialogue = Socks5Dialogue(proxy, Command.UDP_ASSOCIATE, _ANY_ADDRESS)
            try:
                await _converse(stream, dialogue, proxy, target, way)
            finally:
                log.adopt_way(way)
            address = await _relay_address(proxy, dialogue.bound, stream, names, way)
            return SocksRelay(stream, address, target, way, proxy=str(proxy), options=self._sockets)
        except BaseException:
            stream.close()
            raise

    async def _reach(
        self, proxy: ProxyServer, names: Names, way: DialLog, log: DialLog
    ) -> LayerableStream:
        """Connect to the proxy itself, TLS to it included."""
        way.proxy_connect_start = way.clock()
        try:
            stream = await connect_host(
                proxy.host, proxy.port, names=names, log=way, connect=self._connect
            )
            if proxy.scheme is ProxyScheme.HTTPS:
                stream = await self._secure_proxy(stream, proxy, way)
            way.proxy_connect_end = way.clock()
        except (NetworkError, ProtocolUnavailable) as exc:
            text = f"the proxy {proxy} cannot be reached: {exc}"
            raise ProxyError(text, proxy=str(proxy)) from exc
        finally:
            log.adopt_way(way)
        return stream

    async def _secure_proxy(
        self, stream: LayerableStream, proxy: ProxyServer, way: DialLog
    ) -> LayerableStream:
        try:
            # The client certificate is the origin's business.
            options = replace(self._tls, cert=None, key=None, key_password=None)
            setup = await tls_setup(options, _PROXY_ALPN)
        except BaseException:
            stream.close()
            raise
        with way.attempt("proxy-tls", stream.peer):
            return await start_tls(stream, setup, proxy.host)

    async def _tunnel(
        self, proxy: ProxyServer, target: tuple[str, int], names: Names, log: DialLog
    ) -> LayerableStream:
        _, port = target
        if not self.looks_up(proxy):
            return await self._tunnel_to(proxy, target, names, log)
        log.proxy = str(proxy)
        found = await resolve_host(target, names, log, "tcp", self._allow, dialled_here=False)
        addresses = interleave(found)
        # It may have addresses that the proxy cannot reach.
        for address in addresses[:-1]:
            try:
                return await self._tunnel_to(proxy, (address, port), names, log)
            except ProxyAuthenticationError:
                raise
            except ProxyError as exc:
                if exc.reply is None and exc.status is None:
                    raise
        return await self._tunnel_to(proxy, (addresses[-1], port), names, log)

    async def _tunnel_to(
        self, proxy: ProxyServer, target: tuple[str, int], names: Names, log: DialLog
    ) -> LayerableStream:
        if proxy.is_socks:
            _check_name(target)
        way = log.branch(str(proxy))
        stream = await self._reach(proxy, names, way, log)
        dialogue: ProxyDialogue
        if proxy.is_socks:
            dialogue = Socks5Dialogue(proxy, Command.CONNECT, target)
        else:
            dialogue = ConnectDialogue(proxy, address_text(target))
        try:
            await _converse(stream, dialogue, proxy, target, way)
        except BaseException:
            stream.close()
            raise
        finally:
            log.adopt_way(way)
        return stream


def _check_name(target: tuple[str, int]) -> None:
    host, _ = target
    if len(host) > LONGEST_NAME:
        raise ResolveError(
            f"cannot resolve {host!r}: SOCKS5 carries no name of more than {LONGEST_NAME} bytes",
            reason=ResolveReason.INVALID_NAME,
        )


async def _relay_address(
    proxy: ProxyServer, bound: Address, control: LayerableStream, names: Names, way: DialLog
) -> Address:
    """Where to send datagrams: what the proxy says, if it is an address that can be dialled."""
    host, port = bound
    if port == 0:
        raise ProxyError(f"the proxy {proxy} relays UDP at port 0", proxy=str(proxy))
    if host in _UNSPECIFIED or not host:
        return control.peer[0], port
    try:
        addresses = await resolve_host(bound, names, way, "socks5")
    except ResolveError as exc:
        text = f"the proxy {proxy} relays UDP at a name without address: {exc}"
        raise ProxyError(text, proxy=str(proxy)) from exc
    return addresses[0], port


async def _converse(
    stream: LayerableStream,
    dialogue: ProxyDialogue,
    proxy: ProxyServer,
    target: tuple[str, int],
    way: DialLog,
) -> None:
    with way.attempt(dialogue.name, target):
        try:
            await stream.send(dialogue.begin())
            way.proxy_handshake_start = stream.write_started_ns
            while wanted_bytes := dialogue.wanted_bytes:
                data = await stream.receive(wanted_bytes)
                if not data:
                    raise ProxyError(_closed(proxy), proxy=str(proxy))
                answer = dialogue.receive(data)
                if answer:
                    await stream.send(answer)
        except ConnectionLost as exc:
            raise ProxyError(f"{_closed(proxy)}: {exc}", proxy=str(proxy)) from exc
    way.proxy_handshake_end = stream.read_ns


def _closed(proxy: ProxyServer) -> str:
    return f"the proxy {proxy} ended the connection in the middle of its handshake"
