"""The traffic secrets of our own TLS connections, which Python's `ssl` tells a key log only.

So while handshakes are under way, our context logs into a pipe that never leaves this process and
is emptied after every step. Only secrets of connections that wait for them are kept, until those
take them; a key log that the user has asked for gets every line, as it would from OpenSSL.
"""

from __future__ import annotations

import os
import ssl
import threading
from contextlib import ExitStack, suppress

#: The lines of one handshake have less than 1 KiB in all, so the pipe never fills, which would make
#: OpenSSL wait.
_READ_BYTES = 64 * 1024
#: Where a pipe has a name; only Linux has it.
_DESCRIPTORS = "/proc/self/fd"
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_LABEL = b"CLIENT_TRAFFIC_SECRET_0"
_RANDOM = slice(11, 43)
"""Of a first flight: record header, message header and version come before it (RFC 8446 §4.1.2)."""


class SecretLog:
    """What one context logs; several threads may use it.

    A context changes its log only while it has no handshake under way.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Watch a context of ours, never a user's; the key log it has is the user's."""
        self._context = context
        self._user_path: str | None = context.keylog_filename
        self._lock = threading.Lock()
        self._handshakes = 0
        self._fd: int | None = None
        self._user_fd: int | None = None
        self._closing = ExitStack()
        self._awaited: dict[bytes, bytes | None] = {}

    def begin(self) -> None:
        """A handshake begins."""
        with self._lock:
            self._handshakes += 1
            if self._handshakes == 1:
                # Without /proc or descriptors, OpenSSL seals whatever is sent.
                with suppress(OSError):
                    self._open()

    def expect(self, random: bytes) -> None:
        """Keep the secret of the connection with this client random, when it comes."""
        with self._lock:
            self._awaited[random] = None

    def collect(self) -> None:
        """Take what was logged in a step of a handshake."""
        with self._lock:
            while data := self._read():
                if self._user_fd is not None:
                    with suppress(OSError):  # OpenSSL does not look either
                        os.write(self._user_fd, data)
                for line in data.splitlines():
                    self._keep(line)

    def end(self, random: bytes) -> bytes | None:
        """A handshake is over; the client's first traffic secret, of which nothing is kept."""
        with self._lock:
            self._handshakes -= 1
            if self._handshakes == 0:
                self._close()
            return self._awaited.pop(random, None)

    def _open(self) -> None:
        with ExitStack() as closing:
            if self._user_path is not None:
                self._user_fd = os.open(self._user_path, _APPEND, 0o666)
                closing.callback(os.close, self._user_fd)
            reading, writing = os.pipe()
            closing.callback(os.close, reading)
            os.set_blocking(reading, False)
            try:
                self._context.keylog_filename = f"{_DESCRIPTORS}/{writing}"
            except OSError:
                # Python has let go of the user's log before it tried.
                self._context.keylog_filename = self._user_path  # type: ignore[assignment]
                raise
            finally:
                os.close(writing)
            self._fd, self._closing = reading, closing.pop_all()

    def _close(self) -> None:
        if self._fd is not None:
            with suppress(OSError):  # the user's may have gone
                self._context.keylog_filename = self._user_path  # type: ignore[assignment]
        self._fd = self._user_fd = None
        self._closing.close()

    def _read(self) -> bytes:
        try:
            return b"" if self._fd is None else os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return b""

    def _keep(self, line: bytes) -> None:
        label, _, rest = line.partition(b" ")
        if label == _LABEL:
            random, _, secret = rest.partition(b" ")
            with suppress(ValueError):
                key = bytes.fromhex(random.decode("ascii"))
                if key in self._awaited:
                    self._awaited[key] = bytes.fromhex(secret.decode("ascii"))


def client_random(first_flight: bytes) -> bytes:
    """The random of a ClientHello, by which a key log names the connection."""
    return first_flight[_RANDOM]
