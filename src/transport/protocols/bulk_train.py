"""Trains: many equal-sized 1-RTT packets built side by side, for a few segmented sends.

A packet of a train holds one STREAM frame without a length, so its data reaches to the packet's end
(RFC 9000 §19.8). The body is read once for the whole train, each packet's share to where it is
encrypted from; the masks of header protection come from one call (RFC 9001 §5.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .ipsec_mb import IpsecMb
from .machine import Address
from .train_room import PacketKeys, TrainRoom, shape_of

ReadIntoPlaces = Callable[[int, int, list[memoryview]], None]


# Not frozen: two of these are made for every train, and to freeze takes a call for each field.
@dataclass(slots=True)
class Plan:
    """What a train is to carry."""

    stream_id: int
    start: int
    """Stream offset of its first byte."""
    stop: int
    fin: bool
    """The stream ends at `stop`."""
    share: int
    """Stream bytes in each packet but perhaps the last."""


@dataclass(slots=True)
class Train:
    """Datagrams side by side in one buffer, which is used again for the next train."""

    data: memoryview
    datagram_bytes: int
    """Size of each; the last one may be smaller."""
    count: int
    address: Address

    def datagrams(self) -> list[bytes]:
        """Copies of the datagrams, one by one."""
        size = self.datagram_bytes
        return [bytes(self.data[at : at + size]) for at in range(0, len(self.data), size)]


class TrainBuilder:
    """Builds one train at a time."""

    def __init__(self, find_library: Callable[[], IpsecMb | None]) -> None:
        """Encrypt with what `find_library` finds when the first train is built.

        Most connections never send one.
        """
        self._find_library = find_library
        self._room: TrainRoom | None = None

    def build(
        self,
        plan: Plan,
        keys: PacketKeys,
        *,
        cid: bytes,
        first_packet: int,
        datagram_bytes: int,
        read_into_places: ReadIntoPlaces,
    ) -> memoryview:
        """Build the packets, as many as the plan takes; all but the last of `datagram_bytes`.

        Args:
            plan: what they carry; at most what fits one train.
            keys: what they are protected with.
            cid: the peer's connection id.
            first_packet: the number of the first packet.
            datagram_bytes: their size.
            read_into_places: fills views with the stream's bytes between two offsets.

        Raises:
            SourceError: `read_into_places` failed; nothing has happened.
        """
        room = self._room_for(plan, cid, datagram_bytes)
        length = plan.stop - plan.start
        count = -(-length // plan.share)
        last = length - (count - 1) * plan.share
        bodies = room.bodies[:count]
        bodies[-1] = bodies[-1][:last]
        read_into_places(plan.start, plan.stop, bodies)
        room.put_frame_headers(plan.stream_id, plan.start, plan.share, count, fin=plan.fin)
        room.protect(keys, first_packet, count, last)
        return room.packets[: length + count * (datagram_bytes - plan.share)]

    def _room_for(self, plan: Plan, cid: bytes, datagram_bytes: int) -> TrainRoom:
        shape = shape_of(datagram_bytes, cid, plan.stream_id, plan.stop)
        if self._room is None or shape != self._room.shape:
            self._room = TrainRoom(shape, self._find_library())
        return self._room
