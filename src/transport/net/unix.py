"""Unix sockets: HTTP/1.1 and HTTP/2 to a server on this host, with or without TLS."""

from __future__ import annotations

import errno
import socket

import anyio
from anyio.lowlevel import checkpoint

from ..config import TlsOptions
from ..errors import ConnectError, NetworkError
from ..profile.moments import DialRecord
from .dial_log import DialLog
from .reasons import reason_of
from .stream import LayerableStream
from .tcp import TcpStream
from .tls import start_tls
from .tls_context import tls_setup

#: Linux says EAGAIN when the server's queue of connections is full, and does not tell when there
#: is room (unix(7)).
_QUEUE_FULL_S = 0.01


class UnixStream(TcpStream):
    """A connected Unix stream socket: TCP's system calls, without what TCP knows of its peer."""

    def __init__(self, sock: socket.socket, path: str) -> None:
        """Take over a connected, non-blocking socket; messages name it by its path."""
        super().__init__(sock, (path, 0))
        self.local = ("", 0)

    def unacked_bytes(self) -> None:
        """Nothing acknowledges; the kernel's figure is about its own memory."""
        return

    def tcp_info(self) -> bytes | None:
        """There is none."""
        return None


async def dial_unix(
    path: str, host: str, *, tls: TlsOptions | None, alpn: tuple[str, ...], log: DialLog
) -> tuple[LayerableStream, DialRecord]:
    """Connect to a Unix socket in the place of a host; no name is looked up.

    Args:
        path: where the socket is; with NUL in front an abstract name (Linux).
        host: whom the server's certificate must be valid for.
        tls: how to verify the peer; None for a cleartext connection.
        alpn: protocols to offer (RFC 7301), preferred first.
        log: takes the attempts and moments as they happen.

    Raises:
        ConnectError: nobody listens there.
        TlsError: the TLS handshake failed; `CertificateError` for its certificate.
        UsageError: `tls` cannot be used.
    """
    setup = None if tls is None else await tls_setup(tls, alpn)
    try:
        with log.attempt("unix", None):
            log.connect_start = log.clock()
            stream: LayerableStream = await _connect(path)
            log.tcp_connected = log.connect_end = log.clock()
        if setup is not None:
            with log.attempt("tls", None):
                stream = await start_tls(stream, setup, host, lambda: _began(log))
                log.tls_end = log.connect_end = log.clock()
    except NetworkError as exc:
        exc.attempts = tuple(log.attempts)
        raise
    return stream, log.freeze()


def _began(log: DialLog) -> None:
    log.tls_start = log.clock()


async def _connect(path: str) -> UnixStream:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await checkpoint()
        while True:
            try:
                sock.connect(path)
                break
            except BlockingIOError:
                await anyio.sleep(_QUEUE_FULL_S)
        return UnixStream(sock, path)
    except OSError as exc:
        sock.close()
        reason = "no such file" if exc.errno == errno.ENOENT else reason_of(exc)
        error = ConnectError(f"cannot connect to the Unix socket {path!r}: {reason}")
        error.refused = exc.errno == errno.ECONNREFUSED
        raise error from exc
    except BaseException:
        sock.close()
        raise
