"""Happy eyeballs for anything that connects to addresses: the first to succeed wins (RFC 8305)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import Generic, TypeVar

import anyio

from ..errors import TransportError
from ..policy.eyeballs import AttemptSchedule

T = TypeVar("T")


class AddressRace(Generic[T]):
    """Attempts on several addresses, each in a task of its own."""

    def __init__(
        self,
        schedule: AttemptSchedule,
        attempt: Callable[[str], Awaitable[T]],
        discard: Callable[[T], None],
    ) -> None:
        """Prepare a race.

        Args:
            schedule: which address is tried when.
            attempt: connects to one address; cancelled when another one was faster.
            discard: closes what an attempt made that succeeded too late.
        """
        self.failures: dict[str, TransportError] = {}
        """Why attempts failed, by address, in the order in which they did."""
        self._schedule = schedule
        self._try = attempt
        self._discard = discard
        self._winners: list[T] = []
        self._running = 0
        self._defect: Exception | None = None
        self._changed = anyio.Event()

    @property
    def won(self) -> bool:
        """An attempt has succeeded."""
        return bool(self._winners)

    async def run(self) -> T | None:
        """Return what the winner made, or None when every attempt failed."""
        try:
            async with anyio.create_task_group() as tasks:
                while await self._until_due():
                    self._running += 1
                    tasks.start_soon(self._attempt, self._schedule.start(anyio.current_time()))
                tasks.cancel_scope.cancel()
        except BaseException:
            for made in self._winners:
                self._discard(made)
            raise
        for late in self._winners[1:]:
            self._discard(late)
        if not self._winners and self._defect is not None:
            raise self._defect
        return self._winners[0] if self._winners else None

    async def _until_due(self) -> bool:
        """Wait until the next address is due; False when the race is over."""
        while not self._winners and self._defect is None:
            due_s = self._schedule.next_start_s
            if due_s is None and not self._running:
                return False
            if due_s is not None and due_s <= anyio.current_time():
                return True
            with anyio.CancelScope(deadline=inf if due_s is None else due_s):
                await self._changed.wait()
        return False

    async def _attempt(self, address: str) -> None:
        self._schedule.begun(address, anyio.current_time())
        try:
            self._winners.append(await self._try(address))
        except TransportError as error:
            self.failures[address] = error
            self._schedule.failed(address)
        except Exception as exc:  # noqa: BLE001 - a bug, raised by `run` rather than in a group
            self._defect = exc
        finally:
            self._running -= 1
            changed, self._changed = self._changed, anyio.Event()
            changed.set()
