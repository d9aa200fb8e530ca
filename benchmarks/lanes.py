"""The four ways an upload is measured, and where the receiver answers on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Lane(StrEnum):
    """A protocol over what it runs on."""

    H1 = "h1"
    """HTTP/1.1 in cleartext."""
    H1_TLS = "h1-tls"
    H2 = "h2"
    """HTTP/2 over TLS."""
    H3 = "h3"

    @property
    def protocol(self) -> str:
        """What the receiver calls the protocol it saw."""
        return {"h1": "HTTP/1.1", "h1-tls": "HTTP/1.1", "h2": "HTTP/2.0", "h3": "HTTP/3.0"}[self]


@dataclass(frozen=True, slots=True)
class Target:
    """Where one peer uploads to on one lane."""

    lane: Lane
    authority: str
    """Host and port."""
    ca: str
    """PEM file of the authority to trust."""
    congestion_control: str = ""
    """Of each TCP socket, for peers that can be told; empty: the system's."""

    def url(self, path: str) -> str:
        """The URL of a path at the receiver."""
        scheme = "http" if self.lane is Lane.H1 else "https"
        return f"{scheme}://{self.authority}{path}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port apart."""
        host, port = self.authority.rsplit(":", 1)
        return host, int(port)
