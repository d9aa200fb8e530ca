"""Connected sockets and TLS servers for the tests of this folder."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from trilane.transport.net.tcp import TcpStream
from trilane.transport.net.tls_context import TlsSetup


@contextmanager
def connected() -> Iterator[tuple[TcpStream, socket.socket]]:
    """A stream of ours, and the peer's plain blocking socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    theirs.settimeout(20)
    ours.setblocking(False)
    stream = TcpStream(ours, ours.getpeername())
    try:
        with theirs:
            yield stream, theirs
    finally:
        stream.close()


def reset(peer: socket.socket) -> None:
    """Close with a RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def receive_exactly(peer: socket.socket, count: int) -> bytes:
    """Read that many bytes from a blocking socket."""
    data = bytearray()
    while len(data) < count:
        piece = peer.recv(min(65536, count - len(data)))
        assert piece, f"end of file after {len(data)} of {count} bytes"
        data += piece
    return bytes(data)


def receive_all(peer: socket.socket) -> bytes:
    """Read until end of file, or until the connection breaks."""
    data = bytearray()
    try:
        while piece := peer.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return bytes(data)


def pattern(count: int) -> bytes:
    """Bytes that are not the same when shifted by a little."""
    block = bytes(index * 7 % 251 for index in range(251 * 64))
    return (block * (count // len(block) + 1))[:count]


@contextmanager
def no_free_numbers_below(number: int) -> Iterator[None]:
    """Occupy every free number below a used one: when that is freed, it is the next given out."""
    with ExitStack() as stack:
        while (extra := os.dup(0)) < number:
            stack.callback(os.close, extra)
        os.close(extra)
        yield


@dataclass(frozen=True, slots=True)
class ServerSide(TlsSetup):
    """Makes `TlsStream` play the server, so that two of them can talk to each other."""

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, host: str) -> ssl.SSLObject:
        return self.context.wrap_bio(incoming, outgoing, server_side=True)
