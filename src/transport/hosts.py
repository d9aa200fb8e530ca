"""Host names and IP literals: one spelling for each, so that what is checked is what is dialled."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna

from .errors import InvalidUrl

_NAME = re.compile(r"[A-Za-z0-9._-]+")
#: Of a number of 32 bits, in octal.
_MOST_DIGITS = 11
_DECIMAL = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"0[xX](?P<hex>[0-9A-Fa-f]*)|0(?P<octal>[0-7]+)|(?P<decimal>0|[1-9][0-9]*)")


def ascii_host(host: str) -> str:
    """The one spelling of a host, without brackets.

    IPv4 addresses may come as inet_aton takes them (`127.1`, `0x7f000001`): browsers and curl read
    them so (WHATWG URL, "IPv4 parser"), and so would the system's resolver, only later.

    Raises:
        InvalidUrl: it is no host name and no IP address.
    """
    if "%" in host:
        raise InvalidUrl(f"host {host!r}: percent-encoding and zone identifiers are not supported")
    if ":" in host:
        return _ipv6(host)
    name = host.lower() if host.isascii() else _international(host)
    if not _NAME.fullmatch(name):
        raise InvalidUrl(f"host {host!r} contains a character no host name has")
    return _ipv4(name) if _ends_in_number(name) else name


def is_ip_literal(host: str) -> bool:
    """Whether the host (without brackets) is an IPv4 or IPv6 address."""
    for kind in (IPv4Address, IPv6Address):
        try:
            kind(host)
        except (AddressValueError, ValueError):
            continue
        return True
    return False


def _international(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except idna.IDNAError as exc:
        raise InvalidUrl(f"host {host!r} is not a valid internationalised name: {exc}") from None


def _ipv6(host: str) -> str:
    try:
        return str(IPv6Address(host))
    except ValueError as exc:
        raise InvalidUrl(f"host {host!r} is not an IPv6 address: {exc}") from None


def _ends_in_number(name: str) -> bool:
    """Whether it can only be an IPv4 address (WHATWG URL, "ends in a number checker")."""
    last = name.removesuffix(".").rpartition(".")[2]
    return bool(_DECIMAL.fullmatch(last) or _NUMBER.fullmatch(last))


def _ipv4(name: str) -> str:
    numbers = [_number(part) for part in name.removesuffix(".").split(".")]
    if all(number is not None for number in numbers):
        *leading, last = (number or 0 for number in numbers)
        if len(leading) < 4 and max(leading, default=0) < 256 and last < 256 ** (4 - len(leading)):
            return str(IPv4Address(last + sum(n << 24 - 8 * i for i, n in enumerate(leading))))
    raise InvalidUrl(f"host {name!r} ends in a number, but is not an IPv4 address")


def _number(part: str) -> int | None:
    found = _NUMBER.fullmatch(part)
    if found is None:
        return None
    base = {"hex": 16, "octal": 8, "decimal": 10}[str(found.lastgroup)]
    digits = found[str(found.lastgroup)].lstrip("0") or "0"
    # Python refuses to read thousands of digits.
    return int(digits, base) if len(digits) <= _MOST_DIGITS else 1 << 32
