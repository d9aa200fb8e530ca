"""The bulk sender: long request bodies in trains of packets, beside aioquic's own sending.

aioquic keeps the handshake, control frames, heads and short bodies, the receive path, loss
detection, congestion control and timers. What it would spend on each packet of a long body —
frames, buffers, objects, one encryption after the other — is replaced (`bulk_train.py`); its books
are kept as if it had sent the packets itself (`aioquic_trains.py`).

aioquic sends the body as well, with the same books, whenever trains cannot: before the handshake is
confirmed, as a probe after a timeout, with a qlog, and with ChaCha20.
"""

from __future__ import annotations

from collections import deque

from aioquic.quic.connection import QuicConnection

from ..errors import SourceError
from . import aioquic_private as private
from . import aioquic_trains as trains
from . import ipsec_mb
from .bulk_train import Train, TrainBuilder


class BulkSender:
    """Sends the bodies of one connection that were given to it."""

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._builder = TrainBuilder(ipsec_mb.installed)
        self._books: trains.TrainBooks | None = None
        self._streams: dict[int, trains.BulkStream] = {}
        self._turns: deque[trains.BulkStream] = deque()
        """Whose turn is next; each gets one train."""

    def begin(self, stream_id: int) -> trains.BulkStream:
        """Take a request's stream, of which nothing but the head was queued and nothing sent."""
        stream = trains.take_over(self._quic, stream_id)
        self._streams[stream_id] = stream
        self._turns.append(stream)
        return stream

    @property
    def idle(self) -> bool:
        """Whether no stream is its business."""
        return not self._streams

    @property
    def may_send(self) -> bool:
        """Whether it has bodies, and may send them now; never before the handshake is confirmed."""
        if not self._streams:
            return False
        if self._books is None:
            if not private.handshake_confirmed(self._quic):
                return False
            self._books = trains.TrainBooks(self._quic)
        return self._books.may_send

    def patience_s(self, requests: int, now_s: float, shortest_trip_s: float) -> float:
        """For how long to collect acknowledgements before they are read, with so many requests.

        Not at all when some of them are not its business, whose answers may arrive at any time.
        """
        if self._books is None or requests > len(self._streams):
            return 0.0
        return self._books.patience_s(self._streams.values(), now_s, shortest_trip_s)

    def hide(self) -> list[trains.BulkStream]:
        """Keep aioquic from sending what trains can carry, until it is given to `show`."""
        if not self.may_send:
            return []
        return [stream for stream in self._streams.values() if stream.hide()]

    @staticmethod
    def show(hidden: list[trains.BulkStream]) -> None:
        """Undo `hide`."""
        for stream in hidden:
            stream.show()

    def next_train(self, now_s: float, *, others_wait: bool) -> Train | None:
        """Build the next train that congestion control, pacing and flow control allow.

        `others_wait`: see `TrainBooks.room`.
        """
        books = self._books if self.may_send else None
        if books is None:
            return None
        room = books.room(now_s, others_wait=others_wait)
        if room <= 0:
            return None
        for _ in range(len(self._turns)):
            stream = self._turns[0]
            self._turns.rotate(-1)
            train = self._build(books, stream, room, now_s)
            if train is not None:
                return train
        return None

    def sweep(self) -> list[tuple[int, SourceError]]:
        """Let go of what is over; the streams whose content cannot be read, and why."""
        failed: list[tuple[int, SourceError]] = []
        for stream in list(self._streams.values()):
            failure = stream.content.failure
            if failure is not None and not stream.over:
                failed.append((stream.stream_id, failure))
            elif stream.over:
                self._let_go(stream)
        return failed

    def close(self) -> None:
        """Let go of everything; idempotent."""
        for stream in list(self._streams.values()):
            self._let_go(stream)

    def _let_go(self, stream: trains.BulkStream) -> None:
        stream.content.close()
        del self._streams[stream.stream_id]
        self._turns.remove(stream)

    def _build(
        self, books: trains.TrainBooks, stream: trains.BulkStream, room: int, now_s: float
    ) -> Train | None:
        plan = stream.next_plan(self._quic, room)
        if plan is None or stream.content.failure is not None:
            return None
        address, cid = trains.destination(self._quic)
        size = private.datagram_bytes(self._quic)
        try:
            data = self._builder.build(
                plan,
                books.keys(),
                cid=cid,
                first_packet=private.next_packet_number(self._quic),
                datagram_bytes=size,
                read_into_places=stream.content.read_into_places,
            )
        except SourceError:
            return None  # `sweep` has the reason
        count = books.register(stream, plan, now_s)
        return Train(data, size, count, address)
