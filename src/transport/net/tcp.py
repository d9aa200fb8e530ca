"""TCP: a raw non-blocking socket on whichever event loop runs, without transports or streams.

Each operation tries its system call first and waits only when the kernel says so; what is counted
and timed is therefore what the operating system took, at the moment it took it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from itertools import chain
from math import inf
from typing import TypeVarTuple

import anyio

from ..buffers import Buffer
from ..config import SocketOptions
from ..errors import ConnectionLost, Phase
from ..facts import TlsFacts
from ..profile.kernel import read_tcp_info, read_unacked_bytes
from .loop_turn import loop_turn
from .reasons import connection_lost, lost
from .sendfile import (
    PIECE_BYTES,
    is_file_error,
    is_unsupported,
    make_resident,
    read_piece,
    unreadable,
)
from .socket_options import DEFAULT_OPTIONS, bind_local, prepare
from .standing_watch import StandingWatch, standing_watch
from .stream import Take, WireCounters
from .transmit_stamps import TransmitStamps, stamp_transmissions

#: Bytes moved one way before other tasks get a turn, if the kernel never made us wait. Measured on
#: loopback: 512 KiB take 100-300 µs, a turn of the event loop 3-5 µs, a system call on a small
#: buffer about 4 µs. So a fast peer holds the loop for well under a millisecond, the turns cost
#: some 3 %, and a small request, alone on its connection, pays for none.
_TURN_BYTES = 512 * 1024
#: What a system call counts at least: as much of the turn's time as it really uses up.
_CALL_BYTES = 8 * 1024
#: Room for one read.
_RECEIVE_BYTES = 64 * 1024

Arguments = TypeVarTuple("Arguments")

_CLOSED_HERE = "it was closed on this side"


class TcpStream:
    """A connected TCP socket; implements `LayerableStream`.

    A failed send leaves `receive` usable: what the peer said before it reset the connection (an
    early response, as a rule) can still be read. Only after that does `receive` report the reset.
    """

    def __init__(
        self, sock: socket.socket, peer: tuple[str, int], stamps: TransmitStamps | None = None
    ) -> None:
        """Take over a connected, non-blocking socket.

        Args:
            sock: the socket.
            peer: the address that was dialled.
            stamps: those of the socket, if the kernel makes any.
        """
        self._sock = sock
        self.peer = peer
        self.local: tuple[str, int] = sock.getsockname()[:2]
        self.tls: TlsFacts | None = None
        self.truncated = False
        self.wire = WireCounters()
        self.stamps = stamps
        self.write_started_ns = 0
        self.write_ended_ns = 0
        self.read_ns = 0
        self.accepted_bytes = 0
        self.broken = False
        """A send failed or was cancelled: nothing more can be sent."""
        self._closed = False
        self._poll = _poll_of(sock)
        self._waiting = 0
        self._failure: OSError | None = None
        self._arrived: bytes | OSError | None = None
        """What was read while somebody waited, not handed out yet."""
        self._wanted_bytes = 0
        self._sent_before_bytes = 0
        self._taker: _Taker | None = None
        """Who gets what is read while somebody waits."""
        self._watch: StandingWatch | None = None
        self._watchable = True
        self._send_credit = _TURN_BYTES
        self._receive_credit = _TURN_BYTES
        self.prompt_bytes = _TURN_BYTES if stamps is None else 0
        self._prompt_rest = memoryview(b"")
        """What `send_whole` has left."""
        self._prompt_begun = False
        """Whether it has sent a part."""

    async def send(self, data: Buffer) -> None:
        """Give all of `data` to the operating system; see `ByteStream.send`."""
        self._check_sendable()
        await self._send_all(memoryview(data).cast("B"), first=True)

    async def send_each(self, pieces: Iterable[Buffer]) -> None:
        """The same for several pieces; see `LayerableStream.send_each`."""
        self._check_sendable()
        before, coming, done = self.accepted_bytes, iter(pieces), False
        try:
            if self.stamps is not None:
                for index, piece in enumerate(coming):
                    await self._send_all(memoryview(piece), first=index == 0)
            rest = self._send_turn(coming, first=True)
            while rest is not None:
                if self._send_credit > 0:
                    await self._wait(anyio.wait_writable)
                else:
                    await loop_turn()
                self._send_credit = _TURN_BYTES
                first = self.accepted_bytes == before
                rest = self._send_turn(chain((rest,), coming), first=first)
            done = True
        except OSError as exc:
            raise self._lost(exc, Phase.SEND) from exc
        finally:
            self.broken = self.broken or not done

    def send_whole(self, data: Buffer) -> bool:
        """Send without waiting; see `PromptStream`."""
        count = self.send_promptly(data)
        if count == len(data):
            return True
        self._prompt_rest, self._prompt_begun = memoryview(data)[count:], count > 0
        return False

    async def send_rest(self) -> None:
        """Send what `send_whole` has left; see `PromptStream`."""
        self._check_sendable()
        rest, self._prompt_rest = self._prompt_rest, memoryview(b"")
        await self._send_all(rest, first=not self._prompt_begun)

    def begin_bulk(self) -> bool:
        """Nothing is to be done for `send_file`; see `BulkStream`."""
        return True

    async def send_file(self, fd: int, offset: int, count: int) -> int:
        """Send a range of a file from the page cache, without a copy in Python; see `BulkStream`.

        Raises:
            ConnectionLost: the connection broke.
            SourceError: the file cannot be read.
        """
        self._check_sendable()
        sent, done = 0, False
        try:
            while sent < count:
                taken = await self._send_piece(
                    fd, offset + sent, min(count - sent, PIECE_BYTES), first=sent == 0
                )
                if taken == 0:
                    break
                sent += taken
            done = True
        finally:
            self.broken = self.broken or not done
        return sent

    async def receive(self, max_bytes: int = _RECEIVE_BYTES) -> bytes:
        """Return at least one byte, or `b""` at end of file; see `ByteStream.receive`."""
        while (data := await self._receive(max_bytes, inf)) is None:
            pass
        return data

    def receive_until(self, until_s: float) -> Coroutine[object, object, bytes | None]:
        """The same up to a time; see `ByteStream.receive_until`."""
        return self._receive(_RECEIVE_BYTES, until_s)

    async def receive_each(self, take: Take) -> None:
        """Give everything that arrives to `take`; see `ByteStream.receive_each`."""
        self._check_open()
        taker = _Taker(take)
        while taker.wants_more:
            data = self.receive_nowait(_RECEIVE_BYTES)
            if data is not None:
                taker.take(data)
                await self._spend_turn(len(data))
                continue
            self._taker, self._wanted_bytes = taker, _RECEIVE_BYTES
            try:
                await self._wait_readable(inf)
                self._check_open()
            finally:
                self._taker = None
        if taker.failure is not None:
            raise taker.failure

    def send_nowait(self, data: Buffer) -> int:
        """Give what the operating system takes at once; see `LayerableStream.send_nowait`."""
        if self._closed or self.broken:
            self._check_sendable()
        try:
            count = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as exc:
            self.broken = True
            raise self._lost(exc, Phase.SEND) from exc
        self.wire.sent_bytes += count
        return count

    def send_promptly(self, data: Buffer) -> int:
        """`send_nowait`, counted and timed like `send`; see `LayerableStream.send_promptly`."""
        before = time.monotonic_ns()
        count = self.send_nowait(data)
        if count:
            self.write_started_ns, self.write_ended_ns = before, time.monotonic_ns()
            self.accepted_bytes += count
        return count

    def receive_nowait(self, max_bytes: int = 65536) -> bytes | None:
        """Return what is there, None if nothing; see `LayerableStream.receive_nowait`."""
        if self._closed:
            self._check_open()
        arrived, self._arrived = self._arrived, None
        if arrived is None:
            arrived = self._read(max_bytes)
        if arrived is None:
            return None
        if isinstance(arrived, OSError):
            raise self._lost(arrived) from arrived
        data = arrived[:max_bytes]
        if len(data) < len(arrived):
            self._arrived = arrived[max_bytes:]
        if not data and self._failure is not None:
            # The kernel tells an error once. It told `send`, so to `recv` the end looks orderly.
            raise self._lost(self._failure) from self._failure
        return data

    def close(self) -> None:
        """Close at once and wake who waits; see `ByteStream.close`."""
        if self._closed:
            return
        self._closed = True
        if self._watch is not None:
            self._watch.close()
        if self._waiting:
            try:
                anyio.notify_closing(self._sock)
            except anyio.NoEventLoopError:  # the loop is gone, and its waiters with it
                self._waiting = 0
        self._release()

    def is_idle_and_alive(self) -> bool:
        """Whether the peer has neither closed nor sent anything; see `ByteStream`."""
        if self._closed or self.broken or self._arrived is not None:
            return False
        if self._poll is not None and not self._poll.poll(0):
            return True
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    def unacked_bytes(self) -> int | None:
        """Bytes written and not acknowledged; None when the kernel cannot tell, or after close."""
        return None if self._closed else read_unacked_bytes(self._sock)

    def tcp_info(self) -> bytes | None:
        """The kernel's view of the connection; None when it has none, or after close."""
        return None if self._closed else read_tcp_info(self._sock)

    # --- sending ------------------------------------------------------------------------------

    async def _send_all(self, rest: memoryview, *, first: bool) -> None:
        try:
            while rest:
                piece, flags = (rest, 0) if self.stamps is None else self.stamps.cut(rest)
                rest = rest[await self._write(self._sock.send, piece, flags, first=first) :]
                first = False
        except OSError as exc:
            raise self._lost(exc, Phase.SEND) from exc
        finally:
            self.broken = self.broken or bool(rest)

    def _send_turn(self, pieces: Iterator[Buffer], *, first: bool) -> Buffer | None:
        """Send pieces until the turn is over or the kernel takes no more; what is left of the last.

        What a piece costs here it costs with cold caches, for sending has just filled them.
        """
        send, now, credit = self._sock.send, time.monotonic_ns, self._send_credit
        rest: Buffer | None = None
        taken = started = ended = 0
        try:
            for piece in pieces:
                rest = piece
                if credit <= 0:
                    break
                before = now()
                count = send(piece)
                ended = now()
                started = started or before
                taken += count
                credit -= max(count, _CALL_BYTES)
                rest = None if count == len(piece) else memoryview(piece)[count:]
                if rest is not None:
                    break
        except (BlockingIOError, InterruptedError):
            pass
        finally:
            self._send_credit = credit
            if taken:
                self.write_ended_ns = ended
                self.write_started_ns = started if first else self.write_started_ns
                self.accepted_bytes += taken
                self.wire.sent_bytes += taken
        return rest

    async def _send_piece(self, fd: int, offset: int, count: int, *, first: bool) -> int:
        await make_resident(fd, offset, count)
        try:
            if self.stamps is not None:
                self.stamps.pause()
            return await self._write(
                os.sendfile, self._sock.fileno(), fd, offset, count, first=first
            )
        except OSError as exc:
            if is_file_error(exc):
                raise unreadable(exc) from exc
            if not is_unsupported(exc):
                raise self._lost(exc, Phase.SEND) from exc
        data = await read_piece(fd, offset, count)
        if not data:
            return 0
        try:
            return await self._write(self._sock.send, data, first=first)
        except OSError as exc:
            raise self._lost(exc, Phase.SEND) from exc

    async def _write(
        self, write: Callable[[*Arguments], int], *arguments: *Arguments, first: bool
    ) -> int:
        """Make one write system call succeed, however long that takes, and account for it.

        Being cancelled before anything was taken costs nothing: the wait and the turn come first.
        """
        if self._send_credit <= 0:
            await loop_turn()
            self._send_credit = _TURN_BYTES
        while True:
            before = time.monotonic_ns()
            try:
                count = write(*arguments)
            except (BlockingIOError, InterruptedError):
                await self._wait(anyio.wait_writable)
                self._send_credit = _TURN_BYTES
            else:
                break
        if count:
            self.write_ended_ns = time.monotonic_ns()
            if first:
                self.write_started_ns = before
            self.accepted_bytes += count
            self.wire.sent_bytes += count
            self._send_credit -= max(count, _CALL_BYTES)
        return count

    # --- receiving ----------------------------------------------------------------------------

    async def _receive(self, max_bytes: int, until_s: float) -> bytes | None:
        if self._receive_credit <= 0:
            await loop_turn()
            self._receive_credit = _TURN_BYTES
        while self._has_nothing() or (data := self.receive_nowait(max_bytes)) is None:
            self._wanted_bytes = max_bytes
            if not await self._wait_readable(until_s):
                return None
            self._receive_credit = _TURN_BYTES
        self._receive_credit -= max(len(data), _CALL_BYTES)
        return data

    def _has_nothing(self) -> bool:
        """Whether a read would certainly find nothing, for an exception costs more than a look."""
        if self._poll is None or self._closed or self._arrived is not None:
            return False
        return not self._poll.poll(0)

    async def _spend_turn(self, byte_count: int) -> None:
        """Let other tasks have theirs after so many bytes were received."""
        self._receive_credit -= max(byte_count, _CALL_BYTES)
        if self._receive_credit <= 0:
            await loop_turn()
            self._receive_credit = _TURN_BYTES

    def _read(self, max_bytes: int) -> bytes | OSError | None:
        """Make the system call; None when nothing has arrived."""
        try:
            data = self._sock.recv(max_bytes)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as exc:
            return exc
        self.read_ns = time.monotonic_ns()
        self.wire.received_bytes += len(data)
        return data

    def _take_in(self) -> bool:
        """Read for who waits; whether there was anything."""
        if self.stamps is not None:
            # They make the socket look readable until they are taken.
            self.stamps.drain()
        self._sent_before_bytes = self.wire.sent_bytes
        arrived = self._read(self._wanted_bytes)
        if self._taker is not None and arrived and isinstance(arrived, bytes):
            return not self._taker.take(arrived)
        self._arrived = arrived
        return arrived is not None

    def _has_more(self) -> bool:
        """Whether more has come while something was taken.

        A server says several things one after the other. A look costs less than a turn of the event
        loop; but the answer to what was just sent takes its time.
        """
        if self._closed or self._poll is None or self.stamps is not None:
            return False
        return self.wire.sent_bytes == self._sent_before_bytes and bool(self._poll.poll(0))

    def _wait_readable(self, until_s: float) -> Awaitable[bool]:
        """What to await for something to read, or for `close`: False when it is too late."""
        if self._watch is None and self._watchable:
            self._watch = standing_watch(self._sock, self._take_in, self._has_more)
            self._watchable = self._watch is not None
        if self._watch is not None:
            return self._watch.wait(until_s)
        return self._wait_unwatched(until_s)

    async def _wait_unwatched(self, until_s: float) -> bool:
        if until_s == inf:
            await self._wait(anyio.wait_readable)
            return True
        with anyio.CancelScope(deadline=until_s):
            await self._wait(anyio.wait_readable)
            return True
        return False

    # --- waiting, closing, failing ------------------------------------------------------------

    async def _wait(self, wait: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._waiting += 1
        try:
            await wait(self._sock)
        except anyio.ClosedResourceError as exc:
            raise lost(_CLOSED_HERE, self.peer) from exc
        finally:
            self._waiting = max(self._waiting - 1, 0)
            self._release()
        self._check_open()
        if self.stamps is not None:
            # They wake whoever waits, until they are taken.
            self.stamps.drain()

    def _release(self) -> None:
        """Give the descriptor back once closed and nobody waits on it any more.

        Not earlier: anyio's waiter on asyncio deregisters the descriptor's number when it wakes up
        (seen in 4.16), and by then that number may belong to the next connection.
        """
        if self._closed and not self._waiting:
            self._sock.close()

    def _check_open(self) -> None:
        if self._closed:
            raise lost(_CLOSED_HERE, self.peer)

    def _check_sendable(self) -> None:
        self._check_open()
        if self.broken:
            raise lost("an earlier write did not complete", self.peer, phase=Phase.SEND)

    def _lost(self, exc: OSError, phase: Phase | None = None) -> ConnectionLost:
        # EPIPE says that the peer had ended the stream in order (or repeats an earlier error);
        # everything else means that an end of file is not to be believed.
        if exc.errno != errno.EPIPE and self._failure is None:
            self._failure = exc
        return connection_lost(exc, self.peer, phase=phase)


class _Taker:
    """Takes what arrives, and keeps what that raises for the task that waits."""

    __slots__ = ("_take", "failure", "wants_more")

    def __init__(self, take: Take) -> None:
        self._take = take
        self.wants_more = True
        self.failure: Exception | None = None

    def take(self, data: bytes) -> bool:
        """Take bytes that were read, `b""` at end of file; whether more is wanted."""
        try:
            self.wants_more = self._take(data) and bool(data)
        except Exception as exc:  # noqa: BLE001 - an event loop would only log it
            self.wants_more, self.failure = False, exc
        return self.wants_more


def _poll_of(sock: socket.socket) -> select.poll | None:
    """What tells whether there is anything to read, without an exception; None on Windows."""
    if not hasattr(select, "poll"):
        return None
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll


async def connect_tcp(
    address: str,
    port: int,
    *,
    stamped: bool = False,
    options: SocketOptions = DEFAULT_OPTIONS,
) -> TcpStream:
    """Connect to one IP address. Cancelled or failed, it leaves nothing open.

    Args:
        address: IP address text.
        port: TCP port.
        stamped: whether the kernel is to note when what is sent leaves and arrives, if it can.
        options: where the socket leaves from, and how its packets are treated.

    Raises:
        ConnectError: this host cannot do what `options` say.
        OSError: as the operating system put it.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)  # not inheritable (PEP 446)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        prepare(sock, options)
        bind_local(sock, options)
        try:
            sock.connect((address, port))
        except (BlockingIOError, InterruptedError):
            await anyio.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if sock.getsockname()[:2] == (address, port):
            # A port of our own ephemeral range that nobody listens on can be connected to itself
            # (simultaneous open, RFC 9293 §3.5).
            code = errno.ECONNREFUSED
        _raise_for(code)
        stamps = stamp_transmissions(sock) if stamped else None
        return TcpStream(sock, (address, port), stamps)
    except BaseException:
        sock.close()
        raise


def _raise_for(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))
