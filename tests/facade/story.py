"""Uploads that show every phase a profile can tell of, made once per protocol and event loop."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

import trilane
from tests.api.diary import Diary
from tests.peers.servers import Endpoints
from trilane import uploadFile
from trilane.transport.profile.moments import WALL

#: How long the receiver thinks before it answers.
THINKING_MS = 50
#: A client's parallel requests are 10: two of so many have to wait.
CROWD = 12
_CROWDED_MS = 200
#: Large enough for bulk senders to be worth it.
LARGE_BYTES = 4 << 20
_SMALL = bytes(range(256)) * 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one upload told, and when it was made, in epoch milliseconds."""

    res: Mapping[str, Any]
    diary: Diary
    called_ms: tuple[float, float]
    """Just before and just after the call."""
    ended_ms: float
    wall_ms: float
    """What the wall clock said then; it may be slewed against the one moments are taken from."""

    @property
    def profile(self) -> Mapping[str, Any]:
        """`res.profile`."""
        profile: Mapping[str, Any] = self.res["profile"]
        return profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All of them."""

    protocol: str
    port: int
    fresh: Told
    """To a host name, over a new connection."""
    reused: Told
    """The same again, over the same connection."""
    literal: Told
    """To an IP address, over a new connection, without bulk senders."""
    redirected: Told
    """Within the origin."""
    queued: Told
    """Behind others."""
    large: Told
    """A large file."""
    in_clear: Told | None
    """A large file over http; HTTP/1.1 only."""
    estimated: Mapping[str, Any]
    """Profile of a download, with estimates that count this very network."""
    estimated_from_ms: float
    """Milliseconds from the end of its request to the beginning of its response."""


async def tell(protocol: str, receiver: Endpoints, hypercorn: Endpoints, folder: Path) -> Story:
    """Make the uploads; on any event loop, with connections nobody else uses."""
    # An authority of our own makes clients of our own: uploads share one by what they trust.
    ca, small, large = folder / "ca.pem", folder / "small.bin", folder / "large.bin"
    shutil.copy(receiver.ca, ca)
    small.write_bytes(_SMALL)
    large.write_bytes(bytes(LARGE_BYTES))
    options = {"filePath": str(small), "name": "file", "verify": str(ca), "protocol": protocol}
    slow = f"?delay={THINKING_MS}"
    by_name = receiver.url("https", f"/upload{slow}", host="localhost")
    in_clear = None
    if protocol == "http/1.1":
        in_clear = await _upload({**options, "url": receiver.url("http"), "filePath": large})
    estimated = await _download(protocol, hypercorn)
    return Story(
        protocol=protocol,
        port=receiver.https_port or 0,
        fresh=await _upload({**options, "url": by_name}),
        reused=await _upload({**options, "url": by_name}),
        literal=await _upload(
            {**options, "url": receiver.url("https"), "useHighPerformanceMode": False}
        ),
        redirected=await _upload(
            {**options, "url": receiver.url("https", "/upload?redirect=/upload", host="localhost")}
        ),
        queued=await _last_of_a_crowd(
            {**options, "url": receiver.url("https", f"/upload?delay={_CROWDED_MS}")}
        ),
        large=await _upload({**options, "url": receiver.url("https"), "filePath": large}),
        in_clear=in_clear,
        estimated=estimated.seed(),
        estimated_from_ms=_waiting_ms(estimated),
    )


async def _upload(options: Mapping[str, Any]) -> Told:
    diary = Diary()
    before_ms = _now_ms()
    task = uploadFile(options, **diary.callbacks())
    after_ms = _now_ms()
    diary.listen_to(task)
    res = await task
    return Told(
        res=res,
        diary=diary,
        called_ms=(before_ms, after_ms),
        ended_ms=_now_ms(),
        wall_ms=time.time() * 1000,
    )


async def _last_of_a_crowd(options: Mapping[str, Any]) -> Told:
    crowd: list[Told] = []

    async def one() -> None:
        crowd.append(await _upload(options))

    async with anyio.create_task_group() as tasks:
        for _ in range(CROWD):
            tasks.start_soon(one)
    return max(crowd, key=lambda told: told.profile["queueEnd"])


async def _download(protocol: str, server: Endpoints) -> trilane.Profile:
    quality = trilane.QualityOptions(include_private=True, scope="client")
    preference = trilane.Preference(exactly=trilane.HttpVersion(protocol))
    async with trilane.AsyncClient(verify=str(server.ca), quality=quality) as client:
        url = server.url("https", f"/?body_bytes={LARGE_BYTES}")
        response = await client.upload(url, _SMALL, protocol=preference)
    if response.profile is None:
        raise RuntimeError("the response came without its profile")
    return response.profile


def _waiting_ms(profile: trilane.Profile) -> float:
    if profile.request_end is None or profile.response_start is None:
        raise RuntimeError("the profile is incomplete")
    return (profile.response_start - profile.request_end) / 1e6


def _now_ms() -> float:
    return WALL.epoch_ms(time.monotonic_ns())
