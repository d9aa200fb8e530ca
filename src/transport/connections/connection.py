"""What the pool and the engine see of a connection, whichever protocol it speaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from itertools import count
from typing import ClassVar

from ..config import HttpVersion
from ..profile.moments import ConnectionFacts
from .exchange import Exchange, RawResponse

_ids = count(1)


def next_connection_id() -> int:
    """Number connections over the whole process, from 1."""
    return next(_ids)


class ConnectionState(Enum):
    """Whether requests may be given to a connection."""

    OPEN = "open"
    #: The peer takes no more requests (GOAWAY), or this side decided to retire it.
    DRAINING = "draining"
    #: Its socket is closed, or about to be.
    CLOSED = "closed"


class Connection(ABC):
    """An established connection that carries one or many requests at once."""

    facts: ConnectionFacts
    keeps_deadlines: ClassVar[bool] = False
    """Whether it ends exchanges with TotalTimeout at their deadlines; a cancel scope around each
    costs more."""
    on_room: Callable[[], None] = staticmethod(lambda: None)
    """Called when it may take more requests than before, or none any more; the pool sets it."""

    @property
    def version(self) -> HttpVersion:
        """Protocol it speaks."""
        return self.facts.version

    @property
    @abstractmethod
    def state(self) -> ConnectionState:
        """Whether it takes requests."""

    @property
    @abstractmethod
    def active_requests(self) -> int:
        """Requests on it now."""

    @property
    @abstractmethod
    def available_requests(self) -> int:
        """How many more it takes now; 0 unless OPEN."""

    @abstractmethod
    def is_alive(self) -> bool:
        """Cheap liveness check before reuse; never blocks. False: close it and use another."""

    @abstractmethod
    async def exchange(self, exchange: Exchange) -> RawResponse:
        """Carry one request and return its complete response.

        Runs in the caller's scope. Cancelled or failed, it leaves the connection either usable
        or CLOSED, never half-written; other requests on it are not touched.

        The caller has already called `recorder.use_connection`. The driver marks REQUEST_* and
        RESPONSE_* moments and fills the leg's counters and transport sample.

        Raises:
            TransportError: with `retryable=True` when the peer provably did not process it.
        """

    @abstractmethod
    async def run(self) -> None:
        """Run the connection's background tasks until it is closed.

        Returns at once for HTTP/1.1. Started once, in the client's task group; never raises
        anything but cancellation: what goes wrong is told to the waiting exchanges.
        """

    @abstractmethod
    def retire(self) -> None:
        """Take no more requests and close when the running ones are done. Idempotent."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close now: pending exchanges fail with ClientClosed. Bounded in time; idempotent."""
