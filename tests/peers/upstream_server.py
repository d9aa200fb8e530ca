"""An independent receiver: stdlib http.server, foreign multipart parsers, SHA-256 of everything.

Run as `python -m tests.peers.upstream_server [--address A] --port N [--cert PEM --key PEM]`. It
answers every request with a `Receipt` in JSON. `/raw` hashes the body without parsing it. Query
switches:

- `status=413`: that status instead of 200; `location=URL` adds a Location field
- `delay_s=0.5`: waits between the end of the request and the response
- `pause_s=0.5`: waits before it reads the first byte of the body
- `early=1`: answers before reading the body, then reads and drops the body
- `close=1`: answers with `Connection: close` and closes; with `early=1` without reading the body
- `body_bytes=N`: that many zero bytes instead of the receipt
"""

from __future__ import annotations

import argparse
import hashlib
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.peers.foreign_parsers import (
    SMALL_BODY_BYTES,
    MultipartReader,
    boundary_of,
    second_opinions,
)
from tests.peers.receipt import Receipt, ReceivedPart

_STEP_BYTES = 256 * 1024
_ZEROS = bytes(_STEP_BYTES)


class ReceiptHandler(BaseHTTPRequestHandler):
    """Answers any method on any path with a receipt of what arrived."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # One write for head and small body, so that the response is one segment.
    wbufsize = 64 * 1024

    def handle_any(self) -> None:
        """Read the request, answer it."""
        switches = {key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if "pause_s" in switches:
            time.sleep(float(switches["pause_s"]))
        if "early" in switches:
            self._respond(self._receipt_of_nothing(), switches)
            if "close" not in switches:
                for _ in self._body():
                    pass
            return
        try:
            receipt = self._receive()
        except ValueError as exc:
            # Not multipart after all: say so, and do not look for another request in the rest.
            self.send_error(400, explain=str(exc))
            self.close_connection = True
            return
        if "delay_s" in switches:
            time.sleep(float(switches["delay_s"]))
        self._respond(receipt, switches)

    # http.server dispatches on these names.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Keep the log for errors only."""

    def handle_expect_100(self) -> bool:
        """Hold 100 Continue back until the body is really wanted."""
        return True

    def _receive(self) -> Receipt:
        if self.headers.get("expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        boundary = boundary_of(self.headers.get("content-type", ""))
        if urlsplit(self.path).path == "/raw":
            boundary = None
        reader = MultipartReader(boundary) if boundary else None
        digest, size, kept = hashlib.sha256(), 0, bytearray()
        for piece in self._body():
            digest.update(piece)
            size += len(piece)
            if reader:
                reader.feed(piece)
                if size <= SMALL_BODY_BYTES:
                    kept += piece
        if not reader or not boundary:
            return self._receipt(size, digest.hexdigest(), None, (), None)
        parts = reader.finish()
        whole = bytes(kept) if size <= SMALL_BODY_BYTES else None
        parsers, disagreement = second_opinions(whole, boundary, parts)
        return self._receipt(size, digest.hexdigest(), parts, parsers, disagreement)

    def _body(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            yield from self._chunked_body()
        else:
            yield from self._exactly(int(self.headers.get("content-length", "0")))

    def _exactly(self, remaining: int) -> Iterator[bytes]:
        while remaining:
            piece = self.rfile.read1(min(_STEP_BYTES, remaining))
            if not piece:
                raise ConnectionError(f"end of file, {remaining} body bytes missing")
            remaining -= len(piece)
            yield piece

    def _chunked_body(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield from self._exactly(size)
            if self.rfile.readline() != b"\r\n":
                raise ConnectionError("chunk does not end with CRLF")
        while self.rfile.readline().strip():
            pass

    def _receipt_of_nothing(self) -> Receipt:
        return self._receipt(0, hashlib.sha256().hexdigest(), None, (), None)

    def _receipt(
        self,
        size: int,
        digest: str,
        parts: tuple[ReceivedPart, ...] | None,
        parsers: tuple[str, ...],
        disagreement: str | None,
    ) -> Receipt:
        length = self.headers.get("content-length")
        return Receipt(
            method=self.command,
            target=self.path,
            headers=tuple(self.headers.items()),
            content_length=None if length is None else int(length),
            body_bytes=size,
            body_sha256=digest,
            parts=parts,
            parsers=parsers,
            disagreement=disagreement,
        )

    def _respond(self, receipt: Receipt, switches: dict[str, str]) -> None:
        body = receipt.to_json()
        length = int(switches.get("body_bytes", len(body)))
        self.send_response(int(switches.get("status", "200")))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        if "location" in switches:
            self.send_header("Location", switches["location"])
        if "close" in switches:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            if "body_bytes" in switches:
                self._write_zeros(length)
            else:
                self.wfile.write(body)
        self.wfile.flush()

    def _write_zeros(self, remaining: int) -> None:
        while remaining:
            remaining -= self.wfile.write(_ZEROS[:remaining])


class UpstreamServer(ThreadingHTTPServer):
    """One thread per connection; TLS when a context is given."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext | None) -> None:
        super().__init__(address, ReceiptHandler)
        self._context = context

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept; the TLS handshake happens on first read, in the connection's own thread."""
        connection, address = super().get_request()
        if self._context is not None:
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Let clients go as they please; report anything else."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    options = parser.parse_args()
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        context.set_alpn_protocols(["http/1.1"])
    with UpstreamServer((options.address, options.port), context) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
