"""The byte-stream interface that TCP, TLS and the virtual network implement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..buffers import Buffer
from ..facts import TlsFacts
from .transmit_stamps import TransmitStamps

Take = Callable[[bytes], bool]
"""Takes bytes that have arrived, and says whether it wants more; it must not wait."""

#: What every room has place for.
LONGEST_FILL_BYTES = 264 * 1024


@dataclass(slots=True)
class WireCounters:
    """Bytes that crossed the socket, TLS records included."""

    sent_bytes: int = 0
    received_bytes: int = 0


class ByteStream(Protocol):
    """A connected byte stream. One task sends and another receives at the same time."""

    wire: WireCounters
    stamps: TransmitStamps | None
    """When the kernel sent the wire's bytes; None unless asked for, and where it cannot say."""
    peer: tuple[str, int]
    """Address really talked to (a proxy's, when there is one)."""
    local: tuple[str, int]
    tls: TlsFacts | None
    """What the handshake agreed on; None on cleartext."""
    truncated: bool
    """The end of file came without TLS's close_notify, so it may be an attacker's (RFC 8446 §6.1):
    a body that ends with the connection must be refused. Always False on cleartext."""

    write_started_ns: int
    """`monotonic_ns` just before the first successful write syscall of the last `send`."""
    write_ended_ns: int
    """`monotonic_ns` just after the last successful write syscall so far."""
    read_ns: int
    """`monotonic_ns` just after the read syscall that produced the bytes `receive` returned."""
    accepted_bytes: int
    """Caller's (plaintext) bytes the operating system has taken since the stream began. Exact
    after each `send`; after a cancelled or failed one a lower bound on TLS (whole writes)."""

    async def send(self, data: Buffer) -> None:
        """Give all of `data` to the operating system.

        A failed or cancelled send leaves the stream broken: it can only be closed.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return at least one byte, or `b""` at end of file.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...

    async def receive_until(self, until_s: float) -> bytes | None:
        """The same up to a time of the event loop's clock; None when nothing has come by then.

        Cheaper than a cancel scope around `receive`, where the event loop allows it.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...

    async def receive_each(self, take: Take) -> None:
        """Give everything that arrives to `take`, until it wants no more or the end has come.

        `take` gets what `receive` would return, and says whether it wants more; it is not asked
        after `b""`. Where the event loop allows it, that happens as soon as the loop tells of the
        bytes, without waking the task that waits here. What it raises comes out.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...

    def close(self) -> None:
        """Close at once; idempotent, never blocks, wakes a task waiting in send or receive."""
        ...

    def is_idle_and_alive(self) -> bool:
        """Whether the peer has neither closed nor sent unasked-for bytes. Never blocks.

        TLS housekeeping (session tickets) does not count as bytes. False when broken or closed.
        """
        ...

    def unacked_bytes(self) -> int | None:
        """Wire bytes written and not yet acknowledged by the peer's transport; None if unknown."""
        ...

    def tcp_info(self) -> bytes | None:
        """The kernel's view of the connection, for `TcpInfo.of`; None where there is none."""
        ...


class LayerableStream(ByteStream, Protocol):
    """A byte stream TLS can be laid over: it also moves bytes without waiting.

    TLS needs that where it must not wait: housekeeping that falls due while receiving, the
    close_notify of `close`, and the liveness check of an idle connection.
    """

    async def send_each(self, pieces: Iterable[Buffer]) -> None:
        """`send` several pieces, each of which is made when the one before it was taken.

        `write_started_ns` is about the first one. What making them raises comes out, and leaves
        the stream broken.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...

    def send_nowait(self, data: Buffer) -> int:
        """Give what the operating system takes at once; return how much, 0 if nothing.

        Leaves the moments of `send` and `accepted_bytes` alone: they are about the caller's bytes.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...

    def send_promptly(self, data: Buffer) -> int:
        """`send_nowait`, counted and timed like `send`."""
        ...

    def receive_nowait(self, max_bytes: int = 65536) -> bytes | None:
        """Return what is there, `b""` at end of file, None if nothing has arrived.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...


@runtime_checkable
class BulkStream(Protocol):
    """A byte stream that has a faster way for long bodies."""

    def begin_bulk(self) -> bool:
        """Get ready to send a long body; False when there is no faster way. Costs some 100 µs."""
        ...

    async def send_file(self, fd: int, offset: int, count: int) -> int:
        """Send a range of a regular file, after `begin_bulk`.

        Counted and timed like `send`; but `stamps` knows nothing of it, so no request may end with
        it. The caller keeps `fd` open until this has returned, which it does, cancelled too, only
        when no thread uses it any more.

        Returns:
            How many bytes were sent: `count`, or fewer when the file ended before.

        Raises:
            ConnectionLost: the connection broke.
            SourceError: the file cannot be read.
        """
        ...


@runtime_checkable
class PromptStream(Protocol):
    """A byte stream on which little is written without waiting for anyone, as a rule."""

    prompt_bytes: int
    """About so much at a time; 0 when it is not possible."""

    def send_whole(self, data: Buffer) -> bool:
        """Give data to the operating system, counted and timed like `send`, without waiting.

        Returns:
            Whether it took everything. If not, `send_rest` has to follow before anything else is
            sent.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...

    async def send_rest(self) -> None:
        """Wait until the operating system has taken what `send_whole` left.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...


class PlaintextRoom(Protocol):
    """Where plaintext is put before it is encrypted, in pieces."""

    @property
    def byte_count(self) -> int:
        """How much fits."""
        ...

    def places(self, start: int, stop: int) -> list[memoryview]:
        """Where the bytes from `start` to `stop` are to be written."""
        ...

    def put(self, start: int, data: Buffer) -> None:
        """Write bytes from `start` on."""
        ...


Fill = Callable[[PlaintextRoom], None]


@runtime_checkable
class FilledStream(Protocol):
    """A byte stream whose faster way is to have plaintext written where it is encrypted from."""

    def begin_bulk(self) -> bool:
        """See `BulkStream`."""
        ...

    async def send_filled(self, byte_count: int, fill: Fill) -> None:
        """Send what `fill` writes, after `begin_bulk`; counted and timed like `send`.

        What `fill` raises comes out, and nothing was sent then.

        Args:
            byte_count: how much it is; at most `LONGEST_FILL_BYTES`.
            fill: writes it into the room, from its beginning.

        Raises:
            ConnectionLost: the connection broke.
        """
        ...
