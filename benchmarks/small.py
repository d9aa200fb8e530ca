"""`small` and `cold`: uploads of 1 KiB, where what counts is time, not bandwidth."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .lanes import Lane
from .machine import machine
from .measuring import Series, installed, interleave, job_for
from .peers import Peer
from .receiver_process import receiver
from .report import Column, Report
from .statistics_of import cpu_us_per_upload, percentile_us, uploads_per_second
from .worker import Kind

#: Uploads of one job.
_SEQUENCE, _CROWD, _COLD = 500, 960, 40
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Work:
    """What each peer does."""

    command: str
    what: str
    kind: Kind
    uploads: int
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class Among:
    """Who does it, where, how often."""

    peers: list[str]
    lanes: list[Lane]
    rounds: int


def small(peers: list[str], lanes: list[Lane], rounds: int) -> list[Report]:
    """1 KiB on a warm connection: one after the other, and 64 at once."""
    latency = [
        Column("p50 µs", percentile_us(50), 0, is_main=True),
        Column("p99 µs", percentile_us(99), 0),
        Column("CPU µs", cpu_us_per_upload, 0),
    ]
    rate = [
        Column("uploads/s", uploads_per_second, 0, is_main=True),
        Column("p50 µs", percentile_us(50), 0),
        Column("p99 µs", percentile_us(99), 0),
        Column("CPU µs", cpu_us_per_upload, 0),
    ]
    among = Among(peers, lanes, rounds)
    one = Work("small", "1 KiB, warm connection, one at a time", "sequence", _SEQUENCE)
    many = Work("crowd", "1 KiB, 64 at a time", "crowd", _CROWD, _AT_ONCE)
    return [_measure(one, among, latency), _measure(many, among, rate)]


def cold(peers: list[str], lanes: list[Lane], rounds: int) -> list[Report]:
    """A new client, its first upload of 1 KiB answered: name, TCP, TLS or QUIC, request."""
    columns = [
        Column("p50 µs", percentile_us(50), 0, is_main=True),
        Column("p99 µs", percentile_us(99), 0),
        Column("CPU µs", cpu_us_per_upload, 0),
    ]
    secure: list[Lane] = [lane for lane in lanes if lane is not Lane.H1]
    quic: list[Lane] = [lane for lane in lanes if lane is Lane.H3]
    resuming = "1 KiB on a new connection that resumes a TLS session"
    plans = (
        (Work("cold", "1 KiB by a new client", "cold", _COLD), lanes),
        (Work("resumed", resuming, "resumed", _COLD), secure),
        (Work("early", "1 KiB ahead of the handshake (0-RTT)", "early", _COLD), quic),
    )
    return [_measure(work, Among(peers, where, rounds), columns) for work, where in plans if where]


def _is_able(peer: Peer, kind: Kind) -> bool:
    return kind not in {"resumed", "early"} or kind in peer.sessions


def _measure(work: Work, among: Among, columns: list[Column]) -> Report:
    ready, absent = installed(among.peers)
    for peer in ready:
        if not _is_able(peer, work.kind):
            absent[peer.name] = f"not able: {work.what}"
    ready = [peer for peer in ready if peer.name not in absent]
    settings: dict[str, object] = asdict(work) | {"rounds": among.rounds}
    with receiver() as running:
        report = Report(work.command, settings, machine(running), absent, columns)
        for lane in among.lanes:
            able = [peer for peer in ready if lane in peer.lanes]
            series = [Series(peer.name, lane) for peer in able]
            target = running.target(lane)
            jobs = [
                job_for(each, target, work.kind, uploads=work.uploads, at_once=work.at_once)
                for each in able
            ]
            interleave(series, jobs, among.rounds)
            report.add(series)
    return report
