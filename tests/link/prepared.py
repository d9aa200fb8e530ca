"""Fresh processes that need not import anything first, which takes longer than what many then do.

`python -m tests.link.prepared` imports the engine, and forks once for each order it reads: a line
of JSON on standard input, which its status answers on standard output.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.peers.process import REPO_ROOT

#: Imported by what is run, some of it only when it is needed.
_IMPORTED = ("anyio._backends._asyncio", "anyio._backends._trio", "trilane")
# linux/sched.h
_CLONE_NEWNET = 0x40000000
_STOP_GRACE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What a process is to do, and as what."""

    namespace: str
    """Path of its network namespace."""
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    scheduling: tuple[int, int]
    """Policy and priority, sched(7)."""
    output: str
    errors: str
    limit_s: int
    """It is killed after so long."""


def run_prepared(
    namespace: Path,
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    limit_s: int,
) -> subprocess.CompletedProcess[str]:
    """Run a module in a process of its own inside a network namespace; warnings are errors."""
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        order = _Order(
            namespace=str(namespace),
            module=module,
            arguments=arguments,
            environment=environment,
            scheduling=(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
            output=str(output),
            errors=str(errors),
            limit_s=limit_s,
        )
        status = _forker().carry_out(order)
        texts = [path.read_text(encoding="utf-8") for path in (output, errors)]
    return subprocess.CompletedProcess([module, *arguments], status, *texts)


class _Forker:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.link.prepared"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPO_ROOT,
            start_new_session=True,
        )
        self._turns = threading.Lock()

    def carry_out(self, order: _Order) -> int:
        """Returns the status of the process, negative if a signal ended it."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("it was started without pipes")
        with self._turns:
            process.stdin.write(json.dumps(asdict(order)) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

    def stop(self) -> None:
        """It ends when its input does."""
        try:
            self._process.communicate(timeout=_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


@cache
def _forker() -> _Forker:
    forker = _Forker()
    atexit.register(forker.stop)
    return forker


def main() -> None:
    """Fork for each order; the child goes on as the module, and ends as it ends."""
    for name in _IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        order = _Order(**json.loads(line))
        child = os.fork()
        if not child:
            _become(order)
            runpy.run_module(order.module, run_name="__main__", alter_sys=True)
            return
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(order: _Order) -> None:
    flags = os.O_WRONLY | os.O_CREAT
    for fd, path, how in (
        (0, os.devnull, os.O_RDONLY),
        (1, order.output, flags),
        (2, order.errors, flags),
    ):
        opened = os.open(path, how, 0o600)
        os.dup2(opened, fd)
        os.close(opened)
    signal.alarm(order.limit_s)
    _enter(order.namespace)
    policy, priority = order.scheduling
    os.sched_setscheduler(0, policy, os.sched_param(priority))
    os.environ.clear()
    os.environ.update(order.environment)
    sys.argv = [order.module, *order.arguments]


def _enter(namespace: str) -> None:
    """setns(2), which Python has from 3.12 on."""
    fd = os.open(namespace, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter", namespace)
    os.close(fd)


if __name__ == "__main__":
    main()
