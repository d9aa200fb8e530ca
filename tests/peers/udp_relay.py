"""A SOCKS5 proxy in this process that only relays UDP, and notes how large each datagram was."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.peers.scripted import Peer, scripted_server

LOOPBACK = b"\x01\x7f\0\0\x01"

_DATAGRAM_BYTES = 65_535
_BUFFER_BYTES = 4 * 1024 * 1024
_NO_AUTHENTICATION = b"\x05\x00"
_GREETING_BYTES, _REQUEST_BYTES = 3, 10


class UdpRelay:
    """Relays between one client and one target."""

    def __init__(self, target_port: int, bound: bytes) -> None:
        self.proxy_port = 0
        """Where to ask for an association."""
        self.sizes: list[int] = []
        """Of the datagrams that the client sent, headers included."""
        self.end = threading.Event()
        """Set to end the association."""
        self._bound = bound
        self._target = ("127.0.0.1", target_port)
        self._inside, self._outside = _bound(), _bound()
        self._client: tuple[str, int] | None = None
        self._header = b""

    def associate(self, peer: Peer) -> None:
        """The dialogue on the control connection."""
        peer.read_body(_GREETING_BYTES)
        peer.send(_NO_AUTHENTICATION)
        peer.read_body(_REQUEST_BYTES)
        port = self._inside.getsockname()[1]
        peer.send(b"\x05\x00\x00" + self._bound + port.to_bytes(2, "big"))
        self.end.wait(30)

    def run(self) -> None:
        """Relay until the sockets are closed by `stop`."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._inside, selectors.EVENT_READ, self._to_target)
            selector.register(self._outside, selectors.EVENT_READ, self._to_client)
            while not self.end.is_set():
                for key, _ in selector.select(0.05):
                    with suppress(BlockingIOError):
                        key.data()

    def close(self) -> None:
        """Close the sockets."""
        self._inside.close()
        self._outside.close()

    def _to_target(self) -> None:
        data, self._client = self._inside.recvfrom(_DATAGRAM_BYTES)
        self.sizes.append(len(data))
        # RSV, FRAG, ATYP, address and port (RFC 1928 §7).
        assert data[:3] == b"\0\0\0"
        length = {1: 10, 3: 7 + data[4], 4: 22}[data[3]]
        self._header = data[:length]
        self._outside.sendto(data[length:], self._target)

    def _to_client(self) -> None:
        data = self._outside.recv(_DATAGRAM_BYTES)
        if self._client is not None:
            self._inside.sendto(self._header + data, self._client)


@contextmanager
def udp_relay(target_port: int, bound: bytes = LOOPBACK) -> Iterator[UdpRelay]:
    """Relay to a port of this host until the block ends.

    Args:
        target_port: the port.
        bound: where the relay says that it is, with the type of the address before it.
    """
    relay = UdpRelay(target_port, bound)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        with scripted_server(relay.associate) as server:
            relay.proxy_port = server.port
            try:
                yield relay
            finally:
                relay.end.set()
    finally:
        relay.end.set()
        thread.join()
        relay.close()


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock
