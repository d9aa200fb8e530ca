"""The emulated link's own process: moves IP packets between two TUN devices as two `Shape`s say.

Run as `python -m tests.link.forwarder CLIENT_FD SERVER_FD`. Commands come as lines of JSON on
standard input, each is answered with one line on standard output; end of input ends the process.

- `{"do": "shape", "up": {...}, "down": {...}}`: what each direction is like (see `Shape`)
- `{"do": "rebind", "address": "10.55.0.9"}`: the NAT forgets its bindings (address: see `rebind`)
- `{"do": "end_translation"}`: there is no NAT any more
- `{"do": "black_hole", "addresses": [...]}`: packets to these addresses vanish
- `{"do": "counts"}`: answers with the `Counts` of both directions
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from math import inf

from tests.link.shaper import Direction, Shape
from tests.link.translation import Translation, address_text

_PACKET_BYTES = 65_536
#: sched(7): above the uploads, which `ahead_of_others` puts at 1: the link waits for nobody.
_PRIORITY = 2
#: Packets read from one device before deliveries that are due get their turn.
_BATCH = 32


class Forwarder:
    """Client and server device, and what lies between them."""

    def __init__(self, client_fd: int, server_fd: int) -> None:
        self._client_fd, self._server_fd = client_fd, server_fd
        self._up, self._down = Direction(Shape()), Direction(Shape())
        self._translation = Translation()
        self._black_holes: frozenset[str] = frozenset()
        self._swallowed_packets = 0

    def run(self, commands_fd: int) -> None:
        """Forward until the commands end."""
        while True:
            wait_s = min(self._up.next_due_s, self._down.next_due_s) - time.monotonic()
            # select, because poll and epoll can only wait for whole milliseconds.
            readable, _, _ = select.select(
                [self._client_fd, self._server_fd, commands_fd],
                [],
                [],
                None if wait_s == inf else max(wait_s, 0),
            )
            self._deliver()
            if self._client_fd in readable:
                self._take_up()
            if self._server_fd in readable:
                self._take_down()
            if commands_fd in readable and not self._obey(commands_fd):
                return

    # --- packets ------------------------------------------------------------------------------

    def _take_up(self) -> None:
        for packet in _packets(self._client_fd):
            if address_text(packet) in self._black_holes:
                self._swallowed_packets += 1
            else:
                self._up.offer(self._translation.outward(packet), time.monotonic())

    def _take_down(self) -> None:
        for packet in _packets(self._server_fd):
            inward = self._translation.inward(packet)
            if inward is not None:
                self._down.offer(inward, time.monotonic())

    def _deliver(self) -> None:
        now_s = time.monotonic()
        for direction, fd in ((self._up, self._server_fd), (self._down, self._client_fd)):
            for packet in direction.arrived(now_s):
                # A device that is down, or whose queue is full, loses the packet.
                with suppress(OSError):
                    os.write(fd, packet)

    # --- commands -----------------------------------------------------------------------------

    def _obey(self, commands_fd: int) -> bool:
        """Carry out one command; False at the end of input."""
        line = _read_line(commands_fd)
        if not line:
            return False
        command = json.loads(line)
        match command.pop("do"):
            case "shape":
                self._up.shape = Shape(**command["up"])
                self._down.shape = Shape(**command["down"])
            case "rebind":
                self._translation.rebind(command["address"])
            case "end_translation":
                self._translation.end()
            case "black_hole":
                self._black_holes = frozenset(command["addresses"])
            case "counts":
                pass
            case other:
                raise ValueError(f"no such command: {other}")
        answer = {
            "up": asdict(self._up.counts),
            "down": asdict(self._down.counts),
            "unbound_packets": self._translation.dropped_packets,
            "swallowed_packets": self._swallowed_packets,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        return True


def _packets(fd: int) -> list[bytes]:
    packets: list[bytes] = []
    with suppress(BlockingIOError):
        while len(packets) < _BATCH:
            packets.append(os.read(fd, _PACKET_BYTES))
    return packets


def _read_line(fd: int) -> bytes:
    """One line; its writer sends it whole and waits for the answer."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(fd, 4096)
        if not piece:
            return b""
        line += piece
    return line


def _hurry() -> None:
    """Go before all others: a busy machine must not look like a slow link."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))


def main() -> None:
    """Forward between the two devices named on the command line."""
    client_fd, server_fd = (int(argument) for argument in sys.argv[1:])
    for fd in (client_fd, server_fd):
        os.set_blocking(fd, False)
    _hurry()
    Forwarder(client_fd, server_fd).run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
