"""A virtual network for tests: byte streams in memory with delay, rate, chunking and faults.

It runs on the event loop's own clock. With a virtual one (trio's `MockClock`, or a test loop for
asyncio) minutes of network pass in no time, and the same seed gives the same run.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from random import Random

import anyio

from ..buffers import Buffer
from ..errors import ConnectionLost, Phase
from ..facts import TlsFacts
from ..profile.moments import Ns
from .reasons import lost
from .stream import Take, WireCounters
from .transmit_stamps import TransmitStamps

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How one direction behaves."""

    delay_s: float = 0.0
    """One way."""
    rate_bytes_per_s: float | None = None
    """None: as fast as it is written."""
    longest_piece_bytes: int | None = None
    """Deliver pieces of random sizes up to this; None: as they were written."""
    buffer_bytes: int = 64 * 1024
    """Bytes written and not yet read, beyond which a sender waits."""
    reset_after_bytes: int | None = None
    """Reset the connection once so many bytes were written; they still arrive."""
    stall_after_bytes: int | None = None
    """Let nothing after so many bytes arrive, ever."""


def memory_pair(
    *,
    seed: int = 0,
    to_server: Link | None = None,
    to_client: Link | None = None,
    server: Address = ("192.0.2.1", 443),
    client: Address = ("192.0.2.2", 49152),
    clock: Callable[[], Ns] | None = None,
) -> tuple[MemoryStream, MemoryStream]:
    """Return the client's and the server's end of a connection.

    Args:
        seed: of the random piece sizes.
        to_server: the client's way to the server.
        to_client: the way back.
        server: the server's address (RFC 5737 documentation address by default).
        client: the client's.
        clock: tells the moments; the event loop's clock by default.
    """
    random = Random(seed)  # noqa: S311 - reproducible, not secret
    up = _Pipe(to_server or Link(), random)
    down = _Pipe(to_client or Link(), random)
    return (
        MemoryStream(down, up, local=client, peer=server, clock=clock or _loop_ns),
        MemoryStream(up, down, local=server, peer=client, clock=clock or _loop_ns),
    )


