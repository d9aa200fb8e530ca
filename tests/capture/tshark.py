"""Reading a recording with tshark: packets as rows of fields, and decrypted byte streams."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path

from tests.peers.process import find_program

_TIMEOUT_S = 100.0
_PACKET = re.compile(r"  - packet: (\d+)")

#: What is asked of each packet, in the order of the columns.
_FIELDS = (
    "frame.number",
    "frame.time_epoch",
    "tcp.srcport",
    "tcp.stream",
    "tcp.flags",
    "tcp.seq",
    "tcp.len",
    "tcp.ack",
    "tls.handshake.type",
    "udp.srcport",
    "quic.connection.number",
    "quic.long.packet_type",
    "quic.packet_number",
    "quic.frame_type",
    "quic.stream.stream_id",
    "quic.stream.offset",
    "quic.stream_data",
    "quic.ack.largest_acknowledged",
    "quic.ack.first_ack_range",
    "quic.ack.ack_delay",
)


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, or datagram, with the values tshark found in it, all occurrences of each."""

    number: int
    at: int
    """When the kernel passed it on, in epoch nanoseconds."""
    fields: Mapping[str, str]

    def texts(self, name: str) -> list[str]:
        """The values of a field."""
        joined = self.fields[name]
        return joined.split(",") if joined else []

    def numbers(self, name: str) -> list[int]:
        """The values of a field of integers, decimal or hexadecimal."""
        return [int(text, 0) for text in self.texts(name)]

    def number_of(self, name: str) -> int | None:
        """The first value of a field of integers; None when the packet has none."""
        return next(iter(self.numbers(name)), None)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a stream that became readable with one packet."""

    packet: Packet
    data: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """Everything in a recording."""

    packets: Sequence[Packet]
    streams: Mapping[int, Sequence[Piece]]
    """The bytes of TCP connections, both directions, by tshark's number of the connection."""


def decode(
    file: Path, keys: Path, *, plain: Sequence[int] = (), encrypted: Sequence[int] = ()
) -> Decoded:
    """Read a recording in one go.

    Args:
        file: pcapng.
        keys: the key log of its TLS and QUIC connections.
        plain: the TCP connections whose bytes are wanted as they crossed.
        encrypted: the TCP connections whose bytes are wanted decrypted.

    Raises:
        ProgramMissing: tshark is not installed.
    """
    taps = [f"follow,tcp,yaml,{stream}" for stream in plain]
    taps += [f"follow,tls,yaml,{stream}" for stream in encrypted]
    output = file.with_suffix(".txt")
    _run_tshark(
        output,
        *("-r", str(file), "-T", "fields", "-E", "occurrence=a"),
        *("-o", f"tls.keylog_file:{keys}", "-o", "tcp.reassemble_out_of_order:TRUE"),
        *(argument for name in _FIELDS for argument in ("-e", name)),
        *(argument for tap in taps for argument in ("-z", tap)),
    )
    with output.open(encoding="ascii") as lines:
        packets = list(map(_packet, takewhile(_is_row, lines)))
        return Decoded(packets, _streams(lines, {packet.number: packet for packet in packets}))


def _run_tshark(output: Path, *arguments: str) -> None:
    with output.open("wb") as sink:
        done = subprocess.run(
            [find_program("tshark", "tshark"), "-n", *arguments],
            stdout=sink,
            stderr=subprocess.PIPE,
            timeout=_TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr


def _is_row(line: str) -> bool:
    return line.count("\t") == len(_FIELDS) - 1


def _packet(line: str) -> Packet:
    fields = dict(zip(_FIELDS, line.rstrip("\n").split("\t"), strict=True))
    seconds, _, fraction = fields["frame.time_epoch"].partition(".")
    return Packet(int(fields["frame.number"]), int(seconds + fraction), fields)


def _streams(lines: Iterator[str], packets: Mapping[int, Packet]) -> dict[int, list[Piece]]:
    """Read what `follow` wrote, in YAML and base64: one document per stream, in no order."""
    streams: dict[int, list[Piece]] = {}
    number, encoded = 0, list[str]()
    for line in chain(lines, ["  - packet: 0"]):
        if line.startswith("      "):
            encoded.append(line.strip())
        elif found := _PACKET.match(line):
            if encoded:
                packet = packets[number]
                stream = streams.setdefault(int(packet.fields["tcp.stream"]), [])
                stream.append(Piece(packet, base64.b64decode("".join(encoded))))
            number, encoded = int(found[1]), []
    return streams
