"""Has aioquic's handshake ask us about the server's certificate (private names, as next door).

aioquic's own verification differs from OpenSSL's in TLS over TCP: it looks neither at what a
certificate is for nor at the strength of keys and signatures, and reads the trust store within the
handshake. Should the hook below ever not be called, aioquic verifies, and is told to trust nobody.
"""

# ruff: noqa: SLF001  -- private names are what this module is for

from __future__ import annotations

from collections.abc import Callable, Sequence

from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import AlertBadCertificate, Context, Group, SessionTicketHandler
from cryptography.x509 import Certificate

CertificateCheck = Callable[[Sequence[Certificate]], str | None]
"""Says what is wrong with a server's chain, its own certificate first; None when nothing is."""

#: `ssl.CERT_NONE`, which a module without I/O does not import.
_CERT_NONE = 0


class CheckedConnection(QuicConnection):
    """A client connection whose server is judged by a `CertificateCheck`.

    A resumed session has no certificate to judge: its ticket stands for the one that was.
    """

    def __init__(
        self,
        configuration: QuicConfiguration,
        check: CertificateCheck,
        on_ticket: SessionTicketHandler | None,
        on_token: Callable[[bytes], None] | None,
    ) -> None:
        configuration.cadata, configuration.cafile, configuration.capath = b"", None, None
        self._check = check
        super().__init__(
            configuration=configuration, session_ticket_handler=on_ticket, token_handler=on_token
        )

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        """Queue data; aioquic's QPACK has nothing to queue with most requests, which is no work."""
        if data or end_stream:
            super().send_stream_data(stream_id, data, end_stream)

    def _initialize(self, peer_cid: bytes) -> None:
        # Called for the first Initial, and again after Retry and Version Negotiation.
        super()._initialize(peer_cid)
        self.tls.__class__ = _CheckedTls
        # A key for each group offered is made before the first datagram leaves. This one takes as
        # long as a P-384 key, which some servers insist on, and no server insists on it.
        self.tls._supported_groups = [
            group for group in self.tls._supported_groups if group is not Group.X448
        ]
        self.tls.check = self._check  # type: ignore[attr-defined]


class _CheckedTls(Context):
    check: CertificateCheck

    def _client_handle_certificate_verify(self, input_buf: Buffer) -> None:
        self._verify_mode = _CERT_NONE
        super()._client_handle_certificate_verify(input_buf)
        leaf = self._peer_certificate
        problem = (
            "there is none" if leaf is None else self.check([leaf, *self._peer_certificate_chain])
        )
        if problem is not None:
            raise AlertBadCertificate(problem)
