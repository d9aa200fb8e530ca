"""Pins of public keys: what a server's key must be, whoever vouches for it.

A pin is the SHA-256 of the key's SubjectPublicKeyInfo, written as RFC 7469 and curl's
`--pinnedpubkey` do. It is compared with the server's own certificate, not with those above it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .errors import InvalidUrl, UsageError
from .hosts import ascii_host

Pins = frozenset[tuple[str, str]]
"""Pairs of a host, or `*.` and a domain, and a pin."""

UNREADABLE = (ValueError, x509.InvalidVersion, UnsupportedAlgorithm)
"""What `pin_of` raises."""

_PIN = re.compile(r"sha256/[A-Za-z0-9+/]{43}=")


def read_pins(given: Mapping[str, Iterable[str]]) -> Pins:
    """Pins by host, as the caller writes them.

    Args:
        given: by host name or IP address, or `*.` and a domain for all names of one label more,
            the pins one of which must fit: `sha256/` and the Base64 of the hash.

    Raises:
        UsageError: a host or a pin is not what it must be.
    """
    if not isinstance(given, Mapping):
        raise UsageError(f"pins must be a mapping of hosts to pins, not {type(given).__name__}")
    return frozenset(
        (_pattern(host), pin) for host, pins in given.items() for pin in _checked(host, pins)
    )


def pins_of(pins: Pins, host: str) -> frozenset[str]:
    """The pins for a host; none when it may have any key."""
    name = host.removesuffix(".").lower()
    domain = name.partition(".")[2]
    return frozenset(pin for pattern, pin in pins if pattern in (name, f"*.{domain}"))


def pin_problem(pins: Pins, host: str, certificate_der: bytes | None) -> str | None:
    """What is wrong with a server's certificate as far as pins go, in words."""
    wanted = pins_of(pins, host)
    if not wanted:
        return None
    if certificate_der is None:
        return "its key is pinned, and it showed none"
    try:
        found = pin_of(certificate_der)
    except UNREADABLE as exc:
        return f"its key is pinned, and it cannot be read ({exc})"
    return None if found in wanted else f"its key is none of those pinned (it is {found})"


def pin_of(certificate_der: bytes) -> str:
    """The pin that a certificate's key fits.

    Raises:
        ValueError: it is no certificate, or its key is malformed.
        InvalidVersion: it is a certificate of another version.
        UnsupportedAlgorithm: its key is of an unknown kind.
    """
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256/{b64encode(sha256(info).digest()).decode('ascii')}"


def _pattern(host: object) -> str:
    name = str(host).removesuffix(".")
    domain = name.removeprefix("*.")
    try:
        return name[: len(name) - len(domain)] + ascii_host(domain)
    except InvalidUrl as exc:
        raise UsageError(f"pins: {host!r} is no host: {exc}") from None


def _checked(host: object, pins: Iterable[str]) -> list[str]:
    listed = [pins] if isinstance(pins, str) else list(pins)
    if not listed:
        raise UsageError(f"pins: {host!r} has none, so it could never be connected to")
    for pin in listed:
        if not isinstance(pin, str) or not _PIN.fullmatch(pin):
            raise UsageError(f"pins: {pin!r} is not 'sha256/' and 44 characters of Base64")
    return listed
