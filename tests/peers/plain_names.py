"""A resolver as the dials see the names of a client: asked each time, nothing kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from trilane.transport.config import Resolver
from trilane.transport.net.resolve import Lookup, SystemResolver


@dataclass(frozen=True)
class PlainNames:
    resolver: Resolver
    over_https: ClassVar[bool] = False

    async def look_up(self, host: str, port: int) -> Lookup:
        start = time.monotonic_ns()
        return Lookup(await self.resolver.resolve(host), start, time.monotonic_ns())


SYSTEM_NAMES = PlainNames(SystemResolver())
