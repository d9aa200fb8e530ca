"""Runs jobs: each in a fresh process, the peers in turn within a round.

So a machine that slows down slows all of them.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from .lanes import Target
from .peers import PEERS, Peer
from .worker import Found, Job, Kind

_JOB_LIMIT_S = 300
_BLOCK_BYTES = 1024 * 1024


@dataclass(slots=True)
class Series:
    """What one peer did on one lane, a `Found` a round."""

    peer: str
    lane: str
    rounds: list[Found] = field(default_factory=list)
    failure: str = ""
    """Why there is nothing, or nothing more."""


def installed(names: list[str]) -> tuple[list[Peer], dict[str, str]]:
    """The peers of these names that can run, and why the others cannot.

    Raises:
        SystemExit: there is no such peer.
    """
    unknown = set(names) - PEERS.keys()
    if unknown:
        raise SystemExit(f"no such peer: {', '.join(sorted(unknown))}; known: {', '.join(PEERS)}")
    absent = {
        name: f"not installed: {', '.join(PEERS[name].missing())}"
        for name in names
        if PEERS[name].missing()
    }
    return [PEERS[name] for name in names if name not in absent], absent


def run(job: Job, prefix: tuple[str, ...] = ()) -> Found:
    """Carry out one job in a fresh process.

    Raises:
        RuntimeError: it failed.
    """
    command = [*prefix, sys.executable, "-m", "benchmarks.worker", json.dumps(asdict(job))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_JOB_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise RuntimeError(f"no end within {_JOB_LIMIT_S} s") from exc
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(lines[-1])
    return Found(**json.loads(done.stdout.splitlines()[-1]))


def job_for(
    peer: Peer, target: Target, kind: Kind, *, file: str = "", uploads: int = 1, at_once: int = 1
) -> Job:
    """A job of a peer against a target."""
    return Job(
        peer=peer.name,
        lane=target.lane,
        authority=target.authority,
        ca=target.ca,
        kind=kind,
        file=file,
        uploads=uploads,
        at_once=at_once,
        congestion_control=target.congestion_control,
    )


def interleave(
    series: list[Series],
    jobs: list[Job],
    rounds: int,
    prefix: tuple[str, ...] = (),
    before: Callable[[int], object] = lambda _round: None,
) -> None:
    """Run every job once a round, beginning each round with another one; note what was found.

    Args:
        series: takes what was found, one for each job.
        jobs: what to run.
        rounds: how often.
        prefix: a command to run them with, such as one that enters a network namespace.
        before: called before each job with the number of the round.
    """
    order = list(zip(series, jobs, strict=True))
    for number in range(rounds):
        shift = number % max(1, len(order))
        for each, job in order[shift:] + order[:shift]:
            if each.failure:
                continue
            before(number)
            try:
                each.rounds.append(run(job, prefix))
            except RuntimeError as exc:
                each.failure = str(exc)


def check(job: Job, digest: str, size: int, prefix: tuple[str, ...] = ()) -> None:
    """Upload once to the receiver's own parser and compare what it got.

    Raises:
        RuntimeError: it is not what was sent, or came by another protocol.
    """
    reply = json.loads(run(job, prefix).reply)
    if reply["protocol"] != job.lane.protocol:
        raise RuntimeError(f"it spoke {reply['protocol']} instead of {job.lane.protocol}")
    got = [(part["bytes"], part["sha256"]) for part in reply["parts"]]
    if got != [(size, digest)]:
        raise RuntimeError(f"the receiver got {got} instead of {size} bytes of {digest}")


@dataclass(frozen=True, slots=True)
class Sample:
    """A file to upload."""

    path: Path
    byte_count: int
    digest: str
    """SHA-256."""


@contextmanager
def sample_file(byte_count: int) -> Iterator[Sample]:
    """A file of arbitrary but always the same bytes, in the page cache."""
    block = random.Random(5).randbytes(_BLOCK_BYTES)
    digest = sha256()
    with TemporaryDirectory(prefix="benchmarks-") as folder:
        path = Path(folder) / "upload.bin"
        with path.open("wb") as file:
            for start in range(0, byte_count, _BLOCK_BYTES):
                piece = block[: byte_count - start]
                file.write(piece)
                digest.update(piece)
        yield Sample(path, byte_count, digest.hexdigest())
