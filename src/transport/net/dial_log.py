"""Notes taken while a connection is being made; what was noted survives failure and cancellation.

The caller hands a `DialLog` in, so that a dial that is cut short by a timeout still shows its
attempts and moments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..profile.moments import Attempt, AttemptOutcome, DialRecord, Ns
from .reasons import reason_of


@dataclass(slots=True)
class AttemptNote:
    """An attempt in progress; the block that makes it may change its outcome."""

    start: Ns
    outcome: AttemptOutcome = AttemptOutcome.WON
    error: str | None = None


@dataclass(slots=True)
class DialLog:
    """A `DialRecord` in the making; each moment is set where it happens."""

    clock: Callable[[], Ns] = time.monotonic_ns
    dns_start: Ns | None = None
    dns_end: Ns | None = None
    connect_start: Ns | None = None
    tcp_connected: Ns | None = None
    tls_start: Ns | None = None
    tls_end: Ns | None = None
    connect_end: Ns | None = None
    attempts: list[Attempt] = field(default_factory=list)
    """In the order in which they ended."""

    @contextmanager
    def attempt(self, protocol: str, address: tuple[str, int] | None) -> Iterator[AttemptNote]:
        """Note one attempt: won when the block ends, failed or cancelled when it is left by force.

        Only an `Exception` is a failure; cancellation is not one, on either backend.
        """
        note = AttemptNote(self.clock())
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
            self.note(protocol, address, note, self.clock())

    def note(
        self, protocol: str, address: tuple[str, int] | None, note: AttemptNote, end: Ns
    ) -> None:
        """Add an attempt that has ended."""
        self.attempts.append(
            Attempt(
                address=address,
                protocol=protocol,
                start=note.start,
                end=end,
                outcome=note.outcome,
                error=note.error,
            )
        )

    def freeze(self) -> DialRecord:
        """The record so far."""
        return DialRecord(
            dns_start=self.dns_start,
            dns_end=self.dns_end,
            connect_start=self.connect_start,
            tcp_connected=self.tcp_connected,
            tls_start=self.tls_start,
            tls_end=self.tls_end,
            connect_end=self.connect_end,
            attempts=tuple(self.attempts),
        )
