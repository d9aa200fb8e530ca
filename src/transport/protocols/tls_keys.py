"""The keys of TLS 1.3 records: what a traffic secret gives (RFC 8446 §7.1-§7.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from .sealing import NONCE_BYTES, Aead, AeadKey
from .side_by_side import put_counting


@dataclass(frozen=True, slots=True)
class CipherSuite:
    """A cipher suite of TLS 1.3 (RFC 8446 §B.4)."""

    aead: Callable[[bytes], Aead]
    key_bytes: int
    hash: HashAlgorithm


#: By OpenSSL's names, which are the RFC's.
CIPHER_SUITES = {
    "TLS_AES_128_GCM_SHA256": CipherSuite(AESGCM, 16, SHA256()),
    "TLS_AES_256_GCM_SHA384": CipherSuite(AESGCM, 32, SHA384()),
    "TLS_CHACHA20_POLY1305_SHA256": CipherSuite(ChaCha20Poly1305, 32, SHA256()),
}


class TrafficKeys:
    """Key and nonces of one direction, until the next KeyUpdate."""

    __slots__ = ("_iv", "_secret", "_suite", "key")

    def __init__(self, suite: CipherSuite, secret: bytes) -> None:
        """Derive them from a traffic secret (RFC 8446 §7.3).

        Raises:
            ValueError: the secret has not the length of the suite's hash.
        """
        if len(secret) != suite.hash.digest_size:
            raise ValueError("a traffic secret is as long as its suite's hash")
        self._suite = suite
        self._secret = secret
        self._iv = int.from_bytes(expand_label(suite.hash, secret, b"iv", NONCE_BYTES), "big")
        key = expand_label(suite.hash, secret, b"key", suite.key_bytes)
        self.key = AeadKey(suite.aead(key), key)

    def nonce(self, number: int) -> bytes:
        """The nonce of a record (RFC 8446 §5.3)."""
        return (self._iv ^ number).to_bytes(NONCE_BYTES, "big")

    def put_nonces(self, room: bytearray, first: int, count: int) -> None:
        """Write those of a run of records, side by side."""
        put_counting(room, NONCE_BYTES, first, count, flipped=self._iv)

    def updated(self) -> TrafficKeys:
        """The keys after a KeyUpdate (RFC 8446 §7.2)."""
        algorithm = self._suite.hash
        secret = expand_label(algorithm, self._secret, b"traffic upd", algorithm.digest_size)
        return TrafficKeys(self._suite, secret)


def expand_label(algorithm: HashAlgorithm, secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1)."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return HKDFExpand(algorithm, length, info).derive(secret)
