"""Who the matrix uploads to: a server, a scheme and a protocol, and how it tells what it got."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.peers.foreign_parsers import plain_name
from tests.peers.receipt import Receipt, ReceivedPart
from tests.peers.receivers import (
    LogFollower,
    receipt_of,
    requests_in_gtlsserver_log,
    requests_in_nghttpd_log,
)
from tests.peers.servers import Endpoints

Scheme = Literal["http", "https"]
Protocol = Literal["http/1.1", "h2", "h3"]

HTTP_VERSIONS = {"http/1.1": "HTTP/1.1", "h2": "HTTP/2", "h3": "HTTP/3"}
SEED_PROTOCOLS = {"http/1.1": "http1.1", "h2": "h2", "h3": "quic"}


@dataclass(frozen=True, slots=True)
class Target:
    """One cell column of the matrix."""

    server: str
    scheme: Scheme
    protocol: Protocol

    @property
    def label(self) -> str:
        """Name of the test case."""
        return f"{self.server}-{self.scheme}-{self.protocol.replace('/', '')}"


TARGETS = (
    Target("upstream", "http", "http/1.1"),
    Target("upstream", "https", "http/1.1"),
    Target("nginx", "http", "http/1.1"),
    Target("nginx", "https", "http/1.1"),
    Target("caddy", "http", "http/1.1"),
    Target("caddy", "https", "http/1.1"),
    Target("receiver", "http", "http/1.1"),
    Target("receiver", "https", "http/1.1"),
    Target("nghttpd", "http", "h2"),
    Target("nghttpd", "https", "h2"),
    Target("nginx", "http", "h2"),
    Target("nginx", "https", "h2"),
    Target("caddy", "http", "h2"),
    Target("caddy", "https", "h2"),
    Target("receiver", "https", "h2"),
    Target("caddy", "https", "h3"),
    Target("gtlsserver", "https", "h3"),
    Target("receiver", "https", "h3"),
    Target("hypercorn", "https", "h3"),
)


class Reception:
    """What a target receives from the moment this object is made."""

    def __init__(self, target: Target, endpoints: Endpoints) -> None:
        self.target = target
        self.ca: Path = endpoints.ca
        self.url = endpoints.url(
            target.scheme, h2c=target.scheme == "http" and target.protocol == "h2"
        )
        self._log = LogFollower(endpoints.log_of(target.scheme))

    def receipt(self, answer: bytes) -> Receipt:
        """What the server says about its last request, in this response body or in its log."""
        return _READERS.get(self.target.server, _from_upstream)(answer, self._log)


def _from_upstream(body: bytes, _log: LogFollower) -> Receipt:
    return Receipt.from_json(body)


def _from_receiver(body: bytes, _log: LogFollower) -> Receipt:
    """The built-in receiver's own JSON; it parses with python-multipart."""
    answer = json.loads(body)
    length = answer["content_length"]
    return Receipt(
        method=answer["method"],
        target=answer["path"],
        headers=(),
        content_length=None if length is None else int(length),
        body_bytes=answer["body_bytes"],
        body_sha256=answer["sha256"],
        parts=tuple(
            ReceivedPart(
                name=plain_name(part["name"]),
                filename=None if part["filename"] is None else plain_name(part["filename"]),
                content_type=part["content_type"],
                size=part["size"],
                sha256=part["sha256"],
            )
            for part in answer["parts"]
        ),
        parsers=("python-multipart",),
    )


def _from_nghttpd(body: bytes, log: LogFollower) -> Receipt:
    return receipt_of(requests_in_nghttpd_log(log)[-1].headers, body)


def _from_gtlsserver(_body: bytes, log: LogFollower) -> Receipt:
    return requests_in_gtlsserver_log(log)[-1].receipt()


_READERS: dict[str, Callable[[bytes, LogFollower], Receipt]] = {
    "receiver": _from_receiver,
    "nghttpd": _from_nghttpd,
    "gtlsserver": _from_gtlsserver,
}
