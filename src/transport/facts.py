"""What is known about an established connection, as values."""

from __future__ import annotations

from dataclasses import dataclass

from .pins import UNREADABLE, pin_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFacts:
    """What a TLS or QUIC handshake agreed on."""

    version: str
    """`TLSv1.2` or `TLSv1.3`, as OpenSSL writes it."""
    cipher: str
    """Cipher suite, as OpenSSL writes it."""
    alpn: str | None
    session_resumed: bool
    early_data_accepted: bool | None = None
    """None when no early data was offered."""
    peer_certificate_der: bytes | None = None
    """The peer's leaf certificate; None when a QUIC session was resumed, which carries none."""

    @property
    def pin(self) -> str | None:
        """The pin that the peer's key fits: `sha256/` and the Base64 of its SPKI's hash.

        None without a certificate, and for one that cannot be read (nobody did, without `verify`).
        """
        if self.peer_certificate_der is None:
            return None
        try:
            return pin_of(self.peer_certificate_der)
        except UNREADABLE:
            return None
