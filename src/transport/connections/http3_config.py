"""From our options to aioquic's configuration; reads files, so it runs in a worker thread."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import cast

from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.logger import QuicFileLogger
from aioquic.tls import CipherSuite, load_pem_private_key, load_pem_x509_certificates

from ..config import HttpVersion, QuicOptions, TlsOptions
from ..errors import UsageError
from ..protocols.aioquic_private import COUNTING_CONTROLLERS

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", flags=re.DOTALL
)


def quic_configuration(tls: TlsOptions, quic: QuicOptions, host: str) -> QuicConfiguration:
    """Build the configuration for one connection to `host`.

    The handshake uses datagrams of 1200 bytes, which every path takes (RFC 9000 §14.1).

    `host` becomes the SNI, unless it is an IP address. Whom to trust is no part of it: the server's
    certificate is checked by `net.chain`.

    Raises:
        UsageError: a file cannot be used.
    """
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=[HttpVersion.HTTP3.value],
        congestion_control_algorithm=COUNTING_CONTROLLERS[quic.congestion_control],
        idle_timeout=quic.idle_timeout_s,
        max_datagram_size=SMALLEST_MAX_DATAGRAM_SIZE,
        server_name=host.removesuffix("."),
        cipher_suites=[_cipher_suite(name) for name in quic.cipher_suites],
    )
    _identify(configuration, tls)
    if tls.keylog_path is not None:
        configuration.secrets_log_file = cast("io.TextIOWrapper", _KeyLog(tls.keylog_path))
    if quic.qlog_dir is not None:
        try:
            configuration.quic_logger = QuicFileLogger(quic.qlog_dir)
        except ValueError as exc:
            raise UsageError(f"cannot write qlog files: {exc}") from exc
    return configuration


def _cipher_suite(name: str) -> CipherSuite:
    try:
        return CipherSuite[name.removeprefix("TLS_")]
    except KeyError:
        raise UsageError(f"QUIC has no cipher suite {name!r} here") from None


class _KeyLog(io.TextIOBase):
    """Appends to a key log that TCP connections write to as well, and keeps no file open."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._append("")

    def write(self, text: str) -> int:
        """Append; a few short lines per connection."""
        self._append(text)
        return len(text)

    def _append(self, text: str) -> None:
        try:
            with self._path.open("a", encoding="ascii") as file:
                file.write(text)
        except OSError as exc:
            raise UsageError(f"cannot write TLS keys to {str(self._path)!r}: {exc}") from exc


def _identify(configuration: QuicConfiguration, tls: TlsOptions) -> None:
    if tls.cert is None:
        return
    key_path = tls.key or tls.cert
    password = None if tls.key_password is None else tls.key_password.encode()
    try:
        chain = load_pem_x509_certificates(Path(tls.cert).read_bytes())
        key = _private_key_block(Path(key_path).read_bytes())
        configuration.private_key = load_pem_private_key(key, password)
    except (OSError, ValueError, TypeError) as exc:
        raise UsageError(
            f"cannot load the client certificate {tls.cert!r} with the key {key_path!r}: {exc}"
        ) from exc
    if not chain:
        raise UsageError(f"there is no certificate in {tls.cert!r}")
    configuration.certificate, configuration.certificate_chain = chain[0], chain[1:]


def _private_key_block(pem: bytes) -> bytes:
    """The private key among other blocks; aioquic only knows one of the forms it comes in."""
    found = _PRIVATE_KEY.search(pem)
    if found is None:
        raise ValueError("there is no private key in it")
    return found[0]
