"""Where a running receiver is reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverAddress:
    """Loopback ports of a receiver, and how to trust it."""

    port: int
    """TCP and UDP port for https: HTTP/1.1, h2 and h3."""
    cleartext_port: int | None
    """TCP port for http, when one was wanted."""
    ca_path: str
    """PEM file with the authority a client has to trust."""

    @property
    def url(self) -> str:
        """The https URL of its root."""
        return f"https://localhost:{self.port}/"
