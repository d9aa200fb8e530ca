"""The kinds of proxies there are, and what each of them carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.peers.proxies import CREDENTIALS, Proxy

Protocol = Literal["http/1.1", "h2", "h3"]

#: tinyproxy's configuration file takes no other characters.
TINY_PASSWORD = "s3cret"


@dataclass(frozen=True, slots=True)
class Kind:
    """A proxy, and how it is spoken to."""

    fixture: str
    scheme: str
    credentials: str | None = None
    relays: bool = False
    """Whether it has UDP ASSOCIATE."""

    def url(self, proxy: Proxy) -> str:
        """What to give to a client."""
        return proxy.url(self.scheme, self.credentials)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS5."""
        return self.scheme.startswith("socks")

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """What an upload over https can be carried in."""
        return ("http/1.1", "h2", "h3") if self.relays else ("http/1.1", "h2")


KINDS = {
    "socks5": Kind("dante", "socks5", relays=True),
    "socks5h": Kind("dante", "socks5h", relays=True),
    "socks5-password": Kind("v2ray", "socks5", CREDENTIALS, relays=True),
    "socks5h-password": Kind("v2ray", "socks5h", CREDENTIALS, relays=True),
    "socks5-no-udp": Kind("microsocks", "socks5", CREDENTIALS),
    "http": Kind("tinyproxy", "http"),
    "http-password": Kind("guarded_tinyproxy", "http", f"bob:{TINY_PASSWORD}"),
    "http-squid": Kind("squid", "http", CREDENTIALS),
    "https": Kind("secure_tinyproxy", "https"),
    "https-password": Kind("secure_squid", "https", CREDENTIALS),
}


def with_protocols(*kinds: str) -> list[tuple[str, Protocol]]:
    """Each of these kinds, or of all, with each protocol it carries."""
    return [(kind, protocol) for kind in kinds or KINDS for protocol in KINDS[kind].protocols]
