"""Questions on their way: equal ones share one, which goes on while anybody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import anyio
from anyio.abc import TaskGroup

from ..errors import ResolveError
from ..policy.dns_records import Answer, Kind, Question
from ..policy.name_cache import NameCache


class AnswerSource(Protocol):
    """Somebody who can be asked about names."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is asked to learn a name's addresses, the preferred first."""
        ...

    @property
    def offers_services(self) -> bool:
        """Whether it can be asked for HTTPS records, for it is a name server."""
        ...

    @property
    def over_https(self) -> bool:
        """Whether it is asked over HTTPS."""
        ...

    async def answer(self, question: Question) -> Answer:
        """Find out.

        Raises:
            ResolveError: it could not be found out.
        """
        ...


@dataclass(slots=True, eq=False)
class Flight:
    """One question that is being asked, or was."""

    question: Question
    outcome: Answer | ResolveError | None = None
    cached: bool = False
    """Nobody had to be asked."""
    detached: bool = False
    """It goes on though nobody waits: the answer is for the cache."""
    watches: set[Watch] = field(default_factory=set)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What was found so far."""
        return self.outcome.addresses if isinstance(self.outcome, Answer) else ()


class Flights:
    """All questions of one client, and the answers that still hold."""

    def __init__(
        self, tasks: TaskGroup, source: AnswerSource, clock_s: Callable[[], float]
    ) -> None:
        self._tasks = tasks
        self._source = source
        self._clock_s = clock_s
        self._cache = NameCache()
        self._flying: dict[Question, Flight] = {}

    def flight(self, question: Question) -> Flight:
        """What is known, or a flight to watch: one that nobody watches is called off."""
        known = self._cache.find(question, self._clock_s())
        if known is not None:
            return Flight(question, known, cached=True)
        flight = self._flying.get(question)
        if flight is None:
            self._flying[question] = flight = Flight(question)
            self._tasks.start_soon(self._fly, flight)
        return flight

    def watch(self, flights: Iterable[Flight]) -> Watch:
        """Wait for flights, in a `with` block."""
        return Watch(self, list(flights))

    def leave(self, flight: Flight) -> None:
        """A watch has ended; the last one takes the flight with it."""
        if not flight.watches and flight.outcome is None and not flight.detached:
            flight.scope.cancel()
            if self._flying.get(flight.question) is flight:
                del self._flying[flight.question]

    def forget(self, name: str) -> None:
        """What is known of a name was of no use."""
        self._cache.forget(name)

    async def _fly(self, flight: Flight) -> None:
        with flight.scope:
            try:
                flight.outcome = await self._source.answer(flight.question)
            except ResolveError as error:
                flight.outcome = error
            except Exception as exc:  # noqa: BLE001 - a bug, which ends this question and no other
                flight.outcome = ResolveError(f"cannot resolve {flight.question.name!r}: {exc!r}")
                flight.outcome.__cause__ = exc
        if self._flying.get(flight.question) is flight:
            del self._flying[flight.question]
        if flight.outcome is not None:
            self._cache.keep(flight.question, flight.outcome, self._clock_s())
        for watch in flight.watches:
            watch.news.set()


class Watch:
    """Waits for any of some flights, and holds them up while it does."""

    def __init__(self, flights: Flights, watched: list[Flight]) -> None:
        self.watched = watched
        self.news = anyio.Event()
        self._flights = flights

    def __enter__(self) -> Self:
        for flight in self.watched:
            flight.watches.add(self)
            flight.detached = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for flight in self.watched:
            flight.watches.discard(self)
            self._flights.leave(flight)

    @property
    def done(self) -> bool:
        """Whether everything is answered."""
        return all(flight.outcome is not None for flight in self.watched)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What was found so far, in the order of the flights."""
        return tuple(address for flight in self.watched for address in flight.addresses)

    async def wait(self) -> None:
        """Until one of those that were not answered yet is."""
        await self.news.wait()
        self.news = anyio.Event()

    async def settle(self, delay_s: float, *, enough: bool = False) -> None:
        """Until everything is answered, or something is enough and the rest is late by `delay_s`.

        Args:
            delay_s: how long more is waited for (RFC 8305 §3, Resolution Delay).
            enough: there is something to begin with already.
        """
        deadline = float("inf")
        while not self.done:
            if (enough or self.addresses) and deadline == float("inf"):
                deadline = anyio.current_time() + delay_s
            with anyio.CancelScope(deadline=deadline) as scope:
                await self.wait()
            if scope.cancelled_caught:
                break
        for flight in self.watched:
            # What comes later is for the next connection.
            flight.detached = True