class MemoryStream:
    """One end of a virtual connection; implements `LayerableStream`."""

    def __init__(
        self,
        incoming: _Pipe,
        outgoing: _Pipe,
        *,
        local: Address,
        peer: Address,
        clock: Callable[[], Ns],
    ) -> None:
        """Made by `memory_pair` or `VirtualNetwork`."""
        self._incoming = incoming
        self._outgoing = outgoing
        self._clock = clock
        self._closed = False
        self.broken = False
        """A send failed or was cancelled: nothing more can be sent."""
        self.local = local
        self.peer = peer
        self.tls: TlsFacts | None = None
        self.truncated = False
        self.wire = WireCounters()
        self.stamps: TransmitStamps | None = None
        self.write_started_ns = 0
        self.write_ended_ns = 0
        self.read_ns = 0
        self.accepted_bytes = 0

    async def send(self, data: Buffer) -> None:
        """Write all of `data`, waiting while the buffer is full; see `ByteStream.send`."""
        await self.send_each((data,))

    async def send_each(self, pieces: Iterable[Buffer]) -> None:
        """The same for several pieces; see `LayerableStream.send_each`."""
        first = True
        done = False
        try:
            for piece in pieces:
                rest = memoryview(piece).cast("B")
                while rest:
                    before = self._clock()
                    count = self.send_nowait(rest)
                    if not count:
                        await self._outgoing.changed.wait()
                        continue
                    self.write_started_ns = before if first else self.write_started_ns
                    self.write_ended_ns = self._clock()
                    self.accepted_bytes += count
                    rest = rest[count:]
                    first = False
            done = True
        finally:
            self.broken = self.broken or not done

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return at least one byte, or `b""` at end of file; see `ByteStream.receive`."""
        while (data := self.receive_nowait(max_bytes)) is None:
            with anyio.CancelScope(deadline=self._incoming.next_arrival_s()):
                await self._incoming.changed.wait()
        return data

    async def receive_until(self, until_s: float) -> bytes | None:
        """The same up to a time; see `ByteStream.receive_until`."""
        with anyio.CancelScope(deadline=until_s):
            return await self.receive()
        return None

    async def receive_each(self, take: Take) -> None:
        """Give everything that arrives to `take`; see `ByteStream.receive_each`."""
        data = b"more"
        while data:
            data = await self.receive()
            if not take(data):
                return

    def send_nowait(self, data: Buffer) -> int:
        """Write what fits; see `LayerableStream.send_nowait`."""
        if self._closed or self.broken:
            raise self._lost("it was closed on this side", Phase.SEND)
        if self._outgoing.unread:
            raise self._lost("the peer has closed the connection", Phase.SEND)
        if self._outgoing.is_reset():
            raise self._lost("connection reset by the peer", Phase.SEND)
        count = self._outgoing.write(memoryview(data).cast("B"), anyio.current_time())
        self.wire.sent_bytes += count
        if self._outgoing.is_reset():
            self._incoming.break_off()
        return count

    def send_promptly(self, data: Buffer) -> int:
        """`send_nowait`, counted and timed like `send`; see `LayerableStream.send_promptly`."""
        before = self._clock()
        count = self.send_nowait(data)
        if count:
            self.write_started_ns, self.write_ended_ns = before, self._clock()
            self.accepted_bytes += count
        return count

    def receive_nowait(self, max_bytes: int = 65536) -> bytes | None:
        """Return what has arrived, None if nothing; see `LayerableStream.receive_nowait`."""
        if self._closed:
            raise self._lost("it was closed on this side")
        data = self._incoming.read(max_bytes, anyio.current_time())
        if data is None:
            return None
        if not data and self._incoming.is_reset():
            raise self._lost("connection reset by the peer")
        self.read_ns = self._clock()
        self.wire.received_bytes += len(data)
        return data

    def close(self) -> None:
        """Close; what was written still arrives. See `ByteStream.close`."""
        if self._closed:
            return
        self._closed = True
        self._outgoing.end()
        self._incoming.abandon()

    def reset(self) -> None:
        """Reset the connection, as RST does; what was written still arrives."""
        self._outgoing.break_off()
        self._incoming.break_off()

    def is_idle_and_alive(self) -> bool:
        """Whether the peer has neither closed nor sent anything; see `ByteStream`."""
        return not (self._closed or self.broken) and self._incoming.is_idle(anyio.current_time())

    def unacked_bytes(self) -> int | None:
        """Bytes written that have not arrived yet: this network acknowledges without delay."""
        return None if self._closed else self._outgoing.in_flight_bytes(anyio.current_time())

    def tcp_info(self) -> bytes | None:
        """None: there is no kernel here."""
        return None

    def _lost(self, reason: str, phase: Phase | None = None) -> ConnectionLost:
        return lost(reason, self.peer, phase=phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """How a host of the virtual network treats those who connect."""

    answers_after_s: float | None = 0.0
    """None: it never does."""
    error: int | None = None
    """What the answer is, as an errno; None to accept."""
    to_server: Link = Link()
    to_client: Link = Link()


class VirtualNetwork:
    """Hosts by address, all others unreachable; `connect` serves as the dialer's connector."""

    def __init__(self, hosts: dict[Address, VirtualHost], *, seed: int = 0) -> None:
        self._hosts = hosts
        self._seed = seed
        self._changed = anyio.Event()
        self._accepted: dict[Address, deque[MemoryStream]] = {to: deque() for to in hosts}
        self.open_attempts = 0
        """Connection attempts in progress."""

    async def connect(self, address: str, port: int) -> MemoryStream:
        """Connect, be refused, or wait in vain.

        Raises:
            OSError: as the host answers.
        """
        to = (address, port)
        host = self._hosts.get(to, VirtualHost(error=errno.EHOSTUNREACH))
        self.open_attempts += 1
        try:
            if host.answers_after_s is None:
                await anyio.sleep_forever()
            else:
                await anyio.sleep(host.answers_after_s)
        finally:
            self.open_attempts -= 1
        if host.error is not None:
            raise OSError(host.error, os.strerror(host.error))
        self._seed += 1
        client, server = memory_pair(
            seed=self._seed, to_server=host.to_server, to_client=host.to_client, server=to
        )
        self._accepted[to].append(server)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        return client

    async def accept(self, address: str, port: int) -> MemoryStream:
        """Wait for the next connection to a host and return the server's end."""
        waiting = self._accepted[address, port]
        while not waiting:
            await self._changed.wait()
        return waiting.popleft()


