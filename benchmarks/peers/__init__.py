"""The clients that are compared, each in a module that only the process measuring it imports."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from ..lanes import Lane, Target
from .client import AsyncClient, BlockingClient

_ALL = frozenset(Lane)
_RESUMED, _EARLY = frozenset({"resumed"}), frozenset({"resumed", "early"})
_H1 = frozenset({Lane.H1, Lane.H1_TLS})

#: What every ratio is to.
REFERENCE = "libcurl"


@dataclass(frozen=True, slots=True)
class Peer:
    """A client, and what it can be asked for."""

    name: str
    module: str
    client: str
    lanes: frozenset[Lane]
    needs: tuple[str, ...]
    """Distributions it consists of."""
    sessions: frozenset[str] = frozenset()
    """What it can be told to do with TLS sessions: `resumed` on a new connection, `early` data."""
    chooses_congestion_control: bool = False
    """Its TCP sockets can be told; the others' have the system's."""
    quic_congestion_control: str = ""
    """What it brings for QUIC, unless that is its library's secret."""

    def missing(self) -> list[str]:
        """Distributions that are not installed."""
        return [name for name in self.needs if not _version(name)]

    def versions(self) -> dict[str, str]:
        """Versions of its distributions."""
        return {name: _version(name) for name in self.needs if _version(name)}

    def make(self, target: Target) -> AsyncClient | BlockingClient:
        """The client, for one lane; imports the peer."""
        module = import_module(f".{self.module}", __name__)
        made = getattr(module, self.client)(target)
        assert isinstance(made, (AsyncClient, BlockingClient))
        return made


_TRILANE = partial(
    Peer,
    module="trilane_peer",
    lanes=_ALL,
    sessions=_EARLY,
    chooses_congestion_control=True,
    quic_congestion_control="CUBIC",
)

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "libcurl",
            "pycurl_peer",
            "PycurlClient",
            _ALL,
            ("pycurl",),
            sessions=_RESUMED,
            chooses_congestion_control=True,
            quic_congestion_control="CUBIC (ngtcp2's default)",
        ),
        _TRILANE("trilane", client="AsyncioClient", needs=("trilane", "aioquic", "h2")),
        _TRILANE("trilane-trio", client="TrioClient", needs=("trilane", "trio")),
        _TRILANE("trilane-uvloop", client="UvloopClient", needs=("trilane", "uvloop")),
        _TRILANE("trilane-cryptography", client="PlainClient", needs=("trilane", "cryptography")),
        Peer(
            "curl_cffi",
            "curl_cffi_peer",
            "CurlCffiClient",
            _ALL,
            ("curl_cffi",),
            quic_congestion_control="CUBIC (ngtcp2's default)",
        ),
        Peer("httpx", "httpx_peer", "HttpxClient", _H1 | {Lane.H2}, ("httpx", "h2")),
        Peer("aiohttp", "aiohttp_peer", "AiohttpClient", _H1, ("aiohttp",)),
        Peer("niquests", "niquests_peer", "NiquestsClient", _ALL, ("niquests", "qh3")),
        Peer(
            "aioquic",
            "aioquic_peer",
            "AioquicClient",
            frozenset({Lane.H3}),
            ("aioquic",),
            quic_congestion_control="Reno (aioquic's default)",
        ),
    )
}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
