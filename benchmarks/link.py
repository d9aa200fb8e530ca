"""`link`: a file over an emulated link of some rate, delay and loss; needs root (Linux).

The link is that of the tests: two network namespaces, a TUN device in each, and a forwarder between
them. The receiver runs in one, every client in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.link.emulation import SERVER_ADDRESS, Link, emulated_link
from tests.link.shaper import Shape

from .lanes import Lane
from .machine import machine
from .measuring import Series, installed, interleave, job_for, sample_file
from .peers import Peer
from .receiver_process import Receiver, receiver
from .report import Column, Report
from .statistics_of import cpu_seconds_per_gigabyte, megabits_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the link is like, both ways."""

    megabits_per_s: float
    round_trip_ms: float
    losses_percent: tuple[float, ...]
    """Each of them is measured on its own."""
    congestion_control: str
    """Of TCP on both hosts; QUIC brings its own."""

    def shape(self, loss_percent: float) -> Shape:
        """One direction: a queue of one bandwidth-delay product, and at least 64 KiB."""
        rate_bytes_per_s = self.megabits_per_s * 1e6 / 8
        return Shape(
            delay_s=self.round_trip_ms / 2000,
            rate_bytes_per_s=rate_bytes_per_s,
            queue_bytes=max(round(rate_bytes_per_s * self.round_trip_ms / 1000), 64 * 1024),
            loss=loss_percent / 100,
            seed=1,
        )


def link(
    peers: list[str], lanes: list[Lane], rounds: int, mebibytes: int, conditions: Conditions
) -> Report:
    """Upload a file with every peer, in turn, on each lane and at each loss."""
    ready, absent = installed(peers)
    byte_count = mebibytes * 2**20
    what = (
        f"a file of {mebibytes} MiB, connection kept, {conditions.megabits_per_s:g} Mbit/s, "
        f"{conditions.round_trip_ms:g} ms"
    )
    with (
        TemporaryDirectory(prefix="benchmarks-") as folder,
        emulated_link(Path(folder), congestion_control=conditions.congestion_control) as wire,
        receiver(SERVER_ADDRESS, tuple(wire.server.command([]))) as running,
        sample_file(byte_count) as sample,
    ):
        report = Report(
            command="link",
            settings={
                "what": what,
                "rounds": rounds,
                "tcp_congestion_control": conditions.congestion_control,
            },
            machine=machine(running),
            absent=absent,
            columns=[
                Column("Mbit/s", megabits_per_second(byte_count), 1, is_main=True),
                Column("CPU-s/GB", cpu_seconds_per_gigabyte(byte_count), 2),
            ],
        )
        scene = _Scene(wire, running, str(sample.path), rounds)
        for loss_percent in conditions.losses_percent:
            wire.shape(conditions.shape(loss_percent))
            for lane in lanes:
                able = [peer for peer in ready if lane in peer.lanes]
                report.add(scene.measure(able, lane, f"{lane}, {loss_percent:g} % loss"))
    return report


@dataclass(frozen=True, slots=True)
class _Scene:
    """Where every measurement takes place, and how often."""

    wire: Link
    receiver: Receiver
    file: str
    rounds: int

    def measure(self, peers: list[Peer], lane: Lane, name: str) -> list[Series]:
        series = [Series(peer.name, name) for peer in peers]
        target = self.receiver.target(lane)
        jobs = [job_for(peer, target, "bulk", file=self.file) for peer in peers]
        interleave(series, jobs, self.rounds, tuple(self.wire.client.command([])))
        return series
