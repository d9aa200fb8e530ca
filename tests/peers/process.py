"""Foreign programs under test control: own process group, own log, no orphans, no fixed sleeps."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parents[2]
_SYSTEM_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")
_READY_POLL_S = 0.01
_STOP_GRACE_S = 3.0
#: sched(7): the lowest priority in real time, above everything that is not.
_IN_REAL_TIME = os.sched_param(1)


class ProgramMissing(Exception):
    """A foreign program is not installed on this machine."""


class ServerFailed(Exception):
    """A foreign server ended, or did not become ready in time; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server process that answered its readiness check."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Process id, which is its process group's id too."""
        return self.process.pid

    def log_tail(self, byte_count: int = 4000) -> str:
        """End of what it wrote, for messages."""
        return self.log.read_bytes()[-byte_count:].decode("utf-8", "replace")

    def stop(self, stop_signal: signal.Signals = signal.SIGTERM) -> None:
        """End the whole process group, politely first; idempotent."""
        for number in (stop_signal, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_GRACE_S)
                break
        # A leader that has gone may have left children in its group.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def find_program(name: str, package: str) -> str:
    """Path of an installed program; Debian keeps servers out of an ordinary user's PATH.

    Raises:
        ProgramMissing: it is not installed; the message names the Debian package.
    """
    path = os.environ.get("PATH", os.defpath)
    found = shutil.which(name, path=os.pathsep.join((path, *_SYSTEM_SBIN)))
    if found is None:
        raise ProgramMissing(f"{name} is not installed (Debian package {package})")
    return found


@contextmanager
def running(
    argv: Sequence[str],
    *,
    log: Path,
    ready: Callable[[RunningServer], bool],
    env: Mapping[str, str] | None = None,
    cwd: Path = REPO_ROOT,
    timeout_s: float = 20.0,
) -> Iterator[RunningServer]:
    """Run a server until the block ends, entering it once `ready` says so.

    Raises:
        ServerFailed: it ended, or was not ready within `timeout_s`.
    """
    with log.open("ab") as log_file:
        process = subprocess.Popen(
            _dying_with_parent(argv),
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    server = RunningServer(process, log)
    try:
        _wait_until_ready(server, ready, timeout_s)
        yield server
    finally:
        server.stop()


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """Let programs started in this block run before others on a busy machine, if we may.

    For those that look at the clock: nothing else gets the CPU they run on.
    """
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, _IN_REAL_TIME)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


def free_port() -> int:
    """Return a loopback port that is free for both TCP and UDP at this moment."""
    for _ in range(100):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            with suppress(OSError):
                udp.bind(("127.0.0.1", port))
                return port
    raise ServerFailed("no port is free for both TCP and UDP")


def tcp_ready(port: int) -> bool:
    """Whether something accepts TCP connections on a loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def udp_ready(port: int) -> bool:
    """Whether a socket is bound to a UDP port; read from /proc, as UDP has no handshake."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        with suppress(FileNotFoundError):
            rows = Path(table).read_text(encoding="ascii").splitlines()[1:]
            if any(row.split()[1].endswith(wanted) for row in rows):
                return True
    return False


def _wait_until_ready(
    server: RunningServer, ready: Callable[[RunningServer], bool], timeout_s: float
) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        # Asked first: a server that lost its port to another one must not look ready.
        if (status := server.process.poll()) is not None:
            raise ServerFailed(f"{server.process.args!r} ended with {status}: {server.log_tail()}")
        if ready(server):
            return
        if time.monotonic() > deadline:
            raise ServerFailed(f"{server.process.args!r} is not ready: {server.log_tail()}")
        time.sleep(_READY_POLL_S)


def _dying_with_parent(argv: Sequence[str]) -> list[str]:
    # The kernel ends the server even when this process is killed outright (SIGKILL, os._exit).
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)
