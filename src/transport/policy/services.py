"""From HTTPS records to the endpoints a connection may be made to (RFC 9460 §3, §7, §9).

A client that does without the records when it must ("SVCB-optional", §3) tries the endpoints in
their order and then the origin's own host and port. What is not supported: Encrypted ClientHello
(a record that makes it mandatory is not used) and going over from http to https (§9.5), because
an upload goes where its caller sent it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import HttpVersion
from ..message import Origin
from .dns_records import HttpsRecord

#: Aliases that are followed (§2.4.2 leaves the bound to the client); a loop ends here, too.
MAX_ALIASES = 8
_HTTPS_PORT = 443
_HOST = re.compile(r"[a-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Somewhere an origin can be reached."""

    host: str
    port: int
    hints: tuple[str, ...] = ()
    """Addresses to begin with until the host's own are known (§7.3)."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port


@dataclass(frozen=True, slots=True)
class Service(Endpoint):
    """An endpoint from DNS."""

    protocols: frozenset[HttpVersion] | None = None
    """What it speaks, of what trilane speaks; None when the record does not say."""

    def speaks(self, version: HttpVersion) -> bool:
        """Whether it may be tried with a protocol."""
        return self.protocols is None or version in self.protocols


def service_name(origin: Origin) -> str:
    """The name whose HTTPS records speak of an origin (§9.1)."""
    return origin.host if origin.port == _HTTPS_PORT else f"_{origin.port}._https.{origin.host}"


def alias_of(records: Sequence[HttpsRecord]) -> str | None:
    """The name to ask on with, when the records are an alias (§2.4.2: others then do not count)."""
    return next((record.target for record in records if record.priority == 0), None)


def services(records: Sequence[HttpsRecord], origin: Origin) -> tuple[Service, ...]:
    """The usable services, preferred first; equal ones in the order of the answer.

    Left out are records with a mandatory parameter that is not understood (§8), with no protocol
    trilane speaks (§7.1.2), or with a target that is no host name.
    """
    return tuple(
        Service(
            record.target,
            origin.port if record.port is None else record.port,
            record.hints,
            _protocols(record),
        )
        for record in sorted(records, key=lambda each: each.priority)
        if record.priority
        and record.understood
        and record.port != 0
        and _HOST.fullmatch(record.target)
        and _protocols(record)
    )


def bare_service(alias: str, origin: Origin) -> tuple[Service, ...]:
    """What the end of a chain of aliases without services of its own amounts to (§3)."""
    return (Service(alias, origin.port),) if _HOST.fullmatch(alias) else ()


def _protocols(record: HttpsRecord) -> frozenset[HttpVersion]:
    offered = set(record.alpn)
    if not record.no_default_alpn:
        offered.add(HttpVersion.HTTP1)  # §9.2: the default
    return frozenset(version for version in HttpVersion if version in offered)
