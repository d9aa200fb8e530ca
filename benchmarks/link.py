"""`link`: a file over an emulated link of some rate, delay and loss; needs root (Linux).

The link is that of the tests: two network namespaces, a TUN device in each, and a forwarder between
them. The receiver runs in one, every client in the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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

#: Of sockets that cannot be told: the one every kernel allows in every namespace.
_OF_HOSTS = "reno"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the link is like, both ways."""

    megabits_per_s: float
    round_trip_ms: float
    losses_percent: tuple[float, ...]
    """Each of them is measured on its own."""
    congestion_control: str
    """Of the TCP sockets of peers that can be told; QUIC brings its own."""

    def shape(self, loss_percent: float, seed: int = 1) -> Shape:
        """One direction: a queue of one bandwidth-delay product, and at least 64 KiB."""
        rate_bytes_per_s = self.megabits_per_s * 1e6 / 8
        return Shape(
            delay_s=self.round_trip_ms / 2000,
            rate_bytes_per_s=rate_bytes_per_s,
            queue_bytes=max(round(rate_bytes_per_s * self.round_trip_ms / 1000), 64 * 1024),
            loss=loss_percent / 100,
            seed=seed,
        )


def link(
    peers: list[str], lanes: list[Lane], rounds: int, mebibytes: int, conditions: Conditions
) -> Report:
    """Upload a file with every peer, in turn, on each lane and at each loss.

    What is lost differs from round to round, and is the same for all peers in a round: the same
    packets by number, from each peer's first one on.
    """
    ready, absent = installed(peers)
    byte_count = mebibytes * 2**20
    with (
        TemporaryDirectory(prefix="benchmarks-") as folder,
        emulated_link(Path(folder), congestion_control=_OF_HOSTS) as wire,
        receiver(SERVER_ADDRESS, tuple(wire.server.command([]))) as running,
        sample_file(byte_count) as sample,
    ):
        report = Report(
            command="link",
            settings=_settings(conditions, ready) | {"rounds": rounds},
            machine=machine(running),
            absent=absent,
            columns=[
                Column("Mbit/s", megabits_per_second(byte_count), 1, is_main=True),
                Column("CPU-s/GB", cpu_seconds_per_gigabyte(byte_count), 2),
            ],
        )
        scene = _Scene(wire, running, str(sample.path), rounds, conditions)
        for loss_percent in conditions.losses_percent:
            for lane in lanes:
                able = [peer for peer in ready if lane in peer.lanes]
                name = f"{lane}, {loss_percent:g} % loss, {mebibytes} MiB"
                report.add(scene.measure(able, lane, loss_percent, name))
    return report


def _settings(conditions: Conditions, peers: list[Peer]) -> dict[str, object]:
    chosen = f"{conditions.congestion_control} (set on the socket)"
    tcp = {
        peer.name: chosen if peer.chooses_congestion_control else f"{_OF_HOSTS} (the host's)"
        for peer in peers
    }
    return {
        "what": (
            f"a file, connection kept, {conditions.megabits_per_s:g} Mbit/s, "
            f"{conditions.round_trip_ms:g} ms, a queue of one bandwidth-delay product"
        ),
        "tcp_congestion_control": tcp,
        "quic_congestion_control": {
            peer.name: peer.quic_congestion_control or "its library's"
            for peer in peers
            if Lane.H3 in peer.lanes
        },
    }


@dataclass(frozen=True, slots=True)
class _Scene:
    """Where every measurement takes place, and how often."""

    wire: Link
    receiver: Receiver
    file: str
    rounds: int
    conditions: Conditions

    def measure(
        self, peers: list[Peer], lane: Lane, loss_percent: float, name: str
    ) -> list[Series]:
        series = [Series(peer.name, name) for peer in peers]
        target = replace(
            self.receiver.target(lane), congestion_control=self.conditions.congestion_control
        )
        jobs = [job_for(peer, target, "bulk", file=self.file) for peer in peers]

        def begin_anew(number: int) -> None:
            # Each direction takes a seed of its own; see `Link.shape`.
            self.wire.shape(self.conditions.shape(loss_percent, seed=2 * number + 1))

        interleave(series, jobs, self.rounds, tuple(self.wire.client.command([])), begin_anew)
        return series
