"""The same uploads by trilane and by libcurl, and which time of the one is which of the other.

Run as root, `python -m tests.link.libcurl` prints the table of `docs/profile.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from tests.link.curl_uploads import CurlTimes, curl_uploads
from tests.link.emulation import SERVER_ADDRESS, Link, emulated_link
from tests.link.servers import Site, serving
from tests.link.shaper import Shape
from tests.link.uploads import Job, Observation, Plan, Protocol, upload_from
from tests.peers.process import ahead_of_others

RTT_MS, RATE_MBIT, THINK_MS = 40, 10, 100
BODY_BYTES = 1024
#: Measured from `fetch_start`, as libcurl measures from the transfer's start.
FIELDS: Mapping[str, str] = {
    "CONNECT": "tcp_connected",
    "APPCONNECT": "tls_end",
    "PRETRANSFER": "request_start",
    "POSTTRANSFER": "request_end",
    "STARTTRANSFER": "response_start",
    "TOTAL": "response_end",
}
"""CURLINFO_*_TIME_T, and the moment of the profile that means the same."""

LANES: Mapping[str, tuple[Protocol, bool]] = {
    "h1": ("http/1.1", False),
    "h1-tls": ("http/1.1", True),
    "h2": ("h2", True),
    "h3": ("h3", True),
}


Answer = TypeVar("Answer", CurlTimes, Observation)


@dataclass(frozen=True, slots=True)
class Row:
    """One time of one kind of upload, the smallest of several: noise only adds."""

    lane: str
    reused: bool
    curl_name: str
    curl_ms: float
    """0 where libcurl says that nothing happened."""
    trilane_ms: float | None
    """None where the profile says so."""


def compare(link: Link, site: Site, *, rounds: int) -> list[Row]:
    """Upload on every lane, on new and on used connections, with both."""
    link.shape(Shape(delay_s=RTT_MS / 2e3, rate_bytes_per_s=RATE_MBIT * 1e6 / 8))
    plan = Plan(ca=str(site.ca), jobs=[job for lane in LANES for job in _jobs(site, lane, rounds)])
    with ahead_of_others():
        by_curl = _by_kind(curl_uploads(link.client, plan))
        by_trilane = _by_kind(upload_from(link.client, plan))
    return [
        Row(lane, reused, name, _curl_ms(by_curl[kind], name), _our_ms(by_trilane[kind], moment))
        for kind in by_curl
        for lane, reused in [kind]
        for name, moment in FIELDS.items()
    ]


def smaller(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Row by row the smaller times of two comparisons."""
    return [
        replace(
            row,
            curl_ms=min(row.curl_ms, other.curl_ms),
            trilane_ms=min(filter(None, (row.trilane_ms, other.trilane_ms)), default=None),
        )
        for row, other in zip(rows, others, strict=True)
    ]


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    """The table of `docs/profile.md`, line by line."""
    yield "| lane, connection | " + " | ".join(f"`{name}`" for name in FIELDS) + " |"
    yield "|---" * (len(FIELDS) + 1) + "|"
    for lane in LANES:
        for reused in (False, True):
            cells = [_cell(row) for row in rows if (row.lane, row.reused) == (lane, reused)]
            kind = "used" if reused else "new"
            yield f"| {lane}, {kind} | " + " | ".join(cells) + " |"


def _cell(row: Row) -> str:
    ours = "-" if row.trilane_ms is None else f"{row.trilane_ms:.1f}"
    return f"{row.curl_ms:.1f} / {ours}" if row.curl_ms else f"0 / {ours}"


def _jobs(site: Site, lane: str, rounds: int) -> list[Job]:
    protocol, secure = LANES[lane]
    url = site.url(protocol, f"/raw?delay_s={THINK_MS / 1e3}", secure=secure)
    return [
        Job(url=url, protocol=protocol, body_bytes=BODY_BYTES, new_client=new)
        for new in (True, False) * rounds
    ]


def _by_kind(answers: Sequence[Answer]) -> dict[tuple[str, bool], Sequence[Answer]]:
    """Sort answers to `_jobs` of every lane by lane and by whether the connection was used."""
    share = len(answers) // len(LANES)
    return {
        (lane, reused): answers[index * share + reused : (index + 1) * share : 2]
        for index, lane in enumerate(LANES)
        for reused in (False, True)
    }


def _curl_ms(times: Sequence[CurlTimes], name: str) -> float:
    smallest_us: int = min(getattr(each, f"{name.lower()}_us") for each in times)
    return smallest_us / 1e3


def _our_ms(seen: Sequence[Observation], moment: str) -> float | None:
    if any(each.times[moment] is None for each in seen):
        return None
    return min(each.between_s("fetch_start", moment) for each in seen) * 1e3


def main() -> None:
    """Print the table."""
    with (
        TemporaryDirectory() as name,
        emulated_link(Path(name)) as link,
        serving(link.server, Path(name), SERVER_ADDRESS) as site,
    ):
        rows = compare(link, site, rounds=5)
    sys.stdout.writelines(f"{line}\n" for line in markdown(rows))


if __name__ == "__main__":
    main()
