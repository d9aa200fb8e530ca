"""What an `OSError` of a socket means, in words: one table for connecting, sending, receiving."""

from __future__ import annotations

import errno
import os

from ..errors import ConnectionLost, Phase

_REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by the peer",
    errno.EPIPE: "the peer has closed the connection",
    errno.ESHUTDOWN: "the peer has closed the connection",
    errno.ETIMEDOUT: "the peer does not answer (TCP gave up resending)",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "the network is unreachable",
    errno.ENETDOWN: "the network is down",
    errno.EADDRNOTAVAIL: "no local address or port left for this connection",
    errno.EACCES: "forbidden by a firewall or policy of this host",
    errno.EPERM: "forbidden by a firewall or policy of this host",
    errno.ECONNABORTED: "connection aborted",
    errno.ENOTCONN: "not connected",
    errno.EBADF: "the connection was closed on this side",
    errno.EMFILE: "too many open files in this process",
    errno.ENFILE: "too many open files on this host",
    errno.ENODEV: "there is no such network interface",
    errno.EADDRINUSE: "the local address and port are in use",
    errno.ENOBUFS: "the operating system has no buffer space left",
    errno.ENOMEM: "the operating system has no memory left",
}


def reason_of(exc: OSError) -> str:
    """Say what happened, without an errno for the reader to look up."""
    if exc.errno is None:
        return str(exc) or type(exc).__name__
    return _REASONS.get(exc.errno) or exc.strerror or os.strerror(exc.errno)


def connection_lost(
    exc: OSError, peer: tuple[str, int], *, phase: Phase | None = None
) -> ConnectionLost:
    """The error of an established connection that broke; the caller raises it from `exc`."""
    return lost(reason_of(exc), peer, phase=phase)


def lost(reason: str, peer: tuple[str, int], *, phase: Phase | None = None) -> ConnectionLost:
    """A `ConnectionLost` that names the peer."""
    return ConnectionLost(f"connection to {address_text(peer)}: {reason}", phase=phase)


def address_text(address: tuple[str, int]) -> str:
    """An address the way URLs write it; port 0 stands behind the path of a Unix socket."""
    host, port = address
    if port == 0:
        return repr(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
