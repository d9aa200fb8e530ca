"""The Go receiver as a child process: built when its source is newer, ended with its input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .lanes import Lane, Target

_SOURCE = Path(__file__).parent / "receiver"
#: Where Debian's golang-*-dev packages put their sources.
_GOPATH = "/usr/share/gocode"


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running receiver."""

    tls: str
    plain: str
    ca: str
    compiler: str
    pid: int

    def target(self, lane: Lane) -> Target:
        """Where to upload to on a lane."""
        return Target(lane, self.plain if lane is Lane.H1 else self.tls, self.ca)


@contextmanager
def receiver(host: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> Iterator[Receiver]:
    """Build and run the receiver; it ends with the block.

    Args:
        host: IP address it listens on.
        prefix: a command to run it with, such as one that enters a network namespace.

    Raises:
        RuntimeError: it cannot be built or started.
    """
    program = _build()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        command = [*prefix, str(program), "-host", host, "-ca", f"{folder}/ca.pem"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                yield _read_place(process)
            finally:
                process.kill()


def _build() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "trilane-benchmarks"
    program, source = cache / "receiver", _SOURCE / "main.go"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    if shutil.which("go") is None:
        raise RuntimeError("the receiver needs Go to be built: see benchmarks/README.md")
    cache.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": _GOPATH}
    built = subprocess.run(
        ["go", "build", "-o", program, "."],
        cwd=_SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise RuntimeError(f"the receiver cannot be built:\n{built.stderr}")
    return program


def _read_place(process: subprocess.Popen[bytes]) -> Receiver:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the receiver did not start:\n{process.stderr.read().decode()}")
    return Receiver(**json.loads(line), pid=process.pid)
