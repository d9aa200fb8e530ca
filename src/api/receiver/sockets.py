"""Loopback sockets for the receiver: one port for TCP and UDP, over IPv4 and IPv6 (if there is).

They are bound and listening before the receiver says that it is ready, so a client that connects
at once waits in the kernel's queue instead of being refused.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import dataclass

_PORT_TRIES = 50
_BACKLOG = 100
# Room for the bursts of a sender in loss recovery; the kernel cuts it to net.core.rmem_max.
_UDP_BUFFER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSockets:
    """The sockets of one port number."""

    port: int
    tcp: tuple[socket.socket, ...]
    udp: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        """Close those that were not handed over."""
        for sock in (*self.tcp, *self.udp):
            sock.close()


def open_port(port: int, *, udp: bool) -> PortSockets:
    """Bind a loopback port, the same number for every family and kind of socket.

    Args:
        port: the wanted number; 0 for any that is free everywhere.
        udp: whether UDP is wanted beside TCP.

    Raises:
        OSError: the port is taken, or may not be bound.
    """
    for remaining in reversed(range(1 if port else _PORT_TRIES)):
        try:
            return _bind_all(port, udp=udp)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not remaining:
                raise
    raise AssertionError("the loop returns or raises")


def _bind_all(port: int, *, udp: bool) -> PortSockets:
    with contextlib.ExitStack() as opened:
        tcp: list[socket.socket] = []
        datagram: list[socket.socket] = []
        for family, host in _loopbacks():
            listener = opened.enter_context(_bound(family, socket.SOCK_STREAM, host, port))
            listener.listen(_BACKLOG)
            tcp.append(listener)
            port = listener.getsockname()[1]
            if udp:
                datagram.append(opened.enter_context(_bound(family, socket.SOCK_DGRAM, host, port)))
        opened.pop_all()
        return PortSockets(port=port, tcp=tuple(tcp), udp=tuple(datagram))


def _loopbacks() -> list[tuple[socket.AddressFamily, str]]:
    found = [(socket.AF_INET, "127.0.0.1")]
    with contextlib.suppress(OSError), _bound(socket.AF_INET6, socket.SOCK_STREAM, "::1", 0):
        found.append((socket.AF_INET6, "::1"))
    return found


def _bound(
    family: socket.AddressFamily, kind: socket.SocketKind, host: str, port: int
) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    try:
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_STREAM:
            # Bind again at once after a stop, although old connections are in TIME_WAIT.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UDP_BUFFER_BYTES)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
