"""Network namespaces: a host's network stack of its own, for as long as a test needs it (Linux).

Everything here needs root; `needed` says what is missing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.link.prepared import run_prepared
from tests.peers.process import ProgramMissing, RunningServer, find_program, running

TUN_DEVICE = Path("/dev/net/tun")
_LISTENING = "0A"
_COMMAND_TIMEOUT_S = 20.0

_numbers = count(1)
#: Names go on with the id of the process that made the namespace.
_PREFIX = "trilane-"
_FOLDER = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace known to `ip netns`."""

    name: str

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside; it replaces itself with the program."""
        return [_ip(), "netns", "exec", self.name, *argv]

    def run(self, *argv: str) -> str:
        """Run a short command inside and return what it printed.

        Raises:
            subprocess.SubprocessError: it failed; the exception says what it complained of.
        """
        return _run(self.command(argv))

    def ip(self, arguments: str) -> None:
        """Run `ip` inside."""
        _run([_ip(), "-netns", self.name, *arguments.split()])

    def adopt(self, device: str) -> None:
        """Move a network device of this process's namespace inside."""
        _run([_ip(), "link", "set", device, "netns", self.name])

    def set_sysctl(self, name: str, value: str) -> None:
        """Set a kernel parameter of this namespace, such as `net.ipv4.tcp_congestion_control`."""
        path = "/proc/sys/" + name.replace(".", "/")
        self.run("sh", "-c", f'echo "{value}" > {path}')

    def sysctl(self, name: str) -> str:
        """Read a kernel parameter of this namespace."""
        return self.run("cat", "/proc/sys/" + name.replace(".", "/")).strip()

    def python(
        self,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        limit_s: int = 60,
    ) -> str:
        """Run a module of the tests in a fresh process inside; returns its standard output."""
        environment = {**os.environ, **(env or {})}
        done = run_prepared(
            _FOLDER / self.name, module, arguments, environment=environment, limit_s=limit_s
        )
        assert done.returncode == 0, f"{module} {arguments} failed:\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        tcp_ports: Sequence[int] = (),
        udp_ports: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> Iterator[RunningServer]:
        """Run a server inside until the block ends, entering it once it listens on its ports."""

        def ready(server: RunningServer) -> bool:
            tables = Path(f"/proc/{server.pid}/net")
            return (
                _same_namespace(self.name, server.pid)
                and set(tcp_ports) <= _ports(tables, "tcp", state=_LISTENING)
                and set(udp_ports) <= _ports(tables, "udp", state=None)
            )

        with running(self.command(argv), log=log, ready=ready, env=env) as server:
            yield server


@contextmanager
def namespace(role: str) -> Iterator[Namespace]:
    """A new namespace with its loopback device up; it goes with the block, and so do its devices.

    Args:
        role: shows in its name, beside the process id.
    """
    _sweep()
    made = Namespace(f"{_PREFIX}{os.getpid()}-{next(_numbers)}-{role}")
    _run([_ip(), "netns", "add", made.name])
    try:
        made.ip("link set lo up")
        yield made
    finally:
        _run([_ip(), "netns", "delete", made.name])


def require_root() -> None:
    """Skip the test without root's rights, which no installation of a package brings."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")


def require_programs(**packages: str) -> None:
    """Skip a test whose programs are missing, given as program=package.

    Under TRILANE_REQUIRE_INTEROP=1 it fails.
    """
    for program, package in {"ip": "iproute2", **packages}.items():
        try:
            find_program(program, package)
        except ProgramMissing as exc:
            missing(str(exc))


def require_tun() -> None:
    """Skip the test without TUN devices; under TRILANE_REQUIRE_INTEROP=1 it fails."""
    if not TUN_DEVICE.exists():
        missing(f"there is no {TUN_DEVICE}")


def missing(reason: str) -> None:
    """Skip, or fail where that is not allowed."""
    if os.environ.get("TRILANE_REQUIRE_INTEROP") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _ip() -> str:
    return find_program("ip", "iproute2")


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S
    )
    if done.returncode:
        raise subprocess.SubprocessError(f"{' '.join(argv)} failed: {done.stderr.strip()}")
    return done.stdout


def _sweep() -> None:
    """Remove what processes have left that were killed before they could clean up."""
    for left in _FOLDER.glob(f"{_PREFIX}*-*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            with suppress(subprocess.SubprocessError):  # another test run was faster
                _run([_ip(), "netns", "delete", left.name])


def _same_namespace(name: str, pid: int) -> bool:
    """Whether a process has entered the namespace; until then its /proc shows another one's."""
    wanted = (_FOLDER / name).stat()
    try:
        entered = Path(f"/proc/{pid}/ns/net").stat()
    except FileNotFoundError:
        return False
    return (wanted.st_dev, wanted.st_ino) == (entered.st_dev, entered.st_ino)


def _ports(tables: Path, protocol: str, *, state: str | None) -> set[int]:
    """Local ports in the socket tables of a namespace (IPv4 and IPv6), in a state if one is given.

    Read there because UDP has no handshake to try, and another namespace cannot be connected to.
    """
    ports = set()
    for table in (protocol, f"{protocol}6"):
        for row in (tables / table).read_text(encoding="ascii").splitlines()[1:]:
            columns = row.split()
            if state is None or columns[3] == state:
                ports.add(int(columns[1].rpartition(":")[2], 16))
    return ports
