"""QUIC's datagrams through a SOCKS5 proxy: UDP ASSOCIATE (RFC 1928 §7).

Each datagram travels to the proxy's relay with a header that names the target, and comes back with
one that names its source. QUIC sees the relay's address as its peer's. The association lives as
long as the TCP connection it was asked for on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..config import SocketOptions
from ..errors import ConnectionLost
from ..net.datagram import (
    MAX_SEGMENTED_BYTES,
    Address,
    Outgoing,
    OutgoingTrain,
    PathError,
)
from ..net.dial_log import DialLog
from ..net.dial_quic import open_socket
from ..net.stream import ByteStream
from ..protocols.bulk_train import Train
from ..protocols.machine import Datagram
from ..protocols.socks5 import datagram_header, datagram_payload_start


class SocksRelay:
    """A proxy's UDP relay; implements `DatagramChannel`."""

    def __init__(
        self,
        control: ByteStream,
        relay: Address,
        target: tuple[str, int],
        way: DialLog,
        *,
        proxy: str,
        options: SocketOptions,
    ) -> None:
        """Open a socket to a relay.

        Args:
            control: the connection the association was made on; owned by this object from now on.
            relay: where the proxy takes datagrams.
            target: IP address, or a name for the proxy to resolve, and port.
            way: how the association came to be.
            proxy: the proxy's URL without credentials, for messages.
            options: where the socket leaves from, and how its packets are treated.

        Raises:
            ConnectError: there is no way to the relay.
        """
        self.way = way
        self.peer = relay
        self._control = control
        self._proxy = proxy
        self._socket = open_socket(relay, options)
        self.counters = self._socket.counters
        self.arrived_ns: list[int] = []
        self.write_started_ns = 0
        header = datagram_header(target)
        self.overhead_bytes = len(header)
        # QUIC may turn to another address of the server (RFC 9000 §9.6).
        self._headers = {relay: header}
        self._sources = {header: relay}

    @property
    def on_departure(self) -> Callable[[int, int], None]:
        """See `DatagramSocket`."""
        return self._socket.on_departure

    @on_departure.setter
    def on_departure(self, told: Callable[[int, int], None]) -> None:
        self._socket.on_departure = told

    @property
    def local(self) -> Address:
        """See `DatagramSocket`."""
        return self._socket.local

    @property
    def arrived_elsewhere(self) -> bool:
        """See `DatagramSocket`."""
        return self._socket.arrived_elsewhere

    def find_source(self, address: Address) -> bool:
        """See `DatagramSocket.find_source`; whatever the address, the way to it is the relay's."""
        del address
        return self._socket.find_source(self.peer)

    @property
    def write_ended_ns(self) -> int:
        """See `DatagramSocket`."""
        return self._socket.write_ended_ns

    @property
    def read_ns(self) -> int:
        """See `DatagramSocket`."""
        return self._socket.read_ns

    async def send(self, datagrams: Sequence[Outgoing]) -> None:
        """See `DatagramSocket.send`."""
        await self._socket.send(self._wrapped(datagrams))
        self.write_started_ns = self._socket.write_started_ns

    def send_nowait(self, datagrams: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """See `DatagramSocket.send_nowait`."""
        rest = self._socket.send_nowait(self._wrapped(datagrams))
        self.write_started_ns = self._socket.write_started_ns
        return datagrams[len(datagrams) - len(rest) :]

    async def send_train(self, train: OutgoingTrain) -> None:
        """See `DatagramSocket.send_train`; with the headers, one call may not hold it all."""
        started_ns = time.monotonic_ns()
        header = self._header(train.address)
        per_call = MAX_SEGMENTED_BYTES // (len(header) + train.datagram_bytes)
        for first in range(0, train.count, per_call):
            count = min(per_call, train.count - first)
            await self._socket.send_train(self._wrapped_train(header, train, first, count))
        self.write_started_ns = started_ns

    async def receive(self) -> list[tuple[bytes, Address]]:
        """See `DatagramSocket.receive`; what did not come through the relay is dropped."""
        return self._unwrapped(await self._socket.receive())

    def receive_nowait(self) -> list[tuple[bytes, Address]]:
        """See `DatagramSocket.receive_nowait`, and `receive`."""
        return self._unwrapped(self._socket.receive_nowait())

    def _unwrapped(self, batch: list[tuple[bytes, Address]]) -> list[tuple[bytes, Address]]:
        received: list[tuple[bytes, Address]] = []
        arrived_ns: list[int] = []
        for (data, source), at in zip(batch, self._socket.arrived_ns, strict=True):
            start = datagram_payload_start(data) if source == self.peer else None
            if start is not None:
                received.append((data[start:], self._sources.get(data[:start], self.peer)))
                arrived_ns.append(at)
        self.arrived_ns = arrived_ns
        return received

    async def wait_ended(self) -> None:
        """Wait until the proxy ends the association; see `DatagramChannel.wait_ended`."""
        while await self._control.receive():
            pass  # nothing is said there any more
        raise ConnectionLost(f"the proxy {self._proxy} ended the relay")

    def take_errors(self) -> list[PathError]:
        """See `DatagramSocket.take_errors`; what fits into a packet shares it with the header."""
        return [
            error
            if error.mtu_bytes is None
            else replace(error, mtu_bytes=error.mtu_bytes - self.overhead_bytes)
            for error in self._socket.take_errors()
        ]

    def close(self) -> None:
        """Close the socket and end the association; idempotent."""
        self._socket.close()
        self._control.close()

    def _header(self, address: Address) -> bytes:
        header = self._headers.get(address)
        if header is None:
            header = self._headers[address] = datagram_header(address)
            self._sources[header] = address
        return header

    def _wrapped(self, datagrams: Sequence[Outgoing]) -> list[Datagram]:
        return [Datagram(self._header(each.address) + each.data, self.peer) for each in datagrams]

    def _wrapped_train(self, header: bytes, train: OutgoingTrain, first: int, count: int) -> Train:
        size, data = train.datagram_bytes, train.data
        pieces: list[bytes | memoryview] = []
        for at in range(first * size, min((first + count) * size, len(data)), size):
            pieces += (header, data[at : at + size])
        joined = memoryview(b"".join(pieces))
        return Train(joined, len(header) + size, count, self.peer)
