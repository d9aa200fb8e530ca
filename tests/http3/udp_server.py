"""aioquic as a server on a loopback UDP socket, in the test's own event loop."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import anyio

from tests.http3.pair import ServerSide


class UdpServer:
    """Serves any number of clients; each gets a `ServerSide` of its own."""

    def __init__(self, make_side: Callable[[], ServerSide], address: str, port: int) -> None:
        self.sides: list[ServerSide] = []
        self.deaf = False
        """Takes datagrams and does nothing with them."""
        self.late_s = 0.0
        """How long its datagrams are under way."""
        self._make_side = make_side
        self._by_client: dict[tuple[str, int], ServerSide] = {}
        self._wake = anyio.Event()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((address, port))
        self.port: int = self._socket.getsockname()[1]

    def url(self, path: str = "/upload", host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"

    def kick(self) -> None:
        """Send what a test has just told a side to send."""
        self._wake.set()

    def close(self) -> None:
        """Vanish without a word."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()

    async def run(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._receive)
            self._tasks.start_soon(self._mind_timers)

    async def _receive(self) -> None:
        while True:
            try:
                await anyio.wait_readable(self._socket)
                data, client = self._socket.recvfrom(65535)
            except (anyio.ClosedResourceError, OSError, ValueError):
                return
            if self.deaf:
                continue
            if client not in self._by_client:
                self._by_client[client] = self._make_side()
                self.sides.append(self._by_client[client])
            self._by_client[client].receive(data, client, anyio.current_time())
            self._send()
            self._wake.set()

    async def _mind_timers(self) -> None:
        while True:
            self._wake = anyio.Event()
            self._send()
            timers = [side.quic.get_timer() for side in self.sides if side.started]
            due_s = min((timer for timer in timers if timer is not None), default=inf)
            with anyio.CancelScope(deadline=due_s):
                await self._wake.wait()
            now_s = anyio.current_time()
            for side in self.sides:
                timer = side.quic.get_timer() if side.started else None
                if timer is not None and timer <= now_s:
                    side.quic.handle_timer(now_s)
                    side.drain()

    def _send(self) -> None:
        for side in self.sides:
            if side.started and not self.deaf and self._socket.fileno() >= 0:
                for data, client in side.quic.datagrams_to_send(anyio.current_time()):
                    if self.late_s:
                        self._tasks.start_soon(self._send_late, data, client)
                    else:
                        self._socket.sendto(data, client)

    async def _send_late(self, data: bytes, client: tuple[str, int]) -> None:
        await anyio.sleep(self.late_s)
        if self._socket.fileno() >= 0:
            self._socket.sendto(data, client)


@asynccontextmanager
async def serving(
    make_side: Callable[[], ServerSide], address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[UdpServer]:
    server = UdpServer(make_side, address, port)
    async with background(server.run):
        try:
            yield server
        finally:
            server.close()


@asynccontextmanager
async def background(run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run something beside the block; an error of the block comes out of it bare."""
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            yield
        except Exception as exc:  # noqa: BLE001  # raised again, outside of the group
            error = exc
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error
