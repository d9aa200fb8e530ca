"""What one client remembers of origins: alternative services, broken QUIC, round-trip times."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .config import HttpVersion
from .message import Origin
from .policy.altsvc import parse_alt_svc
from .policy.selection import OriginKnowledge

#: Chromium's broken list (net/http/broken_alternative_services): 300 s, doubling up to 2 days.
BROKEN_FIRST_S = 300.0
BROKEN_LONGEST_S = 2 * 86400.0
#: For so long QUIC is left out after HTTPS records that do not name it; then they are asked again.
ABSENT_S = 300.0
#: Origins remembered; the least recently used is forgotten first.
MAX_ORIGINS = 1000


@dataclass(frozen=True, slots=True)
class KnownAlternative:
    """An h3 alternative service of an origin."""

    origin: Origin
    address: tuple[str, int]
    fresh_s: float
    """Seconds it may still be used."""


@dataclass(slots=True)
class _Memory:
    alternative: tuple[str, int] | None = None
    alternative_until_s: float = 0.0
    broken_until_s: float = 0.0
    absent_until_s: float = 0.0
    failures: int = 0
    srtt_s: float | None = None


class OriginMemory:
    """Remembers; `knowledge` is the view that `policy.selection` decides on."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._origins: OrderedDict[Origin, _Memory] = OrderedDict()
        self._newest: Origin | None = None
        """The last one of which something was noted, and what is known of it."""
        self._newest_memory = _Memory()

    def knowledge(self, origin: Origin) -> OriginKnowledge:
        """What is known now; expired entries are not."""
        memory = self._origins.get(origin)
        if memory is None:
            return OriginKnowledge()
        now_s = self._clock_s()
        return OriginKnowledge(
            quic_broken=now_s < memory.broken_until_s,
            quic_absent=now_s < memory.absent_until_s,
            alternative=memory.alternative if now_s < memory.alternative_until_s else None,
            srtt_s=memory.srtt_s,
        )

    def saw_alt_svc(self, origin: Origin, field_value: str) -> None:
        """Take note of an Alt-Svc field that came over a secure connection (RFC 7838 §2.1)."""
        alternatives = parse_alt_svc(field_value)
        memory = self._memory(origin)
        if alternatives is None:
            memory.alternative = None
            return
        for alternative in alternatives:
            if alternative.protocol == HttpVersion.HTTP3:
                memory.alternative = (alternative.host or origin.host, alternative.port)
                memory.alternative_until_s = self._clock_s() + alternative.max_age_s
                return

    def saw_rtt(self, origin: Origin, rtt_ms: float) -> None:
        """Take note of a connection's smoothed round-trip time."""
        self._memory(origin).srtt_s = rtt_ms / 1000

    def quic_failed(self, origin: Origin) -> None:
        """QUIC failed or lost its race without an answer: leave it out for a while."""
        memory = self._memory(origin)
        wait_s = min(BROKEN_FIRST_S * 2 ** min(memory.failures, 18), BROKEN_LONGEST_S)
        memory.failures += 1
        memory.broken_until_s = self._clock_s() + wait_s

    def quic_not_offered(self, origin: Origin) -> None:
        """HTTPS records say that the origin does not speak HTTP/3."""
        self._memory(origin).absent_until_s = self._clock_s() + ABSENT_S

    def quic_worked(self, origin: Origin) -> None:
        """QUIC came up: nothing is held against it any more."""
        memory = self._memory(origin)
        memory.failures, memory.broken_until_s = 0, 0.0

    def alternatives(self) -> list[KnownAlternative]:
        """The alternative services that are still fresh, for keeping."""
        now_s = self._clock_s()
        return [
            KnownAlternative(origin, memory.alternative, memory.alternative_until_s - now_s)
            for origin, memory in self._origins.items()
            if memory.alternative is not None and memory.alternative_until_s > now_s
        ]

    def recall(self, known: Iterable[KnownAlternative]) -> None:
        """Take over alternative services kept by an earlier process."""
        now_s = self._clock_s()
        for each in known:
            memory = self._memory(each.origin)
            memory.alternative, memory.alternative_until_s = each.address, now_s + each.fresh_s

    def _memory(self, origin: Origin) -> _Memory:
        if origin is self._newest:
            return self._newest_memory
        memory = self._origins.setdefault(origin, _Memory())
        self._origins.move_to_end(origin)
        while len(self._origins) > MAX_ORIGINS:
            self._origins.popitem(last=False)
        self._newest, self._newest_memory = origin, memory
        return memory
