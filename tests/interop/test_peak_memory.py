"""Uploading a gigabyte grows the peak memory of the whole process by less than 16 MiB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.cases import HugeFile
from tests.interop.targets import Reception, Target
from tests.peers.process import REPO_ROOT
from tests.peers.receipt import Receipt
from tests.peers.servers import Endpoints

LIMIT_KIB = 16 * 1024


@pytest.mark.huge
@pytest.mark.interop
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("target", "source", "backend"),
    [
        (Target("upstream", "http", "http/1.1"), "path", "asyncio"),
        (Target("upstream", "http", "http/1.1"), "iterator", "trio"),
        (Target("upstream", "https", "http/1.1"), "path", "trio"),
        (Target("upstream", "https", "http/1.1"), "iterator", "asyncio"),
        (Target("caddy", "https", "h2"), "path", "asyncio"),
        (Target("caddy", "https", "h2"), "iterator", "trio"),
        (Target("caddy", "https", "h3"), "path", "trio"),
        (Target("caddy", "https", "h3"), "iterator", "asyncio"),
    ],
    ids=lambda value: value.label if isinstance(value, Target) else value,
)
def test_memory_stays_flat(
    request: pytest.FixtureRequest,
    gibibyte: HugeFile,
    target: Target,
    source: str,
    backend: str,
) -> None:
    endpoints: Endpoints = request.getfixturevalue(target.server)
    reception = Reception(target, endpoints)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.interop.memory_probe"),
            *(
                reception.url,
                str(reception.ca),
                str(gibibyte.path),
                source,
                target.protocol,
                backend,
            ),
        ],
        cwd=REPO_ROOT,
        check=True,
        stdout=subprocess.PIPE,
        timeout=280,
    )
    answer = json.loads(done.stdout)
    receipt = Receipt.from_json(answer["receipt"])

    assert answer["status"] == 200
    assert receipt.parts is not None
    assert [part.sha256 for part in receipt.parts] == [gibibyte.sha256]
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
