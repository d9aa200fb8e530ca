"""`race`: one big file on every lane; throughput, processor time, memory."""

from __future__ import annotations

from .lanes import Lane
from .machine import machine
from .measuring import Sample, Series, check, installed, interleave, job_for, sample_file
from .peers import Peer
from .receiver_process import Receiver, receiver
from .report import Column, Report
from .statistics_of import cpu_seconds_per_gigabyte, megabytes_per_second, memory_mib


def race(peers: list[str], lanes: list[Lane], rounds: int, mebibytes: int) -> Report:
    """Upload a file with every peer, in turn, after a checked upload each."""
    ready, absent = installed(peers)
    byte_count = mebibytes * 2**20
    with receiver() as running, sample_file(byte_count) as sample:
        report = Report(
            command="race",
            settings={"what": f"a file of {mebibytes} MiB, connection kept", "rounds": rounds},
            machine=machine(running),
            absent=absent,
            columns=[
                Column("MB/s", megabytes_per_second(byte_count), 0, is_main=True),
                Column("CPU-s/GB", cpu_seconds_per_gigabyte(byte_count), 2),
                Column("memory growth MiB", memory_mib, 1),
            ],
        )
        for lane in lanes:
            report.add(_lane([p for p in ready if lane in p.lanes], lane, running, sample, rounds))
    return report


def _lane(
    peers: list[Peer], lane: Lane, running: Receiver, sample: Sample, rounds: int
) -> list[Series]:
    target = running.target(lane)
    series = [Series(peer.name, lane) for peer in peers]
    file = str(sample.path)
    for each, peer in zip(series, peers, strict=True):
        try:
            check(job_for(peer, target, "verify", file=file), sample.digest, sample.byte_count)
        except RuntimeError as exc:
            each.failure = str(exc)
    interleave(series, [job_for(peer, target, "bulk", file=file) for peer in peers], rounds)
    return series
