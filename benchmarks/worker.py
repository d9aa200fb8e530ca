"""Measures one peer on one lane, in a process of its own; prints what it found as JSON."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Literal

import anyio

from .lanes import Lane, Target
from .peers import PEERS
from .peers.client import AsyncClient, BlockingClient, Source

Kind = Literal["bulk", "verify", "sequence", "crowd", "cold", "resumed", "early"]
"""Bulk and sequence: on a warm connection; verify: to the receiver's parser; crowd: many at once;
cold: by a new client each time; resumed: on a new connection of the same client, with a session;
early: the same ahead of the handshake."""

#: Session tickets arrive after a response at the latest so long.
_TICKET_S = 0.02
#: Before each new connection: what is left to do for the last one must not count for this one, and
#: a machine that has just rested is slower, which must be so for all.
_REST_S = 0.02

#: The first upload on a connection opens it; the receiver need not keep what it says.
_FIRST = b"\0" * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to measure."""

    peer: str
    lane: Lane
    authority: str
    ca: str
    kind: Kind
    file: str = ""
    """The file to upload; without one, `small_bytes` bytes are."""
    small_bytes: int = 1024
    uploads: int = 1
    at_once: int = 1
    congestion_control: str = ""
    """Of TCP; see `Target`."""

    @property
    def source(self) -> Source:
        """What to upload."""
        return Path(self.file) if self.file else b"\xa5" * self.small_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured."""

    durations_ns: list[int]
    """Of each upload."""
    elapsed_ns: int
    """Of them all."""
    cpu_s: float
    """User and system time of this process meanwhile, all threads."""
    memory_growth_bytes: int
    """Highest resident memory meanwhile, less what was resident before."""
    reply: str = ""
    """The receiver's last answer."""


def main() -> None:
    """Carry out the job on the command line."""
    given = json.loads(sys.argv[1])
    job = Job(**given | {"lane": Lane(given["lane"])})
    target = Target(job.lane, job.authority, job.ca, job.congestion_control)
    client = PEERS[job.peer].make(target)
    print(json.dumps(asdict(measure(client, job))))


def measure(client: AsyncClient | BlockingClient, job: Job) -> Found:
    """Measure a client in this process."""
    if job.kind == "crowd":
        return _crowd(client, job)
    if job.kind == "cold":
        return _cold(client, job)
    if job.kind in {"resumed", "early"}:
        return _again(client, job)
    path = "/parts" if job.kind == "verify" else "/count"
    if isinstance(client, AsyncClient):
        return client.run(lambda: _async_sequence(client, job, path))
    try:
        return _sequence(client, job, path)
    finally:
        client.close()


def _sequence(client: BlockingClient, job: Job, path: str) -> Found:
    client.upload("/count", _FIRST)
    meter, reply, source = _Meter(), b"", job.source
    durations: list[int] = []
    for _ in range(job.uploads):
        began = time.perf_counter_ns()
        reply = client.upload(path, source)
        durations.append(time.perf_counter_ns() - began)
    return meter.found(durations, reply)


async def _async_sequence(client: AsyncClient, job: Job, path: str) -> Found:
    await client.upload("/count", _FIRST)
    meter, reply, source = _Meter(), b"", job.source
    durations: list[int] = []
    for _ in range(job.uploads):
        began = time.perf_counter_ns()
        reply = await client.upload(path, source)
        durations.append(time.perf_counter_ns() - began)
    return meter.found(durations, reply)


def _crowd(client: AsyncClient | BlockingClient, job: Job) -> Found:
    meter = _Meter()
    durations = client.crowd("/count", job.source, job.uploads, job.at_once)
    return meter.found(durations, b"")


def _cold(client: AsyncClient | BlockingClient, job: Job) -> Found:
    """Make a client, upload, close it, again and again; importing and the first do not count."""
    if isinstance(client, AsyncClient):
        return client.run_bare(lambda: _async_cold(client, job))
    meter, source = _Meter(), job.source
    durations: list[int] = []
    for _ in range(job.uploads + 1):
        time.sleep(_REST_S)
        began = time.perf_counter_ns()
        fresh = type(client)(client.target)
        fresh.upload("/count", source)
        durations.append(time.perf_counter_ns() - began)
        fresh.close()
    return meter.found(durations[1:], b"")


async def _async_cold(client: AsyncClient, job: Job) -> Found:
    meter, source = _Meter(), job.source
    durations: list[int] = []
    for _ in range(job.uploads + 1):
        await anyio.sleep(_REST_S)
        began = time.perf_counter_ns()
        fresh = type(client)(client.target)
        await fresh.open()
        await fresh.upload("/count", source)
        durations.append(time.perf_counter_ns() - began)
        await fresh.close()
    return meter.found(durations[1:], b"")


def _again(client: AsyncClient | BlockingClient, job: Job) -> Found:
    """Upload on a new connection each time, and see that the receiver knows the session."""
    if isinstance(client, AsyncClient):
        return client.run(lambda: _async_again(client, job))
    durations: list[int] = []
    client.upload("/count", _FIRST)
    meter = _Meter()
    for _ in range(job.uploads):
        time.sleep(_TICKET_S)
        client.drop_connections()
        time.sleep(_REST_S)
        began = time.perf_counter_ns()
        reply = client.upload("/count", job.source)
        durations.append(time.perf_counter_ns() - began)
        _require(client, reply)
    found = meter.found(durations, b"")
    client.close()
    return found


async def _async_again(client: AsyncClient, job: Job) -> Found:
    durations: list[int] = []
    await client.upload("/count", _FIRST)
    client.early_data = job.kind == "early"
    meter = _Meter()
    for _ in range(job.uploads):
        await anyio.sleep(_TICKET_S)
        client.drop_connections()
        await anyio.sleep(_REST_S)
        began = time.perf_counter_ns()
        reply = await client.upload("/count", job.source)
        durations.append(time.perf_counter_ns() - began)
        _require(client, reply)
    return meter.found(durations, b"")


def _require(client: AsyncClient | BlockingClient, reply: bytes) -> None:
    """Over QUIC the receiver does not know, and the client has to tell."""
    if not (client.resumed or json.loads(reply)["resumed"]):
        raise RuntimeError("neither receiver nor client says that the session was resumed")


class _Meter:
    """Clock, processor time and memory from here on."""

    def __init__(self) -> None:
        # Linux: makes VmHWM, the highest resident size, begin anew (proc(5)).
        Path("/proc/self/clear_refs").write_text("5")
        self._resident_bytes = _status_bytes("VmRSS")
        self._cpu_s = _cpu_s()
        self._began = time.perf_counter_ns()

    def found(self, durations: list[int], reply: bytes) -> Found:
        """What has passed."""
        elapsed, cpu_s = time.perf_counter_ns() - self._began, _cpu_s() - self._cpu_s
        return Found(
            durations_ns=durations,
            elapsed_ns=elapsed,
            cpu_s=cpu_s,
            memory_growth_bytes=_status_bytes("VmHWM") - self._resident_bytes,
            reply=reply.decode(),
        )


def _cpu_s() -> float:
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _status_bytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
