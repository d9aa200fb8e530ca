"""`race`: one big file on every lane; throughput, processor time, memory."""

from __future__ import annotations

from .lanes import Lane, Target
from .loopback import host
from .machine import machine
from .measuring import Sample, Series, check, installed, interleave, job_for, sample_file
from .peers import Peer
from .processors import Command, Placement, apart
from .receiver_process import receiver
from .report import Column, Report
from .statistics_of import cpu_seconds_per_gigabyte, megabytes_per_second, memory_mib


def race(
    peers: list[str],
    lanes: list[Lane],
    rounds: int,
    mebibytes: int,
    *,
    congestion_control: str,
    pinned: bool = False,
) -> Report:
    """Upload a file with every peer, in turn, after a checked upload each.

    Args:
        peers: their names.
        lanes: where they race.
        rounds: how often each uploads.
        mebibytes: size of the file.
        congestion_control: of TCP; see `loopback.host`.
        pinned: whether clients and receiver are kept on different processors.

    Raises:
        SystemExit: there is no such peer, or there are no two processors.
    """
    ready, absent = installed(peers)
    byte_count = mebibytes * 2**20
    placement = apart() if pinned else Placement()
    with (
        host(congestion_control) as place,
        receiver(prefix=place.command + placement.receiver) as running,
        sample_file(byte_count) as sample,
    ):
        report = Report(
            command="race",
            settings={
                "what": f"a file of {mebibytes} MiB, connection kept{placement.text}",
                "rounds": rounds,
                "tcp_congestion_control": place.congestion_control,
            },
            machine=machine(running),
            absent=absent,
            columns=[
                Column("MB/s", megabytes_per_second(byte_count), 0, is_main=True),
                Column("CPU-s/GB", cpu_seconds_per_gigabyte(byte_count), 2),
                Column("memory growth MiB", memory_mib, 1),
            ],
        )
        for lane in lanes:
            able = [peer for peer in ready if lane in peer.lanes]
            prefix = place.command + placement.client
            report.add(_lane(able, running.target(lane), sample, rounds, prefix))
    return report


def _lane(
    peers: list[Peer], target: Target, sample: Sample, rounds: int, prefix: Command
) -> list[Series]:
    series = [Series(peer.name, target.lane) for peer in peers]
    file = str(sample.path)
    for each, peer in zip(series, peers, strict=True):
        try:
            job = job_for(peer, target, "verify", file=file)
            check(job, sample.digest, sample.byte_count, prefix)
        except RuntimeError as exc:
            each.failure = str(exc)
    jobs = [job_for(peer, target, "bulk", file=file) for peer in peers]
    interleave(series, jobs, rounds, prefix)
    return series
