"""A UDP socket for QUIC: batches in both directions, honest about the path, never blocking.

The socket is not connected, because QUIC may move to another address of the server (RFC 9000
§9.6). An unconnected socket hears of ICMP errors only through the error queue (IP_RECVERR, Linux);
that is how a dead port fails at once. Datagrams are never fragmented. The kernel notes when each
one arrived (SO_TIMESTAMPNS, Linux), so that a busy program is not taken for a slow network. It
begins to some milliseconds after the first socket of the system has asked, and says until then when
a datagram was read.

Many datagrams cross the border to the kernel in one system call: UDP_SEGMENT on the way out
(measured: 2-6 times the datagrams per second), UDP_GRO on the way in. A socket or network card
that refuses the former falls back for good.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import anyio

from ..buffers import Buffer
from ..config import SocketOptions
from ..errors import ConnectError, ConnectionLost
from ..protocols.machine import Datagram
from .kernel_clock import SO_TIMESTAMPNS, ClockPair, epoch_ns
from .socket_options import DEFAULT_OPTIONS, bind_local, prepare
from .standing_watch import StandingWatch, standing_watch

Address = tuple[str, int]

_LINUX = sys.platform == "linux"
# linux/udp.h, linux/in.h, linux/in6.h: names that CPython 3.11 lacks.
_SOL_UDP = 17
_SOL_SOCKET = socket.SOL_SOCKET
_UDP_SEGMENT = 103
_UDP_GRO = 104
_IP_MTU_DISCOVER = 10
_IP_PKTINFO = 8
_IP_RECVERR = 11
_IPV6_MTU_DISCOVER = 23
_IPV6_RECVERR = 25
_IPV6_RECVPKTINFO = 49
_IPV6_PKTINFO = 50
#: linux/in.h, linux/in6.h: where the address a datagram was sent to lies in struct in_pktinfo (the
#: header's, after the interface and the local one), and in struct in6_pktinfo.
_ARRIVED_AT = {
    (socket.IPPROTO_IP, _IP_PKTINFO): slice(8, 12),
    (socket.IPPROTO_IPV6, _IPV6_PKTINFO): slice(0, 16),
}
_PMTUDISC_DO = 2
# linux/errqueue.h: struct sock_extended_err {u32 errno; u8 origin, type, code, pad; u32 info, data}
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_SEGMENT_SIZE = struct.Struct("=H")
_GRO_SIZE = struct.Struct("=i")

#: udp(7): what one segmented send may hold; 65 000 leaves room for the headers.
_MAX_SEGMENTS = 64
MAX_SEGMENTED_BYTES = 65_000
#: Receive calls per wake-up, so that a flood cannot keep other tasks from running.
_BATCH = 64
_RECEIVE_BYTES = 65_535
#: Host and port, of what a socket says of a sender.
_ADDRESS_PARTS = 2
_ANCILLARY_BYTES = 256
#: Asked of the kernel, which caps it at net.core.[rw]mem_max: a burst must not be dropped while
#: this process does something else for some milliseconds.
_SOCKET_BUFFER_BYTES = 2 * 1024 * 1024

_SEGMENTATION_REFUSED = frozenset((errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP))
#: No way out at this moment, or none from the address the socket is bound to: the same as lost, as
#: far as sending is concerned. Whoever has a connection decides for how long to hope.
_NO_WAY_OUT = frozenset(
    (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EINVAL)
)
#: Dropped by this host for want of memory: the same as lost on the way.
_DROPPED = frozenset((errno.ENOBUFS, errno.ENOMEM))
#: What waiting on a socket raises that is, or was, closed under it: by backend.
_CLOSED = (anyio.ClosedResourceError, OSError, ValueError)


class Outgoing(Protocol):
    """A datagram to send."""

    @property
    def data(self) -> bytes:
        """Payload."""
        ...

    @property
    def address(self) -> Address:
        """Where it goes."""
        ...


class OutgoingTrain(Protocol):
    """Datagrams of one size, side by side in one buffer; the last one may be smaller."""

    @property
    def data(self) -> memoryview:
        """All of them."""
        ...

    @property
    def datagram_bytes(self) -> int:
        """Size of each."""
        ...

    @property
    def count(self) -> int:
        """How many they are."""
        ...

    @property
    def address(self) -> Address:
        """Where they go."""
        ...


@dataclass(frozen=True, slots=True)
class PathError:
    """The path, or this host, said that a datagram did not get through."""

    errno: int
    address: Address | None
    """Where the datagram was going; None when not known."""
    mtu_bytes: int | None = None
    """The largest IP packet that fits, with EMSGSIZE."""
    unsent: bool = False
    """This host knew no way to the address."""


@dataclass(slots=True)
class DatagramCounters:
    """What crossed the socket: UDP payloads."""

    sent_datagrams: int = 0
    sent_bytes: int = 0
    received_datagrams: int = 0
    received_bytes: int = 0


class DatagramSocket:
    """A UDP socket of one family; implements `DatagramChannel`."""

    overhead_bytes = 0

    def __init__(
        self,
        address: Address,
        *,
        segmentation: bool = _LINUX,
        options: SocketOptions = DEFAULT_OPTIONS,
    ) -> None:
        """Open a socket to talk to an address.

        Args:
            address: IP address text and port of the server.
            segmentation: whether to try UDP_SEGMENT.
            options: where the socket leaves from, and how its packets are treated.

        Raises:
            ConnectError: this host cannot do what `options` say.
            OSError: there is no route to the address, or no more sockets.
        """
        self.peer = address
        self.counters = DatagramCounters()
        self.write_started_ns = 0
        """Just before the first system call of the last `send`."""
        self.write_ended_ns = 0
        """Just after the last successful one."""
        self.read_ns = 0
        """Just after the system call that produced what `receive` returned last."""
        self.arrived_ns: list[int] = []
        """When the kernel received each of them; where it does not say, when it was read."""
        self.on_departure: Callable[[int, int], None] = lambda _count, _at: None
        """Called after each system call that took datagrams: how many, and the `monotonic_ns` just
        before it. Datagrams dropped on the way to it are counted, too."""
        self.arrived_elsewhere = False
        """Something has arrived at another address of this host than `local` (Linux)."""
        self._options = options
        self._segmentation = segmentation
        self._errors: list[PathError] = []
        self._arrived: list[tuple[bytes, Address]] = []
        """What was read while somebody waited, not handed out yet."""
        self._watch: StandingWatch | None = None
        self._watchable = True
        self._buffer = memoryview(bytearray(_RECEIVE_BYTES))
        self._emptied_ns = 0
        """Whatever is still to be read arrived after this."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            _configure(self._socket)
            prepare(self._socket, options)
            source = _source_address(family, address, options)
            if not bind_local(self._socket, options):
                self._socket.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104  # the kernel picks the source per destination; QUIC authenticates
            self.local: Address = (source, self._socket.getsockname()[1])
            """Our address as the server sees it, unless something translates it; `find_source`
            looks whether it still is."""
            self._local_packed = _packed(family, source)
        except BaseException:
            self._socket.close()
            raise

    async def send(self, datagrams: Sequence[Outgoing]) -> None:
        """Give datagrams to the operating system, in order.

        Datagrams that are too large for the path are dropped and told of by `take_errors`.
        Cancelled, what was not sent yet is dropped.

        Raises:
            ConnectionLost: this host cannot send to the address at all.
        """
        rest = self.send_nowait(datagrams)
        started = self.write_started_ns
        while rest:
            await self._wait_writable()
            rest = self.send_nowait(rest)
        self.write_started_ns = started

    async def send_train(self, train: OutgoingTrain) -> None:
        """Give a train to the operating system, in few calls if it can; otherwise as `send`."""
        started = time.monotonic_ns()
        size, left, data = train.datagram_bytes, train.count, train.data
        most = min(_MAX_SEGMENTS, MAX_SEGMENTED_BYTES // size) or 1
        while left and (self._segmentation or left == 1):
            count = min(left, most)
            before = time.monotonic_ns()
            sent = self._send_segments([data[: count * size]], size, count, train.address)
            if sent:
                self.on_departure(sent, before)
                data, left = data[sent * size :], left - sent
            elif sent is None:
                await self._wait_writable()
        if left:
            rest = range(0, len(data), size)
            await self.send([Datagram(bytes(data[at : at + size]), train.address) for at in rest])
        self.write_started_ns = started

    def send_nowait(self, datagrams: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Send what the socket takes without waiting, and return the rest; see `send`."""
        self.write_started_ns = time.monotonic_ns()
        position = 0
        while position < len(datagrams):
            count = self._run_length(datagrams, position)
            before = time.monotonic_ns()
            sent = self._send_run(datagrams[position : position + count])
            if sent is None:
                return datagrams[position:]
            if sent:
                self.on_departure(sent, before)
            position += sent
        return ()

    async def receive(self) -> list[tuple[bytes, Address]]:
        """Wait for datagrams and take those that have arrived.

        The list is empty when there is only an error to take, or when `receive_nowait` took them.

        Raises:
            ConnectionLost: the socket was closed.
        """
        self._check_open()
        if self._watch is None and self._watchable:
            self._watch = standing_watch(self._socket, self._take_in)
            self._watchable = self._watch is not None
        if self._watch is None:
            try:
                await anyio.wait_readable(self._socket)
            except _CLOSED as exc:
                raise ConnectionLost("the socket was closed") from exc
            return self._receive_batch()
        if not self._arrived and not self._errors:
            await self._watch.wait()
            self._check_open()
        return self._take_arrived()

    def receive_nowait(self) -> list[tuple[bytes, Address]]:
        """Take the datagrams that have arrived; while another task waits in `receive`, too.

        Raises:
            ConnectionLost: the socket was closed.
        """
        self._check_open()
        return self._take_arrived() if self._arrived else self._receive_batch()

    async def wait_ended(self) -> None:
        """Wait for ever: a socket has no end of its own."""
        await anyio.sleep_forever()

    def take_errors(self) -> list[PathError]:
        """What went wrong since the last call."""
        errors, self._errors = self._errors, []
        return errors

    def find_source(self, address: Address) -> bool:
        """Look which address this host sends from to `address`; True when that has changed.

        Unless the caller wanted a certain one, the socket is bound to none, so the host has changed
        it already.

        Raises:
            OSError: there is no route.
        """
        self.arrived_elsewhere = False
        if self._options.local_address is not None:
            return False
        try:
            source = _source_address(self._socket.family, address, self._options)
        except ConnectError as exc:
            raise OSError(errno.ENETDOWN, str(exc)) from exc  # the interface has gone
        if source == self.local[0]:
            return False
        self.local = (source, self.local[1])
        self._local_packed = _packed(self._socket.family, source)
        return True

    def close(self) -> None:
        """Close; idempotent. A task waiting in `send` or `receive` is woken."""
        if self._socket.fileno() >= 0:
            if self._watch is not None:
                self._watch.close()
            try:
                anyio.notify_closing(self._socket)
            finally:
                self._socket.close()

    # --- sending ------------------------------------------------------------------------------

    async def _wait_writable(self) -> None:
        try:
            await anyio.wait_writable(self._socket)
        except _CLOSED as exc:
            raise ConnectionLost("the socket was closed") from exc

    def _run_length(self, datagrams: Sequence[Outgoing], start: int) -> int:
        """How many datagrams one segmented send can hold: equal sizes, the last may be smaller."""
        if not self._segmentation:
            return 1
        first = datagrams[start]
        size = total = len(first.data)
        end = start + 1
        limit = min(len(datagrams), start + _MAX_SEGMENTS)
        while end < limit and datagrams[end].address == first.address:
            length = len(datagrams[end].data)
            total += length
            if length > size or total > MAX_SEGMENTED_BYTES:
                break
            end += 1
            if length < size:
                break
        return end - start

    def _send_run(self, run: Sequence[Outgoing]) -> int | None:
        """Send a run; how many of it are done with, or None when the socket is full."""
        data = [item.data for item in run]
        return self._send_segments(data, len(data[0]), len(data), run[0].address)

    def _send_segments(
        self, data: Sequence[Buffer], segment_bytes: int, count: int, address: Address
    ) -> int | None:
        """Send datagrams that lie one after the other; see `_send_run`."""
        control = _segmented(segment_bytes) if count > 1 else ()
        try:
            try:
                sent = self._socket.sendmsg(data, control, 0, address)
            except OSError as exc:
                # An ICMP error waiting on the socket is reported in place of the send.
                if isinstance(exc, BlockingIOError) or not self._drain_error_queue():
                    raise
                sent = self._socket.sendmsg(data, control, 0, address)
        except BlockingIOError:
            return None
        except OSError as exc:
            return self._refused(exc, count, address)
        self.write_ended_ns = time.monotonic_ns()
        self.counters.sent_datagrams += count
        self.counters.sent_bytes += sent
        return count

    def _refused(self, exc: OSError, count: int, address: Address) -> int:
        """What a failed send means; how many datagrams to skip."""
        if count > 1 and exc.errno in _SEGMENTATION_REFUSED:
            self._segmentation = False
            return 0
        if exc.errno == errno.EMSGSIZE:
            self._errors.append(PathError(errno.EMSGSIZE, address))
            return count
        if exc.errno in _NO_WAY_OUT:
            self._errors.append(PathError(exc.errno or 0, address, unsent=True))
            return count
        if exc.errno in _DROPPED:
            return count
        raise ConnectionLost(f"cannot send to {address[0]}: {exc.strerror}") from exc

    # --- receiving ----------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise ConnectionLost("the socket was closed")

    def _take_arrived(self) -> list[tuple[bytes, Address]]:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            self.arrived_ns = []
        return arrived

    def _take_in(self) -> bool:
        """Read for who waits; whether there is anything to be told."""
        self._arrived = self._receive_batch()
        return bool(self._arrived or self._errors)

    def _receive_batch(self) -> list[tuple[bytes, Address]]:
        received: list[tuple[bytes, Address]] = []
        stamps: list[int | None] = []
        began_ns, emptied_ns = time.monotonic_ns(), self._emptied_ns
        receive, buffers = self._socket.recvmsg_into, [self._buffer]
        for _ in range(_BATCH):
            try:
                count, control, _, source = receive(buffers, _ANCILLARY_BYTES)
            except BlockingIOError:
                self._emptied_ns = began_ns
                break
            except OSError as exc:
                self._note_receive_error(exc)
                continue
            self.counters.received_bytes += count
            # IPv6's has two more.
            address = source if len(source) == _ADDRESS_PARTS else source[:_ADDRESS_PARTS]
            size, stamp = self._described(control)
            data = self._buffer[:count].tobytes()
            if 0 < size < count:
                parts = range(0, count, size)
                received += [(data[start : start + size], address) for start in parts]
                stamps += [stamp] * len(parts)
            else:
                received.append((data, address))
                stamps.append(stamp)
        self.arrived_ns = []
        if received:
            self.counters.received_datagrams += len(received)
            self.arrived_ns = ClockPair().moments_ns(stamps, not_before_ns=emptied_ns)
            self.read_ns = time.monotonic_ns()
        return received

    def _described(self, control: list[tuple[int, int, bytes]]) -> tuple[int, int | None]:
        """Of the datagrams of one call: the size of each if they are many, and when they arrived.

        The latter on the kernel's clock.
        """
        size, stamp = 0, None
        for level, kind, data in control:
            if level == _SOL_SOCKET:
                stamp = epoch_ns(data) if kind == SO_TIMESTAMPNS else stamp
            elif level == _SOL_UDP:
                if kind == _UDP_GRO and len(data) >= _GRO_SIZE.size:
                    size = _GRO_SIZE.unpack_from(data)[0]
            elif (place := _ARRIVED_AT.get((level, kind))) is not None:
                self.arrived_elsewhere |= data[place] != self._local_packed
        return size, stamp

    def _note_receive_error(self, exc: OSError) -> None:
        # Nothing in the queue: a platform that reports errors without saying for which address.
        if not self._drain_error_queue() and exc.errno is not None:
            self._errors.append(PathError(exc.errno, None))

    def _drain_error_queue(self) -> bool:
        """Take what the kernel queued about failed datagrams; False when there was nothing."""
        if not _LINUX:
            return False
        found = False
        while True:
            try:
                _, control, _, target = self._socket.recvmsg(
                    0, _ANCILLARY_BYTES, socket.MSG_ERRQUEUE
                )
            except OSError:
                return found
            found = True
            self._errors.extend(_queued_errors(control, (target[0], target[1])))


def _queued_errors(control: list[tuple[int, int, bytes]], target: Address) -> list[PathError]:
    errors: list[PathError] = []
    for level, kind, data in control:
        if (level, kind) in (
            (socket.IPPROTO_IP, _IP_RECVERR),
            (socket.IPPROTO_IPV6, _IPV6_RECVERR),
        ) and len(data) >= _EXTENDED_ERROR.size:
            number, _, _, _, _, info, _ = _EXTENDED_ERROR.unpack_from(data)
            mtu = info if number == errno.EMSGSIZE else None
            errors.append(PathError(number, target, mtu))
    return errors


@lru_cache(maxsize=16)
def _segmented(segment_bytes: int) -> tuple[tuple[int, int, bytes]]:
    """The control message with which the kernel cuts what it is given."""
    return ((_SOL_UDP, _UDP_SEGMENT, _SEGMENT_SIZE.pack(segment_bytes)),)


def _packed(family: int, address: str) -> bytes:
    return socket.inet_pton(family, address.partition("%")[0])


def _source_address(family: int, address: Address, options: SocketOptions) -> str:
    """The address this host would send from; connecting a UDP socket sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        prepare(probe, options)
        if options.local_address is not None:
            bind_local(probe, replace(options, local_address=(options.local_address[0], 0)))
        probe.connect(address)
        return str(probe.getsockname()[0])


def _configure(sock: socket.socket) -> None:
    sock.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
    if not _LINUX:
        return
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DO)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)
    if sock.family == socket.AF_INET6:
        arrival = (socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO)
    else:
        arrival = (socket.IPPROTO_IP, _IP_PKTINFO)
    for level, option in ((_SOL_UDP, _UDP_GRO), (socket.SOL_SOCKET, SO_TIMESTAMPNS), arrival):
        # Kernels before 5.0 give one datagram per call.
        with suppress(OSError):
            sock.setsockopt(level, option, 1)
