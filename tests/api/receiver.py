"""A real HTTP/1.1 server in a thread: it keeps what it got and answers as it is told."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PHOTO = bytes(range(256)) * 16


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"ok"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client_port: int

    def parts(self) -> dict[str, tuple[str | None, bytes]]:
        """Field name to (file name, content)."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + self.body)
        found = {}
        for part in message.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            found[name] = (part.get_filename(), content)
        return found


@dataclass
class Receiver:
    port: int = 0
    scheme: str = "http"
    answers: dict[str, Answer] = field(default_factory=dict)
    """By path; what is not there is answered with `Answer()`."""
    received: list[Received] = field(default_factory=list)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    """A request to one of these paths is answered when its gate is opened."""
    arrivals: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released once per request, when it is complete."""

    def url(self, path: str = "/") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def hold(self, path: str) -> threading.Event:
        gate = self.gates[path] = threading.Event()
        return gate

    def await_arrival(self) -> None:
        assert self.arrivals.acquire(timeout=10)


@contextmanager
def running_receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver(scheme="https" if tls else "http")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(receiver))
    if tls is not None:
        # The handshake belongs to the connection's thread, not to the one that accepts.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        for gate in receiver.gates.values():
            gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            if headers.get("transfer-encoding") == "chunked":
                body = b"".join(self.chunks())
            else:
                body = self.rfile.read(int(headers.get("content-length", 0)))
            receiver.received.append(
                Received(self.command, self.path, headers, body, self.client_address[1])
            )
            receiver.arrivals.release()
            if self.path in receiver.gates:
                receiver.gates[self.path].wait(30)
            answer = receiver.answers.get(self.path, Answer())
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_HEAD = respond  # noqa: N815 - http.server's names

        def chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(Handler):
        def handle(self) -> None:
            with suppress(ConnectionError, ssl.SSLError):
                super().handle()

    return Quiet
