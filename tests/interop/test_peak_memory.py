"""Uploading a gigabyte grows the peak memory of the whole process by less than 16 MiB.

It arrives whole, as the receiver's SHA-256 says: over http, and over https and HTTP/2, at servers
that are not ours. So that it does not take minutes, the rest is 256 to 64 MiB unless
`TRILANE_FULL_SIZES=1`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.cases import FULL_SIZES, GIB, HUGE_TIMEOUT_S, MIB, HugeFile
from tests.interop.targets import Reception, Target
from tests.peers.process import REPO_ROOT

LIMIT_KIB = 16 * 1024

LESS_BYTES = GIB if FULL_SIZES else 256 * MIB
ITERATOR_BYTES = GIB if FULL_SIZES else 128 * MIB
H3_BYTES = GIB if FULL_SIZES else 64 * MIB


@pytest.mark.huge
@pytest.mark.interop
@pytest.mark.timeout(HUGE_TIMEOUT_S)
@pytest.mark.parametrize(
    ("target", "size", "source", "backend"),
    [
        (Target("nginx", "http", "http/1.1"), GIB, "path", "asyncio"),
        (Target("upstream", "http", "http/1.1"), ITERATOR_BYTES, "iterator", "trio"),
        (Target("caddy", "https", "http/1.1"), LESS_BYTES, "path", "trio"),
        (Target("upstream", "https", "http/1.1"), ITERATOR_BYTES, "iterator", "asyncio"),
        (Target("caddy", "https", "h2"), GIB, "path", "asyncio"),
        (Target("caddy", "https", "h2"), ITERATOR_BYTES, "iterator", "trio"),
        (Target("caddy", "https", "h3"), H3_BYTES, "path", "trio"),
        (Target("receiver", "https", "h3"), H3_BYTES, "iterator", "asyncio"),
    ],
    ids=lambda value: value.label if isinstance(value, Target) else str(value),
)
def test_memory_stays_flat(
    reception: Reception,
    huge_file: Callable[[int], HugeFile],
    size: int,
    source: str,
    backend: str,
) -> None:
    huge = huge_file(size)
    arguments = (reception.url, reception.ca, huge.path, source, reception.target.protocol, backend)
    done = subprocess.run(
        [sys.executable, "-m", "tests.interop.memory_probe", *map(str, arguments)],
        cwd=REPO_ROOT,
        check=True,
        stdout=subprocess.PIPE,
        timeout=HUGE_TIMEOUT_S - 20,
    )
    answer = json.loads(done.stdout)
    receipt = reception.receipt(answer["body"].encode())

    assert answer["status"] == 200
    assert receipt.parts is not None
    assert [part.sha256 for part in receipt.parts] == [huge.sha256]
    assert answer["grown_kib"] < LIMIT_KIB


def test_growth_is_seen(tmp_path: Path) -> None:
    # The meter itself: 32 MiB more must show.
    script = (
        "from tests.interop.memory_probe import peak_kib\n"
        "before = peak_kib()\n"
        "kept = bytearray(b'x') * (32 << 20)\n"
        "print(peak_kib() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPO_ROOT, check=True, stdout=subprocess.PIPE
    )

    assert int(done.stdout) >= 32 * 1024 * 0.9
