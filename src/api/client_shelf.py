"""The clients behind `uploadFile`: one per way of connecting, kept for reuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .client import AsyncClient
from .client_options import ConnectOptions, engine_options

#: Clients kept without an upload. A program has one or two; more come from a fresh
#: `ssl.SSLContext` per call, which no later call can share.
IDLE_CLIENTS = 4


@dataclass(slots=True, eq=False)
class _Shelved:
    client: AsyncClient
    uploads: int = 0
    retired: anyio.Event = field(default_factory=anyio.Event)


class ClientShelf:
    """Lends out clients; each lives in a task of its own in the given group."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._opening = anyio.Lock()
        # In the order of their last use.
        self._shelved: dict[object, _Shelved] = {}

    @asynccontextmanager
    async def client(self, options: ConnectOptions) -> AsyncIterator[AsyncClient]:
        """A running client for one upload.

        Raises:
            UsageError: an option has a value it cannot have.
        """
        shelved = await self._borrow(engine_options(options), AsyncClient(**options))
        try:
            yield shelved.client
        finally:
            shelved.uploads -= 1
            self._retire_oldest_idle()

    def close(self) -> None:
        """Let every client end."""
        for shelved in self._shelved.values():
            shelved.retired.set()

    async def _borrow(self, key: object, fresh: AsyncClient) -> _Shelved:
        # One at a time: two uploads that begin at once shall share a client.
        async with self._opening:
            shelved = self._shelved.pop(key, None)
            if shelved is None:
                shelved = await self._tasks.start(self._keep, _Shelved(fresh))
            self._shelved[key] = shelved
            shelved.uploads += 1
        return shelved

    async def _keep(self, shelved: _Shelved, *, task_status: TaskStatus[_Shelved]) -> None:
        async with shelved.client:
            task_status.started(shelved)
            await shelved.retired.wait()

    def _retire_oldest_idle(self) -> None:
        idle = [key for key, shelved in self._shelved.items() if not shelved.uploads]
        for key in idle[:-IDLE_CLIENTS]:
            self._shelved.pop(key).retired.set()
