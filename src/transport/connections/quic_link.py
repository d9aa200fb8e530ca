"""A QUIC machine joined to its socket: one task receives, one sends and minds the timers.

The two can be stopped and started again, so that the handshake runs them for itself and the
connection runs them for the rest of its life. Whoever else changes the machine calls `kick`; many
kicks make one pass of the sender, or none if that would change nothing. Who wants to wait for no
pass calls `flush_now`.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import anyio
from anyio.lowlevel import checkpoint

from ..errors import ConnectionLost
from ..net.bell import Bell, new_bell
from ..net.datagram import Outgoing, PathError
from ..net.datagram_channel import DatagramChannel
from ..net.loop_clock import loop_clock
from ..net.reasons import reason_of
from ..profile.moments import Ns
from ..protocols.events import BodyAcked, Event
from ..protocols.http3 import Http3Machine
from ..protocols.http3_close import CloseCause, CloseKind
from ..protocols.http3_progress import Sent
from ..protocols.machine import Address
from .path_watch import PathWatch

#: Datagrams handled before other tasks get their turn (about 10 ms of work).
_TURN_DATAGRAMS = 64
#: Trains sent before acknowledgements are looked for; each is at most 195 kB and 1 ms of work.
#: More of them fill a receiver's socket buffer and then the window, and both sides wait in turn.
_TRAINS_AT_ONCE = 2
#: How often that is done before other tasks get their turn, and aioquic's own packets: a pass of
#: the event loop costs as much as half a train.
_TURN_ROUNDS = 4
#: Waits shorter than this only let other tasks run. Both event loops sleep whole milliseconds, and
#: a pacer that is asked every millisecond lets 16 datagrams pass: no more than 170 Mbit/s. Gaps
#: this short occur above 100 Mbit/s, where the CPU is busy anyway.
_YIELD_S = 0.0001
#: For how long acknowledgements are collected: event loops sleep no less than the first, and a full
#: window may stay so for the second at the most.
_LEAST_PATIENCE_S, _MOST_PATIENCE_S = 0.001, 0.004
#: ICMP errors without a datagram in between that end an established connection. One alone may be
#: forged or concern a path that has healed; before the first datagram it ends the attempt.
_PATH_ERRORS_TO_DIE = 3
#: A server that has not completed the handshake by then is not there (curl, ngtcp2: the same).
HANDSHAKE_S = 10.0
#: A PING is sent after so much silence while requests run, or after a third of the idle timeout.
KEEP_ALIVE_S = 10.0

EventSink = Callable[[Event, Ns], None]
SentSink = Callable[[list[Sent], Ns, Ns], None]


def now_s() -> float:
    """The clock a link's machine lives by.

    Not the event loop's: uvloop's stands still between two looks for events, and advances by whole
    milliseconds, in which a pacer would let nothing pass and then too much.
    """
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class _Unsent:
    """Datagrams the socket had no room for."""

    datagrams: Sequence[Outgoing]
    sent: list[Sent]
    """What they, and those before them, carry."""
    started_ns: Ns
    """Just before the first of those was sent."""


class QuicLink:
    """Moves datagrams between a machine and a socket."""

    def __init__(self, machine: Http3Machine, channel: DatagramChannel) -> None:
        self.machine = machine
        self.socket = channel
        self.path = PathWatch(machine, channel)
        self.on_event: EventSink = lambda _event, _at: None
        """Called with each event, and when the datagram that caused it was read; an acknowledgement
        with the arrival of the last datagram that was taken together with it."""
        self.on_sent: SentSink = lambda _sent, _started, _ended: None
        """Called after datagrams with stream bytes were given to the operating system: what they
        carried, just before the first and just after the last system call."""
        self.confirmed_ns: Ns | None = None
        """When the server's HANDSHAKE_DONE was read, if that was while the handshake ran."""
        self.socket.on_departure = machine.departed
        self._read_again_s = -inf
        """Until then what arrives is left unread."""
        self._bell: Bell | None = None
        self._stale = True
        """The machine was changed since it was last asked for datagrams."""
        self._rests_until_s = -inf
        """For how long the sender waits to be woken; the past, when it does not."""
        self._unsent: _Unsent | None = None
        self._heard_s = now_s()
        self._handshake_by_s = self._heard_s + HANDSHAKE_S
        self._pinged_s = self._heard_s
        self._path_errors = 0

    def kick(self) -> None:
        """Wake the sender, if the machine may have something for it."""
        if self._has_work:
            self._wake()

    def flush_now(self) -> None:
        """Send what may be sent now, as far as that needs no waiting; the sender does the rest."""
        if self._rests_until_s == -inf or self._unsent or self.machine.has_trains:
            self._wake()
            return
        self._stale = False
        now = now_s()
        ready = self.machine.transmit(now)
        self.machine.end_turn(now)
        sent = self.machine.take_sent()
        if ready:
            try:
                rest = self.socket.send_nowait(ready)
            except ConnectionLost as error:
                self._give_up(error)
                return
            if rest:
                self._unsent = _Unsent(rest, sent, self.socket.write_started_ns)
                self._wake()
            else:
                self._tell_sent(sent)
        self._heed_path()
        self._ring_early()

    async def run(self) -> None:
        """Send and receive until the connection is over."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive)
            tasks.start_soon(self._watch_channel)
            await self._send()
            tasks.cancel_scope.cancel()

    async def flush(self) -> bool:
        """Send what may be sent now; of long bodies one turn, and whether there is more to send."""
        more = self._stale = False
        try:
            if self._unsent is not None:
                await self._flush_unsent(self._unsent)
            await self._flush_datagrams()
            if self.machine.has_trains:
                more = await self._flush_trains()
            self.machine.end_turn(now_s())
        except ConnectionLost as error:
            self.machine.give_up(CloseCause(CloseKind.UNREACHABLE, str(error)))
        self._heed_path()
        return more

    async def _flush_datagrams(self) -> None:
        if not self.machine.has_news:
            return
        ready = self.machine.transmit(now_s())
        sent = self.machine.take_sent()
        if ready:
            await self.socket.send(ready)
            self._tell_sent(sent)

    async def _flush_unsent(self, unsent: _Unsent) -> None:
        """Send what `flush_now` could not, before the machine is asked for more."""
        self._unsent = None
        await self.socket.send(unsent.datagrams)
        self.on_sent(unsent.sent, unsent.started_ns, self.socket.write_ended_ns)

    async def _flush_trains(self) -> bool:
        for _ in range(_TURN_ROUNDS):
            more = await self._flush_round()
            more |= self._take_arrived()
            if not more or self.machine.has_news:
                break
        return more

    async def _flush_round(self) -> bool:
        """Send a few trains; whether there may be more."""
        started_ns: Ns | None = None
        count = 0
        while count < _TRAINS_AT_ONCE and (train := self.machine.next_train(now_s())) is not None:
            await self.socket.send_train(train)
            started_ns = started_ns or self.socket.write_started_ns
            count += 1
        if started_ns is not None:
            self.on_sent(self.machine.take_sent(), started_ns, self.socket.write_ended_ns)
        return count == _TRAINS_AT_ONCE

    def _tell_sent(self, sent: list[Sent]) -> None:
        if sent:
            self.on_sent(sent, self.socket.write_started_ns, self.socket.write_ended_ns)

    def say_goodbye(self) -> None:
        """Close the machine and send its CONNECTION_CLOSE, if the socket takes it at once."""
        self.machine.close()
        ready = self.machine.transmit(now_s())
        try:
            self.socket.send_nowait(ready)
        except ConnectionLost:
            return  # nobody is there to hear it

    def close(self) -> None:
        """Close the socket and write out diagnostics; idempotent."""
        self.machine.finish()
        self.socket.close()
        if self._bell is not None:
            self._bell.close()

    # --- the sender ---------------------------------------------------------------------------

    async def _send(self) -> None:
        bell, clock_s = new_bell(), loop_clock()
        self._bell, self._stale = bell, True
        while True:
            more = self._stale and await self.flush()
            if self.machine.close_cause is not None and self.machine.next_timer_s() is None:
                return
            if more:
                await checkpoint()
                self._stale = True
            # Who kicked while datagrams were sent found nobody waiting.
            elif not self._stale and not await self._rest(bell, clock_s):
                self._stale = True
            self._mind_timers()

    async def _rest(self, bell: Bell, clock_s: Callable[[], float]) -> bool:
        """Wait for a kick, or for what is next to be done; whether it was a kick."""
        self._rests_until_s = self._next_s()
        left_s = self._rests_until_s - now_s()
        try:
            if left_s >= _YIELD_S:
                return await bell.wait(clock_s() + left_s)
            await checkpoint()
            return False
        finally:
            self._rests_until_s = -inf

    @property
    def _has_work(self) -> bool:
        """Whether the sender is needed, or is at work and may have looked already."""
        machine = self.machine
        return self._rests_until_s == -inf or machine.has_news or machine.has_trains

    def _wake(self) -> None:
        self._stale = True
        if self._bell is not None:
            self._bell.ring()

    def _ring_early(self) -> None:
        """Wake the sender from a rest that would be too long now."""
        if self._bell is not None and self._next_s() < self._rests_until_s:
            self._bell.ring()

    def _next_s(self) -> float:
        """When something is to be done without anybody's kick."""
        timer_s = self.machine.next_timer_s()
        handshake_by_s = inf if self.machine.handshake_complete else self._handshake_by_s
        timer_s = inf if timer_s is None else timer_s
        return min(timer_s, self._ping_s, handshake_by_s, self.path.look_s)

    def _mind_timers(self) -> None:
        now = now_s()
        if now < self._next_s():
            return
        # What it leads to is to be sent, also when somebody rang in the same moment.
        self._stale = True
        timer_s = self.machine.next_timer_s()
        if timer_s is not None and now >= timer_s:
            silences = self.machine.silences
            self._deliver(self.machine.handle_timer(now), self.socket.read_ns, self.socket.read_ns)
            if self.machine.silences > silences:
                self.path.look(now)
        if now >= self.path.look_s:
            self.path.look(now)
        if not self.machine.handshake_complete and now >= self._handshake_by_s:
            reason = f"no answer to QUIC within {HANDSHAKE_S:g} s"
            self.machine.give_up(CloseCause(CloseKind.UNREACHABLE, reason))
        if now >= self._ping_s:
            self._pinged_s = now
            self.machine.keep_alive()

    @property
    def _ping_s(self) -> float:
        """When silence becomes a reason to ping; never without requests."""
        if not self.machine.has_requests or not self.machine.handshake_complete:
            return inf
        patience_s = min(KEEP_ALIVE_S, self.machine.idle_timeout_s / 3)
        return max(self._heard_s, self._pinged_s) + patience_s

    # --- the receiver -------------------------------------------------------------------------

    async def _watch_channel(self) -> None:
        try:
            await self.socket.wait_ended()
        except ConnectionLost as error:
            self._give_up(error)

    def _give_up(self, error: ConnectionLost) -> None:
        self.machine.give_up(CloseCause(CloseKind.UNREACHABLE, str(error)))
        self._wake()

    async def _receive(self) -> None:
        while True:
            try:
                batch = await self._arrivals()
            except ConnectionLost as error:
                self._give_up(error)
                return
            arrived_ns, read_ns = self.socket.arrived_ns, self.socket.read_ns
            self._heed_path()
            for start in range(0, len(batch), _TURN_DATAGRAMS):
                if start:
                    await checkpoint()
                turn = slice(start, start + _TURN_DATAGRAMS)
                self._take(batch[turn], arrived_ns[turn], read_ns)
            self.path.heed(now_s())
            if self._has_work:
                self._wake()
            else:
                # Nobody else will look what the connection waits for now.
                self.machine.end_turn(now_s())
                self._ring_early()

    async def _arrivals(self) -> list[tuple[bytes, Address]]:
        """Wait for datagrams, and with patience for more of them."""
        patient = False
        while (left_s := self._read_again_s - now_s()) > 0:
            patient = True
            await anyio.sleep(left_s)
        if patient and (batch := self.socket.receive_nowait()):
            return batch
        return await self.socket.receive()

    def _take_arrived(self) -> bool:
        """Take what has arrived, before the receiver has its turn; whether that is anything."""
        if now_s() < self._read_again_s:
            return False
        batch = self.socket.receive_nowait()
        if batch:
            self._take(batch, self.socket.arrived_ns, self.socket.read_ns)
            self.path.heed(now_s())
        return bool(batch)

    def _take(
        self, batch: Sequence[tuple[bytes, Address]], arrived_ns: Sequence[Ns], read_ns: Ns
    ) -> None:
        now = self._heard_s = now_s()
        self._path_errors = 0
        events = self.machine.receive_batch(batch, now, [at / 1e9 for at in arrived_ns])
        self._deliver(events, read_ns, arrived_ns[-1])
        patience_s = min(self.machine.patience_s(now), _MOST_PATIENCE_S)
        self._read_again_s = now + patience_s if patience_s >= _LEAST_PATIENCE_S else -inf

    def _deliver(self, events: list[Event], read_ns: Ns, arrived_ns: Ns) -> None:
        for event in events:
            self.on_event(event, arrived_ns if isinstance(event, BodyAcked) else read_ns)

    # --- the path -----------------------------------------------------------------------------

    def _heed_path(self) -> None:
        errors = self.socket.take_errors()
        refused = [error.mtu_bytes for error in errors if error.errno == errno.EMSGSIZE]
        if refused:
            # The failed call says nothing of the size that would fit, the error queue does.
            told = [mtu_bytes for mtu_bytes in refused if mtu_bytes is not None]
            ipv6 = ":" in self.path.peer[0]
            self.machine.datagram_refused(min(told, default=None), ipv6=ipv6)
        for error in errors:
            if error.errno == errno.EMSGSIZE:
                continue
            if error.unsent and self.machine.handshake_complete:
                self.path.unsent(OSError(error.errno, ""), now_s())
                continue
            self._path_errors += 1
            if not self.machine.handshake_complete or self._path_errors >= _PATH_ERRORS_TO_DIE:
                self.machine.give_up(self._unreachable(error))
                self._wake()

    def _unreachable(self, error: PathError) -> CloseCause:
        # Who refuses later, had let us in: it is the way to it that has ended.
        refused = error.errno == errno.ECONNREFUSED and not self.machine.handshake_complete
        kind = CloseKind.REFUSED if refused else CloseKind.UNREACHABLE
        return CloseCause(kind, reason_of(OSError(error.errno, "")))
