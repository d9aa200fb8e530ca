"""libcurl by pycurl: the file is read, framed and sent in C."""

from __future__ import annotations

import time
from io import BytesIO
from os import dup
from pathlib import Path
from socket import IPPROTO_TCP, TCP_CONGESTION, socket

import pycurl

from ..lanes import Lane
from .client import BlockingClient, Source, require_ok

#: The largest libcurl accepts; its default of 64 KiB is never faster.
_UPLOAD_BUFFER_BYTES = 2 * 1024 * 1024
_VERSIONS = {
    Lane.H1: pycurl.CURL_HTTP_VERSION_1_1,
    Lane.H1_TLS: pycurl.CURL_HTTP_VERSION_1_1,
    Lane.H2: pycurl.CURL_HTTP_VERSION_2TLS,
    Lane.H3: getattr(pycurl, "CURL_HTTP_VERSION_3ONLY", None),
}
#: With a post-quantum key share, its default, a ClientHello takes two datagrams, of which quic-go
#: 0.29 throws the second one away when it comes right after the first. libcurl takes that for
#: congestion and begins with a window of two packets and without slow start.
_GROUPS = "X25519:P-256"


class PycurlClient(BlockingClient):
    """One easy handle, used again; a multi handle for the crowd."""

    _handle: pycurl.Curl | None = None

    def upload(self, path: str, source: Source) -> bytes:
        """POST the source; see `BlockingClient.upload`."""
        if self._handle is None:
            self._handle = self._new_handle()
        received = self._prepare(self._handle, path, source)
        self._handle.perform()
        return require_ok(self._handle.getinfo(pycurl.RESPONSE_CODE), received.getvalue())

    def drop_connections(self) -> None:
        """See `Client.drop_connections`; a handle keeps its sessions."""
        if self._handle is not None:
            self._handle.setopt(pycurl.FRESH_CONNECT, 1)
            self._handle.setopt(pycurl.FORBID_REUSE, 1)

    def close(self) -> None:
        """Close the connections."""
        if self._handle is not None:
            self._handle.close()

    def crowd(self, path: str, source: Source, uploads: int, at_once: int) -> list[int]:
        """See `Client.crowd`."""
        multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        durations: list[int] = []
        began: dict[pycurl.Curl, int] = {}
        idle = [self._new_handle() for _ in range(at_once)]
        waiting = uploads + 1
        # One request alone first, so that the connections are not part of the figures.
        room = 1
        while len(durations) <= uploads:
            while idle and waiting and len(began) < room:
                handle = idle.pop()
                self._prepare(handle, path, source)
                began[handle] = time.perf_counter_ns()
                multi.add_handle(handle)
                waiting -= 1
            multi.perform()
            multi.select(1.0) if not _done(multi, began, idle, durations) else None
            room = at_once if durations else 1
        multi.close()
        return durations[1:]

    def _new_handle(self) -> pycurl.Curl:
        handle = pycurl.Curl()
        handle.setopt(pycurl.HTTP_VERSION, _VERSIONS[self.target.lane])
        handle.setopt(pycurl.CAINFO, self.target.ca)
        handle.setopt(pycurl.UPLOAD_BUFFERSIZE, _UPLOAD_BUFFER_BYTES)
        # libcurl would ask before each big body, which none of the others does.
        handle.setopt(pycurl.HTTPHEADER, ["Expect:"])
        handle.setopt(pycurl.PIPEWAIT, 1)
        if self.target.lane is Lane.H3:
            handle.setopt(pycurl.SSL_EC_CURVES, _GROUPS)
        elif self.target.congestion_control:
            handle.setopt(pycurl.SOCKOPTFUNCTION, self._tell_socket)
        return handle

    def _tell_socket(self, fd: int, _purpose: int) -> int:
        name = self.target.congestion_control.encode()
        with socket(fileno=dup(fd)) as same:
            same.setsockopt(IPPROTO_TCP, TCP_CONGESTION, name)
        return int(pycurl.SOCKOPT_OK)

    def _prepare(self, handle: pycurl.Curl, path: str, source: Source) -> BytesIO:
        received = BytesIO()
        handle.setopt(pycurl.URL, self.target.url(path))
        handle.setopt(pycurl.HTTPPOST, [("file", _form(source))])
        handle.setopt(pycurl.WRITEDATA, received)
        return received


def _form(source: Source) -> tuple[int | str | bytes, ...]:
    if isinstance(source, Path):
        return (pycurl.FORM_FILE, str(source), pycurl.FORM_FILENAME, "upload.bin")
    return (pycurl.FORM_BUFFER, "upload.bin", pycurl.FORM_BUFFERPTR, source)


def _done(
    multi: pycurl.CurlMulti,
    began: dict[pycurl.Curl, int],
    idle: list[pycurl.Curl],
    durations: list[int],
) -> bool:
    """Take finished handles back; whether there were any."""
    _, finished, failed = multi.info_read()
    for _, code, reason in failed:
        raise RuntimeError(f"libcurl failed with {code}: {reason}")
    for handle in finished:
        durations.append(time.perf_counter_ns() - began.pop(handle))
        require_ok(handle.getinfo(pycurl.RESPONSE_CODE), b"")
        multi.remove_handle(handle)
        idle.append(handle)
    return bool(finished)
