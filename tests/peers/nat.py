"""A NAT for UDP on loopback whose binding changes when it is told to; a process of its own.

Run as `python -m tests.peers.nat SERVER_PORT [--old-answers]`. It prints the port that clients send
to. Each line on standard input is an address of this host: from then on the server sees the client
at a new port of it, and the answer is that port. What the server sends to the old one is dropped,
as by a NAT that forgot the binding, or with `--old-answers` still delivered, as by one that only
chose another way out. End of input ends the process.
"""

from __future__ import annotations

import argparse
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.peers.process import REPO_ROOT

HOST, OTHER_HOST = "127.0.0.1", "127.0.0.2"

_DATAGRAM_BYTES = 65_535
_BUFFER_BYTES = 4 * 1024 * 1024
#: Datagrams moved from one socket before the others get their turn.
_BATCH = 64
_STOP_GRACE_S = 3.0


class Nat:
    """The process, seen from a test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.port = int(_line(process))
        """Where the client finds the server."""
        self.public_ports: list[int] = []
        """Where the server saw the client after each change."""
        self._process = process

    def rebind(self, address: str = HOST) -> None:
        """Let the server see the client at a new port of this address from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(address + "\n")
        self._process.stdin.flush()
        self.public_ports.append(int(_line(self._process)))

    def url(self, path: str = "/upload") -> str:
        """URL of the server behind the NAT."""
        return f"https://{HOST}:{self.port}{path}"


@contextmanager
def nat(server_port: int, *, old_answers: bool = False) -> Iterator[Nat]:
    """A NAT between this process and a server on loopback.

    Args:
        server_port: where the server is.
        old_answers: whether what the server sends to an earlier binding still arrives.
    """
    argv = [sys.executable, "-m", "tests.peers.nat", str(server_port)]
    with subprocess.Popen(
        argv + ["--old-answers"] * old_answers,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO_ROOT,
        start_new_session=True,
    ) as process:
        try:
            yield Nat(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the NAT has died"
    return line


class _Forwarding:
    def __init__(self, server_port: int, *, old_answers: bool) -> None:
        self._server = (HOST, server_port)
        self._old_answers = old_answers
        self._inside = _bound(HOST)
        self._outside = [_bound(HOST)]
        """The last one is the binding."""
        self._client: tuple[str, int] | None = None

    def run(self) -> None:
        _say(self._inside.getsockname()[1])
        while True:
            outside = self._outside if self._old_answers else self._outside[-1:]
            readable, _, _ = select.select([sys.stdin, self._inside, *outside], [], [])
            for sock in outside:
                if sock in readable:
                    self._to_client(sock)
            if self._inside in readable:
                self._to_server()
            if sys.stdin in readable and not self._obey():
                return

    def _obey(self) -> bool:
        address = sys.stdin.readline().strip()
        if not address:
            return False
        self._outside.append(_bound(address))
        _say(self._outside[-1].getsockname()[1])
        return True

    def _to_server(self) -> None:
        with suppress(BlockingIOError):
            for _ in range(_BATCH):
                data, self._client = self._inside.recvfrom(_DATAGRAM_BYTES)
                _send(self._outside[-1], data, self._server)

    def _to_client(self, sock: socket.socket) -> None:
        with suppress(BlockingIOError):
            for _ in range(_BATCH):
                data = sock.recv(_DATAGRAM_BYTES)
                if self._client is not None:
                    _send(self._inside, data, self._client)


def _send(sock: socket.socket, data: bytes, to: tuple[str, int]) -> None:
    # A full buffer loses the datagram, and so does a server that is gone.
    with suppress(OSError):
        sock.sendto(data, to)


def _bound(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    sock.setblocking(False)
    sock.bind((address, 0))
    return sock


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """Forward between clients and the server on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server_port", type=int)
    parser.add_argument("--old-answers", action="store_true")
    arguments = parser.parse_args()
    _Forwarding(arguments.server_port, old_answers=arguments.old_answers).run()


if __name__ == "__main__":
    main()
