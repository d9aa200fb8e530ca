"""The uploads that are recorded, and each one's profile beside what crossed the wire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.capture.recording import recording
from tests.capture.tshark import Decoded, decode
from tests.capture.wire import OnWire, uploads_on_wire
from tests.link.namespaces import Namespace
from tests.link.servers import HTTP_PORT, HTTPS_PORT, Site
from tests.link.uploads import Job, Observation, Plan, Protocol, upload_from
from tests.peers.process import ahead_of_others

MIB = 1 << 20
SMALL_BYTES, BIG_BYTES = 1024, 16 * MIB
THINK_S = 0.2
SERVER_PORTS = (HTTP_PORT, HTTPS_PORT)

Backend = Literal["asyncio", "trio"]


@dataclass(frozen=True, slots=True)
class Lane:
    """A way of uploading."""

    name: str
    protocol: Protocol
    secure: bool


LANES = (
    Lane("h1", "http/1.1", secure=False),
    Lane("h1-tls", "http/1.1", secure=True),
    Lane("h2", "h2", secure=True),
    Lane("h3", "h3", secure=True),
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One upload as its profile tells it, and as the wire does."""

    lane: Lane
    profile: Observation
    wire: OnWire


@dataclass(frozen=True, slots=True)
class _Connection:
    """The uploads of one connection."""

    lane: Lane
    number: int
    """Among the TCP, or the QUIC, connections of the recording."""
    profiles: list[Observation]

    def read(self, decoded: Decoded) -> Iterator[Recorded]:
        crossed = uploads_on_wire(decoded, self.lane.protocol, self.number, SERVER_PORTS)
        for profile, wire in zip(self.profiles, crossed, strict=True):
            yield Recorded(self.lane, profile, wire)


def record(
    home: Namespace, site: Site, folder: Path, lanes: Sequence[Lane], *, rounds: int
) -> list[Recorded]:
    """Upload, record, and read the recording; each lane on both event loops.

    On trio the kernel is asked for its own moments, too.

    Args:
        home: where the receivers run and the uploads are made.
        site: the receivers.
        folder: takes the recording.
        lanes: which ways of uploading.
        rounds: how many small uploads per lane and event loop, on new and on used connections.
    """
    file, keys = folder / "recorded.pcapng", folder / "keys.txt"
    keys.touch()
    observed: list[tuple[Lane, Observation]] = []
    with recording(home, file, " or ".join(f"port {port}" for port in SERVER_PORTS)):
        for backend in ("asyncio", "trio"):
            jobs = [(lane, job) for lane in lanes for job in _jobs(lane, backend, site, rounds)]
            plan = Plan(
                ca=str(site.ca),
                jobs=[job for _, job in jobs],
                backend=backend,
                kernel_timestamps=backend == "trio",
            )
            with ahead_of_others():
                seen = upload_from(home, plan, env={"SSLKEYLOGFILE": str(keys)})
            observed += zip((lane for lane, _ in jobs), seen, strict=True)
    connections = _connections(observed)
    decoded = decode(
        file,
        keys,
        plain=[each.number for each in connections if not each.lane.secure],
        encrypted=[each.number for each in connections if each.lane.name in ("h1-tls", "h2")],
    )
    return [recorded for each in connections for recorded in each.read(decoded)]


def _jobs(lane: Lane, backend: Backend, site: Site, rounds: int) -> list[Job]:
    """Rounds of a small upload on a new connection and one that is thought about on the same.

    Then a big one: on a used connection, or, with trio, on a new one.
    """

    def job(byte_count: int, *, new: bool, path: str = "/raw") -> Job:
        url = site.url(lane.protocol, path, secure=lane.secure)
        return Job(url=url, protocol=lane.protocol, body_bytes=byte_count, new_client=new)

    pause = f"/raw?delay_s={THINK_S}"
    small = [job(SMALL_BYTES, new=True), job(SMALL_BYTES, new=False, path=pause)]
    return [*small * rounds, job(BIG_BYTES, new=backend == "trio", path=pause)]


def _connections(observed: Sequence[tuple[Lane, Observation]]) -> list[_Connection]:
    """Sort uploads by connection; they came one after the other."""
    connections: list[_Connection] = []
    counts: Counter[bool] = Counter()
    for lane, profile in observed:
        if not profile.socket_reused:
            is_quic = lane.protocol == "h3"
            connections.append(_Connection(lane, counts[is_quic], []))
            counts[is_quic] += 1
        connections[-1].profiles.append(profile)
    return connections
