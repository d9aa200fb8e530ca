"""Notes taken while a connection is being made; what was noted survives failure and cancellation.

The caller hands a `DialLog` in, so that a dial that is cut short by a timeout still shows its
attempts and moments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ..profile.moments import Attempt, AttemptOutcome, DialRecord, Ns
from .reasons import reason_of


@dataclass(slots=True)
class AttemptNote:
    """An attempt in progress; the block that makes it may change its outcome."""

    protocol: str
    address: tuple[str, int] | None
    start: Ns
    outcome: AttemptOutcome = AttemptOutcome.WON
    error: str | None = None


@dataclass(slots=True)
class DialLog:
    """A `DialRecord` in the making; each moment is set where it happens."""

    clock: Callable[[], Ns] = time.monotonic_ns
    dns_start: Ns | None = None
    dns_end: Ns | None = None
    http_dns_start: Ns | None = None
    http_dns_end: Ns | None = None
    connect_start: Ns | None = None
    tcp_connected: Ns | None = None
    proxy_connect_start: Ns | None = None
    proxy_connect_end: Ns | None = None
    proxy_handshake_start: Ns | None = None
    proxy_handshake_end: Ns | None = None
    tls_start: Ns | None = None
    tls_end: Ns | None = None
    connect_end: Ns | None = None
    attempts: list[Attempt] = field(default_factory=list)
    """In the order in which they ended."""
    running: list[AttemptNote] = field(default_factory=list)
    proxy: str | None = None
    """URL of the proxy, without credentials."""

    @contextmanager
    def attempt(self, protocol: str, address: tuple[str, int] | None) -> Iterator[AttemptNote]:
        """Note one attempt: won when the block ends, failed or cancelled when it is left by force.

        Only an `Exception` is a failure; cancellation is not one, on either backend.
        """
        note = AttemptNote(protocol, address, self.clock())
        self.running.append(note)
        try:
            yield note
        except Exception as exc:
            note.outcome = AttemptOutcome.FAILED
            note.error = reason_of(exc) if isinstance(exc, OSError) else str(exc)
            raise
        except BaseException:
            note.outcome = AttemptOutcome.CANCELLED
            raise
        finally:
            self.running.remove(note)
            self.attempts.append(self._ended(note, self.clock()))

    def looked_up(self, start: Ns | None, end: Ns | None, *, over_https: bool) -> None:
        """Note when the name was looked up; None: it was not, or the end has not come."""
        if over_https:
            self.http_dns_start, self.http_dns_end = start, end
        else:
            self.dns_start, self.dns_end = start, end

    def looking_since(self, *, over_https: bool) -> Ns | None:
        """When a lookup began that has not ended."""
        start, end = self._lookup(over_https=over_https)
        return start if end is None else None

    def lookup(self, *, over_https: bool) -> tuple[Ns, Ns] | None:
        """When a lookup that is over began and ended."""
        start, end = self._lookup(over_https=over_https)
        return None if start is None or end is None else (start, end)

    def unresolved(self, protocol: str, start: Ns, end: Ns, reason: str) -> None:
        """Note that there was no address to try."""
        note = AttemptNote(protocol, None, start, AttemptOutcome.FAILED, reason)
        self.attempts.append(self._ended(note, end))

    def refused(self, protocol: str, address: tuple[str, int], reason: str) -> None:
        """Note an address that was there, but was not to be tried."""
        now = self.clock()
        note = AttemptNote(protocol, address, now, AttemptOutcome.FAILED, reason)
        self.attempts.append(self._ended(note, now))

    def given_up(self, reason: str) -> list[Attempt]:
        """Every attempt so far; those still running as if they were cancelled now."""
        now = self.clock()
        late = [
            replace(self._ended(note, now), outcome=AttemptOutcome.CANCELLED, error=reason)
            for note in self.running
        ]
        return [*self.attempts, *late]

    def cut_short(self, reason: str) -> DialRecord:
        """The record so far, with the attempts still running as if they were cancelled now."""
        return replace(self.freeze(), attempts=tuple(self.given_up(reason)))

    def branch(self, proxy: str) -> DialLog:
        """A log for the way over a proxy: its attempts are this log's, its moments its own."""
        self.proxy = proxy
        return DialLog(clock=self.clock, attempts=self.attempts, running=self.running, proxy=proxy)

    def adopt_way(self, way: DialLog) -> None:
        """Take over a branch's moments of connecting; its lookup was of the proxy's name."""
        self.connect_start, self.tcp_connected = way.connect_start, way.tcp_connected
        self.proxy_connect_start = way.proxy_connect_start
        self.proxy_connect_end = way.proxy_connect_end
        self.proxy_handshake_start = way.proxy_handshake_start
        self.proxy_handshake_end = way.proxy_handshake_end

    def freeze(self) -> DialRecord:
        """The record so far."""
        return DialRecord(
            dns_start=self.dns_start,
            dns_end=self.dns_end,
            http_dns_start=self.http_dns_start,
            http_dns_end=self.http_dns_end,
            connect_start=self.connect_start,
            tcp_connected=self.tcp_connected,
            proxy_connect_start=self.proxy_connect_start,
            proxy_connect_end=self.proxy_connect_end,
            proxy_handshake_start=self.proxy_handshake_start,
            proxy_handshake_end=self.proxy_handshake_end,
            tls_start=self.tls_start,
            tls_end=self.tls_end,
            connect_end=self.connect_end,
            attempts=tuple(self.attempts),
            proxy=self.proxy,
        )

    def _lookup(self, *, over_https: bool) -> tuple[Ns | None, Ns | None]:
        over = (self.http_dns_start, self.http_dns_end)
        return over if over_https else (self.dns_start, self.dns_end)

    def _ended(self, note: AttemptNote, end: Ns) -> Attempt:
        return Attempt(
            address=note.address,
            protocol=note.protocol,
            start=note.start,
            end=end,
            outcome=note.outcome,
            error=note.error,
            proxy=self.proxy,
        )
