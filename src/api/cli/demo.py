"""`trilane demo`: one file over the three protocols to the built-in receiver, side by side."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import anyio

from ...transport.errors import TransportError
from ...transport.profile.profile import Profile
from ...transport.profile.waterfall import (
    Waterfalls,
    duration_text,
    phase_bars,
    size_text,
    upload_rate_bytes_per_s,
)
from ..client import AsyncClient
from ..receiver.address import ReceiverAddress
from ..receiver.process import ReceiverFailed, running_receiver
from ..response import Response
from .arguments import DemoArguments
from .extra import require_receiver
from .interrupt import interruptible
from .screen import complain, draw, printable, say
from .status import Status

_GENERATED_BYTES = 16 * 1024 * 1024
_PROTOCOLS: tuple[tuple[Literal["http/1.1", "h2", "h3"], str], ...] = (
    ("http/1.1", "HTTP/1.1"),
    ("h2", "HTTP/2"),
    ("h3", "HTTP/3"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one protocol."""

    title: str
    profile: Profile | None
    problem: str | None
    """Why it did not arrive, or not as it was sent; None when it did."""


def run_demo(arguments: DemoArguments) -> Status:
    """Upload over each protocol, draw the profiles; 0 only when every upload arrived intact.

    Raises:
        ExtraMissing: the receiver's packages are not installed.
    """
    require_receiver()
    try:
        with _demo_file(arguments.file) as path, running_receiver() as receiver:
            digest = _sha256(path)
            say(f"Uploading {path.name} ({size_text(path.stat().st_size)}) to {receiver.url}\n")
            return anyio.run(interruptible, partial(_try_all, path, digest, receiver))
    except (OSError, ReceiverFailed) as exc:
        complain(str(exc))
        return Status.FAILED


@contextmanager
def _demo_file(given: str | None) -> Iterator[Path]:
    if given is not None:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory(prefix="trilane-demo-") as folder:
        path = Path(folder) / "random.bin"
        path.write_bytes(os.urandom(_GENERATED_BYTES))
        yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _try_all(path: Path, digest: str, receiver: ReceiverAddress) -> Status:
    trials = [await _try(protocol, title, path, digest, receiver) for protocol, title in _PROTOCOLS]
    drawn = [(trial.title, trial.profile) for trial in trials if trial.profile is not None]
    draw(Waterfalls(drawn))
    say("\n" + summary_table(trials))
    return Status.FAILED if any(trial.problem for trial in trials) else Status.OK


async def _try(
    protocol: Literal["http/1.1", "h2", "h3"],
    title: str,
    path: Path,
    digest: str,
    receiver: ReceiverAddress,
) -> Trial:
    try:
        async with AsyncClient(verify=receiver.ca_path, proxy="") as client:
            response = await client.upload(receiver.url, path, protocol=protocol)
    except TransportError as error:
        problem = f"{type(error).__name__}: {error}"
        return Trial(title=title, profile=error.profile, problem=problem)
    return Trial(title=title, profile=response.profile, problem=receipt_problem(response, digest))


def receipt_problem(response: Response, digest: str) -> str | None:
    """What the receiver's answer says is wrong; None when the file arrived as it was sent."""
    if response.status_code != 200:
        return f"the receiver answered with status {response.status_code}: {response.text}"
    received = [part["sha256"] for part in response.json()["parts"]]
    if received != [digest]:
        return f"the receiver got SHA-256 {received} instead of {digest}"
    return None


def summary_table(trials: Sequence[Trial]) -> str:
    """One row per protocol."""
    rows = [("", "connected", "uploaded", "total", "rate", "SHA-256 at the receiver")]
    rows += [_row(trial) for trial in trials]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _row(trial: Trial) -> tuple[str, str, str, str, str, str]:
    verdict = printable(trial.problem) if trial.problem else "the same"
    profile = trial.profile
    if profile is None:
        return (trial.title, "-", "-", "-", "-", verdict)
    rate = upload_rate_bytes_per_s(profile)
    uploaded = profile.request_acked or profile.request_end
    end = max((bar.end_ns for bar in phase_bars(profile)), default=profile.invoke_start)
    return (
        trial.title,
        _between(profile.connect_start, profile.connect_end),
        _between(profile.request_start, uploaded),
        _between(profile.invoke_start, end),
        "-" if rate is None else f"{size_text(rate)}/s",
        verdict,
    )


def _between(start: int | None, end: int | None) -> str:
    return "-" if start is None or end is None else duration_text(end - start)
