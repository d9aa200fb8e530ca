"""What callers ask of sockets, checked and turned into `SocketOptions`."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import TypedDict

from ..transport.config import SocketOptions
from ..transport.errors import UsageError
from ..transport.net.socket_options import check

PathInput = str | os.PathLike[str]


class SocketInput(TypedDict, total=False):
    """Where a client's sockets leave from, and how their packets are treated."""

    uds: PathInput | None
    """Path of a Unix socket that is connected to, whatever host the URL names; the host is still
    what `Host` says and the certificate is for. NUL and a name: Linux's abstract sockets. HTTP/1.1
    and HTTP/2 only."""
    local_address: str | tuple[str, int] | None
    """IP address, or address and port, that connections come from. A port serves one connection at
    a time."""
    interface: str | None
    """Network interface that packets leave and arrive through, whatever the routes say (Linux)."""
    congestion_control: str | None
    """TCP's congestion control, by the kernel's name for it, such as `bbr` (Linux). QUIC's is
    `QuicOptions.congestion_control`."""
    dscp: int | None
    """Differentiated services codepoint of every packet sent, 0 to 63 (RFC 2474): 10 (AF11) for
    bulk data, 1 for what may wait (RFC 8622)."""


def socket_options(given: SocketInput) -> SocketOptions:
    """The given options, if this host has them.

    Raises:
        UsageError: it has not, or a value is none.
    """
    options = SocketOptions(
        uds=_path(given.get("uds")),
        local_address=_local_address(given.get("local_address")),
        interface=_name("interface", given.get("interface")),
        congestion_control=_name("congestion_control", given.get("congestion_control")),
        dscp=_dscp(given.get("dscp")),
    )
    if options.uds is not None and options != SocketOptions(uds=options.uds):
        raise UsageError("uds: a Unix socket has no address, interface, congestion control or dscp")
    check(options)
    return options


def _path(uds: PathInput | None) -> str | None:
    if uds is None:
        return None
    path = os.fspath(uds)
    if not isinstance(path, str) or not path:
        raise UsageError(f"uds must be the path of a Unix socket, not {uds!r}")
    return path


def _local_address(local: str | tuple[str, int] | None) -> tuple[str, int] | None:
    match local:
        case None:
            return None
        case str():
            host, port = local, 0
        case (str() as host, int() as port) if 0 <= port < 1 << 16:
            pass
        case _:
            raise UsageError(f"local_address must be an IP address or (address, port): {local!r}")
    try:
        return str(ip_address(host)), port
    except ValueError as exc:
        raise UsageError(f"local_address: {exc}") from None


def _name(option: str, name: str | None) -> str | None:
    if name is None:
        return None
    # IFNAMSIZ and TCP_CA_NAME_MAX are 16, with the final NUL.
    if not isinstance(name, str) or not name.isascii() or not name.isprintable():
        raise UsageError(f"{option} must be a name, not {name!r}")
    if not 0 < len(name) < 16:
        raise UsageError(f"{option} has 1 to 15 characters, not {name!r}")
    return name


def _dscp(dscp: int | None) -> int | None:
    if dscp is not None and (isinstance(dscp, bool) or not isinstance(dscp, int)):
        raise UsageError(f"dscp must be a number, not {dscp!r}")
    if dscp is not None and not 0 <= dscp <= 63:
        raise UsageError(f"dscp {dscp} is not one of 0 to 63")
    return dscp
