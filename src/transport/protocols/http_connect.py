"""HTTP CONNECT: a proxy's tunnel to a host and port (RFC 9110 §9.3.6), over h11, without I/O.

The answer is read byte by byte up to its end: what follows belongs to whoever is behind the tunnel,
and an HTTP/2 server may speak first.
"""

from __future__ import annotations

from base64 import b64encode

import h11

from ..config import ProxyServer
from ..errors import ProxyAuthenticationError, ProxyError

#: A longer answer is refused; proxies that explain themselves do it in the body, which is not read.
MAX_HEAD_BYTES = 16 * 1024
_GREETING = b"HTTP/1."
_HEAD_ENDS = (b"\n\r\n", b"\n\n")
_QUOTED_CHARS = 80


class ConnectDialogue:
    """Asks for one tunnel; implements `ProxyDialogue`."""

    name = "connect"

    def __init__(self, proxy: ProxyServer, authority: str) -> None:
        """Prepare to ask `proxy` for a tunnel to `authority` (host and port)."""
        self._proxy = proxy
        self._authority = authority
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._head = bytearray()
        self._read_bytes = 0
        self._done = False

    @property
    def wanted_bytes(self) -> int:
        """1 until the answer's head is complete."""
        return 0 if self._done else 1

    def begin(self) -> bytes:
        """The request; it has no body."""
        fields = [("Host", self._authority)]
        authorization = proxy_authorization(self._proxy)
        if authorization is not None:
            fields.append(("Proxy-Authorization", authorization))
        request = h11.Request(method="CONNECT", target=self._authority, headers=fields)
        return self._h11.send(request) or b""

    def receive(self, data: bytes) -> bytes:
        """Take the next byte of the answer; see `ProxyDialogue.receive`."""
        self._head += data
        self._read_bytes += len(data)
        if not _GREETING.startswith(bytes(self._head[: len(_GREETING)])):
            raise self._broken(f"it does not speak HTTP: {bytes(self._head)!r}")
        if self._read_bytes > MAX_HEAD_BYTES:
            raise self._broken(f"its answer's head is larger than {MAX_HEAD_BYTES} bytes")
        if self._head.endswith(_HEAD_ENDS):
            self._judge()
        return b""

    def _judge(self) -> None:
        self._h11.receive_data(bytes(self._head))
        self._head.clear()
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            raise self._broken(str(exc)) from exc
        if isinstance(event, h11.InformationalResponse):
            return
        if not isinstance(event, h11.Response):
            raise self._broken("its answer is no response")
        if not 200 <= event.status_code <= 299:
            raise refusal(self._proxy, event)
        self._done = True

    def _broken(self, reason: str) -> ProxyError:
        return ProxyError(f"the proxy {self._proxy} broke HTTP: {reason}", proxy=str(self._proxy))


def proxy_authorization(proxy: ProxyServer) -> str | None:
    """The Basic credentials (RFC 7617) of a proxy, if it has any."""
    if proxy.user is None:
        return None
    pair = f"{proxy.user}:{proxy.password}".encode()
    return f"Basic {b64encode(pair).decode('ascii')}"


def refusal(proxy: ProxyServer, response: h11.Response) -> ProxyError:
    """The error of a tunnel that a proxy did not open."""
    reason = response.reason.decode("latin-1")[:_QUOTED_CHARS]
    offered = [
        value.decode("latin-1") for name, value in response.headers if name == b"proxy-authenticate"
    ]
    if response.status_code in {401, 407}:
        # 401 is what tinyproxy says to a wrong password.
        return authentication_error(proxy, offered, status=response.status_code)
    said = f"{response.status_code} {reason}".rstrip()
    return ProxyError(
        f"the proxy {proxy} refused to connect: {said}",
        proxy=str(proxy),
        status=response.status_code,
    )


def authentication_error(
    proxy: ProxyServer, offered: list[str], status: int = 407
) -> ProxyAuthenticationError:
    """The error of a 407, which says by `Proxy-Authenticate` what would do (RFC 9110 §11.7.1)."""
    schemes = [value.split(" ", 1)[0][:_QUOTED_CHARS] for value in offered]
    if schemes and not any(scheme.lower() == "basic" for scheme in schemes):
        reason = f"wants {', '.join(schemes)}; only Basic is supported"
    elif proxy.user is None:
        reason = "wants a user name and password"
    else:
        reason = "refused the user name and password"
    return ProxyAuthenticationError(
        f"the proxy {proxy} {reason} ({status})", proxy=str(proxy), status=status
    )
