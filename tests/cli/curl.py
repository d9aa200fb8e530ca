"""libcurl as an independent client of the receiver."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import pycurl

from trilane.api.receiver.address import ReceiverAddress

HTTP_VERSIONS = {
    "1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "2": pycurl.CURL_HTTP_VERSION_2TLS,
    "3": 31,  # CURL_HTTP_VERSION_3ONLY
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes
    head: str
    """Every response head, interim ones included."""
    new_connections: int

    def json(self) -> dict[str, object]:
        parsed: dict[str, object] = json.loads(self.body)
        return parsed


class Curl:
    """A client that keeps its connections from one request to the next."""

    def __init__(self, receiver: ReceiverAddress, version: str) -> None:
        self._receiver = receiver
        self._version = version
        self._handle = pycurl.Curl()

    def put(
        self,
        path: str,
        body: bytes | Callable[[int], bytes],
        length: int | None = None,
        *,
        headers: list[str] | None = None,
        cleartext: bool = False,
    ) -> Answer:
        """Send a body, or what a function of a size gives until `length` bytes have come."""
        scheme, port = "https", self._receiver.port
        if cleartext and self._receiver.cleartext_port is not None:
            scheme, port = "http", self._receiver.cleartext_port
        answer, head = io.BytesIO(), io.BytesIO()
        handle = self._handle
        handle.reset()
        handle.setopt(pycurl.URL, f"{scheme}://127.0.0.1:{port}{path}")
        handle.setopt(pycurl.CAINFO, self._receiver.ca_path)
        handle.setopt(pycurl.HTTP_VERSION, HTTP_VERSIONS[self._version])
        handle.setopt(pycurl.UPLOAD, 1)
        read = body if callable(body) else io.BytesIO(body).read
        handle.setopt(pycurl.READFUNCTION, read)
        if length is None:
            length = 0 if callable(body) else len(body)
        handle.setopt(pycurl.INFILESIZE_LARGE, length)
        handle.setopt(pycurl.HTTPHEADER, [*(headers or []), "Expect:"])
        handle.setopt(pycurl.WRITEDATA, answer)
        handle.setopt(pycurl.HEADERFUNCTION, head.write)
        handle.setopt(pycurl.TIMEOUT, 30)
        handle.perform()
        return Answer(
            status=handle.getinfo(pycurl.RESPONSE_CODE),
            body=answer.getvalue(),
            head=head.getvalue().decode(),
            new_connections=handle.getinfo(pycurl.NUM_CONNECTS),
        )

    def close(self) -> None:
        self._handle.close()
