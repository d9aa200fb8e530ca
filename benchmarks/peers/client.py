"""What a peer must be able to do: upload a file, or a few bytes, on one lane, connection kept."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import anyio

from ..lanes import Target

T = TypeVar("T")

Source = Path | bytes
"""A file to be read from disk, or small content that is at hand."""


class Client(ABC):
    """One peer's client for one lane; made, and closed, in the process that measures it."""

    def __init__(self, target: Target) -> None:
        """Get ready for a lane; connections are made by the first upload."""
        self.target = target

    early_data = False
    """Whether uploads go ahead of the handshake, where a session permits it."""
    resumed = False
    """Whether the last upload's connection resumed a session, and early data was accepted if it was
    sent; as far as the client tells."""

    @abstractmethod
    def crowd(self, path: str, source: Source, uploads: int, at_once: int) -> list[int]:
        """Upload `uploads` times, `at_once` at a time; return the nanoseconds each took."""

    def drop_connections(self) -> None:
        """Have the next upload make a connection, with a session of the one before."""
        raise NotImplementedError(f"{type(self).__name__} resumes no sessions here")


class BlockingClient(Client):
    """A client whose calls block."""

    @abstractmethod
    def upload(self, path: str, source: Source) -> bytes:
        """POST the source as a file of a multipart form; return the body of the 200 response."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""


class AsyncClient(Client):
    """A client for an event loop."""

    backend = "asyncio"
    backend_options: dict[str, bool] = {}  # noqa: RUF012 - read only

    @abstractmethod
    async def open(self) -> None:
        """Begin, inside the event loop."""

    @abstractmethod
    async def upload(self, path: str, source: Source) -> bytes:
        """POST the source as a file of a multipart form; return the body of the 200 response."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function on this client's event loop, between `open` and `close`."""

        async def opened() -> T:
            await self.open()
            try:
                return await main()
            finally:
                await self.close()

        return self.run_bare(opened)

    def run_bare(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine function on this client's event loop; opening is its own business."""
        return anyio.run(main, backend=self.backend, backend_options=dict(self.backend_options))

    def crowd(self, path: str, source: Source, uploads: int, at_once: int) -> list[int]:
        """See `Client.crowd`."""

        async def main() -> list[int]:
            # One request alone first, so that the connections are not part of the figures.
            await self.upload(path, source)
            return await crowd(lambda: self.upload(path, source), uploads, at_once)

        return self.run(main)


async def crowd(upload: Callable[[], Awaitable[bytes]], uploads: int, at_once: int) -> list[int]:
    """Keep `at_once` uploads on their way until `uploads` are done; return what each took in ns."""
    durations: list[int] = []
    tickets = iter(range(uploads))

    async def work(tickets: Iterator[int]) -> None:
        for _ in tickets:
            began = time.perf_counter_ns()
            await upload()
            durations.append(time.perf_counter_ns() - began)

    async with anyio.create_task_group() as tasks:
        for _ in range(at_once):
            tasks.start_soon(work, tickets)
    return durations


def require_ok(status: int, body: bytes) -> bytes:
    """The body of a 200 response.

    Raises:
        RuntimeError: it is none.
    """
    if status != 200:
        raise RuntimeError(f"the receiver answered {status}: {body[:200]!r}")
    return body
