"""Peers that misbehave on purpose: a blocking script per connection, run in a thread.

A script gets a `Peer` and does with it what a broken server would do. Threads keep the peer out of
the event loop under test, so the same script serves asyncio and trio.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

_PEER_TIMEOUT_S = 20.0
"""Longer than any test lets a client wait; a script that blocks this long has failed."""


class Peer:
    """One accepted connection, seen from the server's side."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._socket = connection
        self._stopping = stopping
        self._buffered = bytearray()

    def certificate(self) -> bytes | None:
        """The client's certificate, DER; None if it has shown none."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.getpeercert(binary_form=True)

    def read_head(self) -> bytes:
        """Read a request head, the empty line included."""
        while b"\r\n\r\n" not in self._buffered:
            self._buffered += self._receive_some()
        return self._take(self._buffered.index(b"\r\n\r\n") + 4)

    def read_body(self, byte_count: int) -> bytes:
        """Read exactly this many bytes of a body."""
        while len(self._buffered) < byte_count:
            self._buffered += self._receive_some()
        return self._take(byte_count)

    def read_request(self) -> bytes:
        """Read a head and the body its Content-Length announces; return the body."""
        head = self.read_head().decode("latin-1").lower()
        lengths = [line[15:] for line in head.split("\r\n") if line.startswith("content-length:")]
        return self.read_body(int(lengths[0])) if lengths else b""

    def drain(self) -> int:
        """Read and drop until the client closes; return how many bytes that were."""
        count = len(self._take(len(self._buffered)))
        with suppress(ConnectionError, ssl.SSLError):
            while data := self._socket.recv(65536):
                count += len(data)
        return count

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(data)

    def drip(self, data: bytes, pause_s: float) -> None:
        """Send byte by byte, until the test is over if need be."""
        for byte in data:
            self.send(bytes((byte,)))
            if self._stopping.wait(pause_s):
                return

    def hold(self) -> None:
        """Keep the connection open, in silence, until the test is over."""
        self._stopping.wait(_PEER_TIMEOUT_S)

    def reset(self) -> None:
        """Close with a TCP RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Close the socket; with unread bytes in it, the kernel sends a RST."""
        self._socket.close()

    def finish_sending(self) -> None:
        """Send FIN and keep reading possible."""
        self._socket.shutdown(socket.SHUT_WR)

    def _take(self, byte_count: int) -> bytes:
        taken = bytes(self._buffered[:byte_count])
        del self._buffered[:byte_count]
        return taken

    def _receive_some(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the client closed the connection")
        return data


Script = Callable[[Peer], None]


class ScriptedServer:
    """A listening socket whose connections follow scripts, each in its own thread."""

    def __init__(
        self, listener: socket.socket, scripts: Sequence[Script], tls: ssl.SSLContext | None
    ) -> None:
        self.port: int = listener.getsockname()[1]
        self.accepted = 0
        """Connections accepted so far."""
        self._listener = listener
        self._scripts = scripts
        self._tls = tls
        self._stopping = threading.Event()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._more_threads = threading.Condition()
        self._failures: list[BaseException] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def url(self, path: str = "/upload", host: str = "127.0.0.1") -> str:
        """Absolute URL of a path on this server."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def finish(self, connections: int = 1) -> None:
        """Wait for so many connections and until their scripts end by themselves.

        Which they do once the client has closed its side.
        """
        with self._more_threads:
            self._more_threads.wait_for(lambda: len(self._threads) >= connections, _PEER_TIMEOUT_S)
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """End every connection, wait for the scripts, and raise what one of them raised."""
        self._stopping.set()
        _wake(self._listener)
        self._acceptor.join()
        for connection in self._connections:
            _wake(connection)
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _accept(self) -> None:
        # Ends when `stop` shuts the listener down.
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
                self.accepted += 1
                thread = threading.Thread(target=self._follow, args=(connection, script))
                self._connections.append(connection)
                thread.start()
                with self._more_threads:
                    self._threads.append(thread)
                    self._more_threads.notify_all()

    def _follow(self, connection: socket.socket, script: Script) -> None:
        # An OSError is a client that went away, which is its right.
        try:
            with connection, suppress(OSError), self._secured(connection) as secured:
                script(Peer(secured, self._stopping))
        except BaseException as exc:  # noqa: BLE001 - raised again by `stop`, in the test's thread
            self._failures.append(exc)

    def _secured(self, connection: socket.socket) -> socket.socket:
        connection.settimeout(_PEER_TIMEOUT_S)
        # Else a short answer waits for the TLS tickets to be acknowledged, and a reset drops it.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return connection
        # The handshake takes the descriptor over, so `stop` must know the new socket before it.
        secured = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._connections.append(secured)
        try:
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        return secured


@contextmanager
def scripted_server(
    *scripts: Script, tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[ScriptedServer]:
    """Serve on a loopback port, a free one by default.

    The n-th connection follows the n-th script, later ones the last. Leaving the block
    ends every connection and raises what a script raised.
    """
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        server = ScriptedServer(listener, scripts, tls)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose listener never accepts and whose queue is full: a connect gets no answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting: list[socket.socket] = []
        try:
            while True:
                client = socket.socket()
                waiting.append(client)
                client.settimeout(0.1)
                try:
                    client.connect(listener.getsockname())
                except TimeoutError:
                    break
            yield listener.getsockname()[1]
        finally:
            for client in waiting:
                client.close()


@contextmanager
def refused_port() -> Iterator[int]:
    """A port nothing listens on; it stays bound, so that nobody else can begin to."""
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        yield placeholder.getsockname()[1]


def _wake(blocked: socket.socket) -> None:
    # Not SSLSocket's own shutdown, which forgets the TLS state: a script still reads to the end.
    with suppress(OSError):
        socket.socket.shutdown(blocked, socket.SHUT_RDWR)
