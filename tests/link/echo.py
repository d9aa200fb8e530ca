"""A UDP echo that tells each sender where it seems to be: both ends, for the link's own tests.

`python -m tests.link.echo serve ADDRESS PORT` answers every datagram with the sender's address in
JSON. `python -m tests.link.echo ask ADDRESS PORT` sends one datagram, always from the same socket,
for each line on standard input, and prints what came back: `{"seen": [address, port] or null,
"rtt_ms": ...}`; null when nothing came within a second.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.link.namespaces import Namespace
from tests.peers.process import REPO_ROOT

PORT = 7
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What one datagram brought back."""

    seen: tuple[str, int] | None
    """Where the server saw the sender; None when no answer came."""
    rtt_ms: float


class Asker:
    """A client in a process of its own that keeps its socket."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self) -> Reply:
        """Send one datagram and wait for its answer."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the client was started without pipes")
        process.stdin.write("\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        seen = answer["seen"]
        return Reply(None if seen is None else (seen[0], seen[1]), answer["rtt_ms"])


@contextmanager
def echo_server(home: Namespace, address: str, log: Path) -> Iterator[None]:
    """Run the server in a namespace."""
    argv = [sys.executable, "-m", "tests.link.echo", "serve", address, str(PORT)]
    with home.serving(argv, log=log, udp_ports=[PORT]):
        yield


@contextmanager
def asker(home: Namespace, address: str) -> Iterator[Asker]:
    """Run a client in a namespace."""
    argv = [sys.executable, "-m", "tests.link.echo", "ask", address, str(PORT)]
    # It ends when its input does.
    with subprocess.Popen(
        home.command(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO_ROOT
    ) as process:
        yield Asker(process)


def _serve(address: str, port: int) -> None:
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        while True:
            data, sender = sock.recvfrom(2048)
            sock.sendto(data + json.dumps(sender[:2]).encode(), sender)


def _ask(address: str, port: int) -> None:
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        for number, _ in enumerate(sys.stdin):
            mark = number.to_bytes(4)
            start = time.perf_counter()
            sock.sendto(mark, (address, port))
            seen = _answer(sock, mark, start + _PATIENCE_S)
            rtt_ms = (time.perf_counter() - start) * 1e3
            sys.stdout.write(json.dumps({"seen": seen, "rtt_ms": rtt_ms}) + "\n")
            sys.stdout.flush()


def _answer(sock: socket.socket, mark: bytes, deadline: float) -> object:
    while (left_s := deadline - time.perf_counter()) > 0:
        sock.settimeout(left_s)
        try:
            data = sock.recv(2048)
        except TimeoutError:
            return None
        if data.startswith(mark):
            return json.loads(data[len(mark) :])
    return None


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


if __name__ == "__main__":
    _, role, where, at = sys.argv
    (_serve if role == "serve" else _ask)(where, int(at))
