"""AES-GCM for many messages that lie side by side: packets of a train, records of a file.

A *room* is memory that is used again and again. Messages lie in it at equal distances, and so does
what belongs to each; where, is settled once. `OneByOne` seals them with cryptography, and
`ipsec_mb.InBursts` many in one call.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..buffers import Buffer

TAG_BYTES = 16
NONCE_BYTES = 12


class Aead(Protocol):
    """What `cryptography` offers for each of the ciphers."""

    def encrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer | None, buf: memoryview
    ) -> int:
        """Write ciphertext and tag."""
        ...

    def decrypt(self, nonce: bytes, data: Buffer, associated_data: bytes | None) -> bytes:
        """Check the tag and return the plaintext."""
        ...


@dataclass(frozen=True, slots=True)
class AeadKey:
    """A key, in both forms in which it is needed."""

    cipher: Aead
    data: bytes = field(repr=False)

    @property
    def is_aes_gcm(self) -> bool:
        """Whether it is one of AES-GCM."""
        return isinstance(self.cipher, AESGCM)


class Row(NamedTuple):
    """Pieces of a room, one for each message."""

    room: bytearray
    first: int
    """Where the first one begins."""
    step: int
    """From one to the next."""

    def further(self, offset: int) -> Row:
        """What lies so many bytes further on."""
        return Row(self.room, self.first + offset, self.step)

    def views(self, count: int, size_bytes: int) -> list[memoryview]:
        """The pieces as views; to slice a buffer costs as much as half an encryption."""
        room, first, step = memoryview(self.room), self.first, self.step
        return [room[at : at + size_bytes] for at in range(first, first + count * step, step)]


@dataclass(frozen=True, slots=True)
class Places:
    """Where messages lie that are sealed together."""

    count: int
    """How many, at the most."""
    size_bytes: int
    """Of each but perhaps the last."""
    plain: Row
    sealed: Row
    """With the tag behind it; the same places where they are sealed in place."""
    nonces: Row
    headers: Row
    """What is authenticated beside them."""
    header_bytes: int

    @property
    def in_place(self) -> bool:
        """Whether ciphertext takes the place of its plaintext."""
        return self.plain == self.sealed


class Sealer(Protocol):
    """Seals the messages at certain places."""

    def seal(self, key: AeadKey, count: int, last_bytes: int) -> None:
        """Seal so many of them, the last one of so many bytes; its tag is behind them."""
        ...


class OneByOne:
    """Seals one message after the other, and not in place: cryptography does not promise that."""

    __slots__ = ("_headers", "_nonces", "_plain", "_sealed")

    def __init__(self, places: Places) -> None:
        if places.in_place:
            raise ValueError("plaintext and ciphertext need places of their own")
        count, size = places.count, places.size_bytes
        self._plain = places.plain.views(count, size)
        self._sealed = places.sealed.views(count, size + TAG_BYTES)
        self._nonces = places.nonces.views(count, NONCE_BYTES)
        self._headers = places.headers.views(count, places.header_bytes)

    def seal(self, key: AeadKey, count: int, last_bytes: int) -> None:
        """See `Sealer.seal`."""
        plain, sealed = self._plain[:count], self._sealed[:count]
        plain[-1] = plain[-1][:last_bytes]
        sealed[-1] = sealed[-1][: last_bytes + TAG_BYTES]
        messages = map(key.cipher.encrypt_into, self._nonces, plain, self._headers, sealed)
        # An empty deque is how a loop is left to C.
        deque(messages, maxlen=0)