@dataclass(slots=True)
class _Piece:
    arrival_s: float
    data: memoryview


class _Pipe:
    """One direction. `changed` is replaced whenever something happened."""

    def __init__(self, link: Link, random: Random) -> None:
        self._link = link
        self._random = random
        self._pieces: deque[_Piece] = deque()
        self._written_bytes = 0
        self._unread_bytes = 0
        self._free_at_s = 0.0
        self._ended = False
        self._reset = False
        self.unread = False
        """Its reader has closed."""
        self.changed = anyio.Event()

    def write(self, data: memoryview, now_s: float) -> int:
        """Take what fits and put it on its way."""
        count = min(len(data), self._link.buffer_bytes - self._unread_bytes)
        limit = self._link.reset_after_bytes
        if limit is not None:
            count = min(count, limit - self._written_bytes)
        rest = memoryview(bytes(data[:count]))
        while rest:
            rest = rest[self._dispatch(rest, now_s) :]
        if limit is not None and self._written_bytes >= limit:
            self._reset = True
        self._wake()
        return count

    def read(self, max_bytes: int, now_s: float) -> bytes | None:
        """Take at most one piece that has arrived; `b""` at the end, None if nothing is there."""
        if not self._pieces:
            return b"" if self._ended or self._reset else None
        piece = self._pieces[0]
        if piece.arrival_s > now_s:
            return None
        data = bytes(piece.data[:max_bytes])
        piece.data = piece.data[max_bytes:]
        if not piece.data:
            self._pieces.popleft()
        self._unread_bytes -= len(data)
        self._wake()
        return data

    def next_arrival_s(self) -> float:
        """When the next piece arrives; infinity if nothing is under way."""
        return self._pieces[0].arrival_s if self._pieces else inf

    def in_flight_bytes(self, now_s: float) -> int:
        """Bytes that have not arrived."""
        return sum(len(piece.data) for piece in self._pieces if piece.arrival_s > now_s)

    def is_idle(self, now_s: float) -> bool:
        """Whether a reader would have to wait."""
        if self.next_arrival_s() <= now_s:
            return False
        return bool(self._pieces) or not (self._ended or self._reset)

    def is_reset(self) -> bool:
        """Whether the connection was reset; what is under way still arrives."""
        return self._reset

    def end(self) -> None:
        """The writer has closed: end of file after what is under way."""
        self._ended = True
        self._wake()

    def abandon(self) -> None:
        """The reader has closed."""
        self.unread = True
        self._wake()

    def break_off(self) -> None:
        """The connection was reset: an error after what is under way."""
        self._reset = True
        self._wake()

    def _dispatch(self, data: memoryview, now_s: float) -> int:
        """Send off one piece from the front of `data`; return its size."""
        link = self._link
        size = len(data)
        if link.longest_piece_bytes is not None:
            size = min(size, self._random.randint(1, link.longest_piece_bytes))
        stalled = False
        if link.stall_after_bytes is not None:
            before_stall = link.stall_after_bytes - self._written_bytes
            stalled = before_stall <= 0
            size = size if stalled else min(size, before_stall)
        if link.rate_bytes_per_s is not None:
            self._free_at_s = max(now_s, self._free_at_s) + size / link.rate_bytes_per_s
        leaves_s = max(now_s, self._free_at_s)
        arrival_s = inf if stalled else leaves_s + link.delay_s
        self._pieces.append(_Piece(arrival_s, data[:size]))
        self._written_bytes += size
        self._unread_bytes += size
        return size

    def _wake(self) -> None:
        changed, self.changed = self.changed, anyio.Event()
        changed.set()


def _loop_ns() -> Ns:
    return round(anyio.current_time() * 1_000_000_000)
