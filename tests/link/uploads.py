"""Uploads made by a fresh process in a namespace, and what their profiles said.

Run as `python -m tests.link.uploads PLAN`, where PLAN is a `Plan` in JSON; prints a list of
`Observation`s in JSON. All times are converted to the epoch with a pair of clock readings taken
beside each upload, so that they can be compared with what others noted.
"""

from __future__ import annotations

import json
import random
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

import anyio

import trilane
from tests.link.namespaces import Namespace
from tests.peers.process import ahead_of_others

_SCHEDSTAT = Path("/proc/thread-self/schedstat")

Protocol = Literal["http/1.1", "h2", "h3"]

MOMENTS = (
    "invoke_start",
    "fetch_start",
    "connect_start",
    "tcp_connected",
    "tls_start",
    "tls_end",
    "connect_end",
    "request_start",
    "request_end",
    "request_acked",
    "response_start",
    "response_head_end",
    "response_end",
)
KERNEL_MOMENTS = ("first_byte_sent", "last_byte_sent", "last_byte_acked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One upload."""

    url: str
    protocol: Protocol
    body_bytes: int
    new_client: bool = True
    """On a connection of its own; else on the one of the job before, which must have ended."""
    early_data: bool = False
    new_connection: bool = False
    """On a connection of its own all the same, made by the client of the job before."""
    from_file: bool = False
    """Read from a file, not from memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Uploads by one process, one after the other unless it says otherwise."""

    ca: str
    jobs: Sequence[Job]
    backend: Literal["asyncio", "trio"] = "asyncio"
    timeout_s: float = 60.0
    write_idle_s: float | None = None
    clients_at_once: bool = False
    """Whether clients do not wait for each other."""
    estimates: bool = False
    """Whether each client estimates the quality of this network, private as it is."""
    kernel_timestamps: bool = False
    sessions: str | None = None
    """File that gives one client's TLS sessions to the next."""
    tls_maximum: Literal["1.2", "1.3"] = "1.3"
    """Newest TLS over TCP that is offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the profile of one upload said."""

    job: Job
    times: Mapping[str, int | None]
    """Moments by their native names, in epoch nanoseconds."""
    transport: Mapping[str, float | None]
    """The `TransportSample`."""
    sent_bytes: int
    received_bytes: int
    body_sent_bytes: int
    socket_reused: bool
    connection_id: int
    http_version: str
    session_resumed: bool | None
    early_data_accepted: bool | None
    rtt_ms: float | None
    acked_when_sent_bytes: int | None
    """Body bytes acknowledged when the system had just taken the last one."""
    receipt: Mapping[str, object]
    """What the receiver said."""
    waited_for_cpu_ns: int
    """While the upload ran: how long this process had work to do and no CPU to do it on."""
    seed: Mapping[str, object] = field(repr=False)

    def at(self, moment: str) -> int:
        """A moment that must have happened, in epoch nanoseconds."""
        value = self.times[moment]
        assert value is not None, moment
        return value

    def between_s(self, start: str, end: str) -> float:
        """Seconds from one moment to another."""
        return (self.at(end) - self.at(start)) / 1e9


def upload_from(
    host: Namespace, plan: Plan, env: Mapping[str, str] | None = None
) -> list[Observation]:
    """Carry out a plan in a fresh process inside a namespace, ahead of other work."""
    with ahead_of_others():
        output = host.python("tests.link.uploads", json.dumps(asdict(plan)), env=env, limit_s=110)
    return [Observation(**{**answer, "job": Job(**answer["job"])}) for answer in json.loads(output)]


async def _carry_out(plan: Plan) -> list[dict[str, object]]:
    turns = list(_by_client(plan.jobs))
    results: list[list[dict[str, object]]] = [[] for _ in turns]
    if not plan.clients_at_once:
        for jobs, result in zip(turns, results, strict=True):
            await _one_client(plan, jobs, result)
    else:
        async with anyio.create_task_group() as tasks:
            for jobs, result in zip(turns, results, strict=True):
                tasks.start_soon(_one_client, plan, jobs, result)
    return [observation for result in results for observation in result]


def _by_client(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    turn: list[Job] = []
    for job in jobs:
        if turn and job.new_client:
            yield turn
            turn = []
        turn.append(job)
    yield turn


async def _one_client(plan: Plan, jobs: Sequence[Job], result: list[dict[str, object]]) -> None:
    quality = trilane.QualityOptions(include_private=True, scope="client")
    async with trilane.AsyncClient(
        verify=_verify(plan),
        timeout=trilane.Timeouts(total_s=plan.timeout_s, write_idle_s=plan.write_idle_s),
        quality=quality if plan.estimates else None,
        kernel_timestamps=plan.kernel_timestamps,
        sessions=plan.sessions,
    ) as client:
        for job in jobs:
            if job.new_connection:
                for connection in client._engine.pool.connections:
                    connection.retire()
            result.append(await _upload(client, job))


def _verify(plan: Plan) -> str | ssl.SSLContext:
    if plan.tls_maximum == "1.3":
        return plan.ca
    context = ssl.create_default_context(cafile=plan.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def _upload(client: trilane.AsyncClient, job: Job) -> dict[str, object]:
    acked: list[int | None] = []

    def watch(progress: trilane.Progress) -> None:
        if progress.sent == progress.total:
            acked.append(progress.acked)

    waited_before_ns = _waited_for_cpu_ns()
    with _content(job) as content:
        response = await client.request(
            "POST",
            job.url,
            content=content,
            protocol=job.protocol,
            on_progress=watch,
            early_data=job.early_data,
        )
    waited_ns = _waited_for_cpu_ns() - waited_before_ns
    to_epoch = time.time_ns() - time.monotonic_ns()
    profile = response.profile
    if profile is None or profile.transport is None or profile.http_version is None:
        raise RuntimeError("the response came without a complete profile")
    moments = {name: getattr(profile, name) for name in MOMENTS}
    moments |= {name: getattr(profile.transport, name) for name in KERNEL_MOMENTS}
    return {
        "job": asdict(job),
        "times": {name: None if at is None else at + to_epoch for name, at in moments.items()},
        "transport": asdict(profile.transport),
        "sent_bytes": profile.sent_bytes,
        "received_bytes": profile.received_bytes,
        "body_sent_bytes": profile.body_sent_bytes,
        "socket_reused": profile.socket_reused,
        "connection_id": profile.connection_id,
        "http_version": profile.http_version,
        "session_resumed": profile.tls and profile.tls.session_resumed,
        "early_data_accepted": profile.tls and profile.tls.early_data_accepted,
        "rtt_ms": profile.rtt_ms,
        "acked_when_sent_bytes": acked[0] if acked else None,
        "receipt": response.json(),
        "waited_for_cpu_ns": waited_ns,
        "seed": profile.seed(),
    }


@contextmanager
def _content(job: Job) -> Iterator[bytes | Path]:
    body = body_of(job.body_bytes)
    if not job.from_file:
        yield body
        return
    with NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        yield Path(file.name)


def _waited_for_cpu_ns() -> int:
    """Time on the run queue of the thread that runs the event loop (schedstat, proc(5))."""
    if not _SCHEDSTAT.exists():  # a kernel without CONFIG_SCHED_INFO does not know
        return 0
    return int(_SCHEDSTAT.read_text(encoding="ascii").split()[1])


@cache
def body_of(size: int) -> bytes:
    """A body of so many bytes that nothing can compress."""
    return random.Random(size).randbytes(size)


def main() -> None:
    """Carry out the plan on the command line."""
    description = json.loads(sys.argv[1])
    jobs = tuple(Job(**job) for job in description.pop("jobs"))
    plan = Plan(jobs=jobs, **description)
    sys.stdout.write(json.dumps(anyio.run(_carry_out, plan, backend=plan.backend)))


if __name__ == "__main__":
    main()
