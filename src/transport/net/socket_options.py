"""What a caller may ask of sockets: where they leave from, and how their packets are treated.

One module for TCP and UDP; whoever makes a socket calls `prepare` before it is connected or bound.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from ..config import SocketOptions
from ..errors import ConnectError, UsageError
from .reasons import reason_of

DEFAULT_OPTIONS = SocketOptions()
"""Nothing is asked for."""

# linux/in.h: a name that CPython 3.11 lacks. The port is chosen when connecting, so that only the
# whole pair of addresses has to be unique.
_IP_BIND_ADDRESS_NO_PORT = 24
_ECN_MASK = 0b11
_CONGESTION_CONTROLS = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")

#: What an option needs of the operating system.
_NEEDS = {
    "uds": ("AF_UNIX", "Unix sockets"),
    "interface": ("SO_BINDTODEVICE", "binding to an interface"),
    "congestion_control": ("TCP_CONGESTION", "choosing TCP's congestion control"),
    "dscp": ("IP_TOS", "marking packets"),
}


def check(options: SocketOptions) -> None:
    """Find out, before anything is dialled, whether this host knows the options.

    Raises:
        UsageError: it lacks one, or knows no such congestion control.
    """
    for name, (constant, what) in _NEEDS.items():
        if getattr(options, name) is not None and not hasattr(socket, constant):
            raise UsageError(f"{name}: this operating system has no way of {what}")
    if options.congestion_control is not None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            _choose_congestion_control(trial, options.congestion_control)


def prepare(sock: socket.socket, options: SocketOptions) -> None:
    """Set the options of a fresh TCP or UDP socket, but for its local address.

    Raises:
        ConnectError: the interface is not there, or this process may not use it.
        UsageError: this host has no such congestion control.
        OSError: the operating system refused another option.
    """
    if options.interface is not None:
        _bind_to_interface(sock, options.interface)
    if options.dscp is not None:
        _mark(sock, options.dscp)
    if options.congestion_control is not None and sock.type == socket.SOCK_STREAM:
        _choose_congestion_control(sock, options.congestion_control)


def bind_local(sock: socket.socket, options: SocketOptions) -> bool:
    """Bind a socket to the caller's local address; False when there is none.

    Raises:
        ConnectError: this host does not have the address, or it is of the other family.
    """
    if options.local_address is None:
        return False
    host, port = options.local_address
    if (sock.family == socket.AF_INET6) != (":" in host):
        raise ConnectError(f"local_address {host} is of the other address family")
    try:
        if sock.type == socket.SOCK_STREAM:
            if port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                with suppress(OSError):  # elsewhere than on Linux, or before 4.2
                    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((host, port))
    except OSError as exc:
        raise ConnectError(f"local_address {host}, port {port}: {reason_of(exc)}") from exc
    return True


def _bind_to_interface(sock: socket.socket, name: str) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
    except OSError as exc:
        raise ConnectError(f"interface {name!r}: {reason_of(exc)}") from exc


def _mark(sock: socket.socket, dscp: int) -> None:
    # The two lowest bits of the field are ECN's (RFC 3168 §5).
    level, option = socket.IPPROTO_IP, socket.IP_TOS
    if sock.family == socket.AF_INET6:
        level, option = socket.IPPROTO_IPV6, socket.IPV6_TCLASS
    ecn = sock.getsockopt(level, option) & _ECN_MASK
    sock.setsockopt(level, option, dscp << 2 | ecn)


def _choose_congestion_control(sock: socket.socket, name: str) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError as exc:
        known = "not known"
        with suppress(OSError):
            known = _CONGESTION_CONTROLS.read_text("ascii").strip()
        raise UsageError(
            f"congestion_control {name!r}: {reason_of(exc)}; this host has: {known}"
        ) from exc
