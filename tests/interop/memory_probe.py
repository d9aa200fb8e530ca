"""Uploads a file in a process of its own and prints how much its peak memory grew.

Run as `python -m tests.interop.memory_probe URL CA FILE path|iterator PROTOCOL BACKEND`. It prints
one JSON object. The peak is VmHWM of /proc/self/status, which starts anew with a program;
`ru_maxrss` would be inherited from the process that started it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal, cast

import anyio

import trilane
from tests.interop.cases import HUGE_TIMEOUT_S

Protocol = Literal["http/1.1", "h2", "h3"]

_STEP_BYTES = 256 * 1024


def main() -> None:
    """Upload as the command line says."""
    url, ca, file, source, protocol, backend = sys.argv[1:]
    answer = anyio.run(_measure, url, ca, Path(file), source, protocol, backend=backend)
    sys.stdout.write(json.dumps(answer))


async def _measure(
    url: str, ca: str, file: Path, source: str, protocol: str
) -> dict[str, int | str]:
    before_kib = peak_kib()
    async with trilane.AsyncClient(verify=ca, timeout=HUGE_TIMEOUT_S - 60.0) as client:
        response = await client.upload(
            url,
            file if source == "path" else _pieces(file),
            filename=file.name,
            protocol=cast("Protocol", protocol),
        )
    return {
        "status": response.status_code,
        "grown_kib": peak_kib() - before_kib,
        "body": response.text,
    }


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(file, "rb", buffering=0) as opened:
        while piece := await opened.read(_STEP_BYTES):
            yield piece


def peak_kib() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main()
