"""What QUIC needs of whatever carries its datagrams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .datagram import Address, DatagramCounters, Outgoing, OutgoingTrain, PathError


class DatagramChannel(Protocol):
    """A socket, or a proxy's relay.

    One task sends and another receives at the same time.
    """

    counters: DatagramCounters
    peer: Address
    """The address that the datagrams go to and come from, as QUIC sees it."""
    overhead_bytes: int
    """Bytes of each datagram on the wire that are not QUIC's."""
    on_departure: Callable[[int, int], None]

    @property
    def local(self) -> Address:
        """See `DatagramSocket`."""
        ...

    @property
    def arrived_elsewhere(self) -> bool:
        """See `DatagramSocket`."""
        ...

    def find_source(self, address: Address) -> bool:
        """See `DatagramSocket.find_source`."""
        ...

    @property
    def write_started_ns(self) -> int:
        """See `DatagramSocket`."""
        ...

    @property
    def write_ended_ns(self) -> int:
        """See `DatagramSocket`."""
        ...

    @property
    def read_ns(self) -> int:
        """See `DatagramSocket`."""
        ...

    @property
    def arrived_ns(self) -> list[int]:
        """See `DatagramSocket`."""
        ...

    async def send(self, datagrams: Sequence[Outgoing]) -> None:
        """See `DatagramSocket.send`."""
        ...

    async def send_train(self, train: OutgoingTrain) -> None:
        """See `DatagramSocket.send_train`."""
        ...

    def send_nowait(self, datagrams: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """See `DatagramSocket.send_nowait`."""
        ...

    async def receive(self) -> list[tuple[bytes, Address]]:
        """See `DatagramSocket.receive`."""
        ...

    def receive_nowait(self) -> list[tuple[bytes, Address]]:
        """See `DatagramSocket.receive_nowait`."""
        ...

    def take_errors(self) -> list[PathError]:
        """See `DatagramSocket.take_errors`."""
        ...

    async def wait_ended(self) -> None:
        """Wait until no more datagrams can be carried, other than by `close`.

        Raises:
            ConnectionLost: always; it says why.
        """
        ...

    def close(self) -> None:
        """See `DatagramSocket.close`."""
        ...
