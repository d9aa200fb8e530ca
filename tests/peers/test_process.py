"""Servers under test control never outlive the test run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.peers.process import (
    REPO_ROOT,
    ProgramMissing,
    RunningServer,
    ServerFailed,
    find_program,
    free_port,
    running,
    tcp_ready,
    udp_ready,
)

# Starts a server (which starts a child of its own), tells their ids, and waits to be ended.
_HOLDER = """
import pathlib, signal, sys, time
# A shell starts background jobs with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.peers.process import running
log = pathlib.Path(sys.argv[1])
with running(["sh", "-c", "sleep 300 & echo $!; wait"], log=log, ready=lambda s: s.log_tail()):
    child = int(log.read_text())
    print(child, flush=True)
    time.sleep(300)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is missing")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_server_ends_with_the_process_that_started_it(
    tmp_path: Path, ending: signal.Signals
) -> None:
    argv = [sys.executable, "-c", _HOLDER, str(tmp_path / "log")]
    with subprocess.Popen(
        argv, cwd=REPO_ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        assert holder.stdout
        child = int(holder.stdout.readline())
        leader = _parent_of(child)
        holder.send_signal(ending)
        holder.wait(10)

    _wait_until_gone(leader)
    if ending is signal.SIGINT:
        # Only an orderly exit can end the whole group; a kill takes the leader with it.
        _wait_until_gone(child)
    else:
        os.kill(child, signal.SIGKILL)


def test_server_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    argv = ["sh", "-c", "echo no such option; exit 3"]
    with (
        pytest.raises(ServerFailed, match=r"(?s)ended with 3: .*no such option"),
        running(argv, log=tmp_path / "log", ready=lambda _: False),
    ):
        pass


def test_server_that_is_never_ready_is_reported_and_ended(tmp_path: Path) -> None:
    started: list[int] = []

    def never(server: RunningServer) -> bool:
        started.append(server.pid)
        return False

    with (
        pytest.raises(ServerFailed, match="not ready"),
        running(["sleep", "300"], log=tmp_path / "log", ready=never, timeout_s=0.05),
    ):
        pass

    _wait_until_gone(started[0])


def test_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(ProgramMissing, match=r"no-such-server is not installed .*some-package"):
        find_program("no-such-server", "some-package")


def test_free_port_has_no_listener() -> None:
    port = free_port()

    assert not tcp_ready(port)
    assert not udp_ready(port)


def _parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("PPid:")[1].split()[0])


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while _is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still running"
        time.sleep(0.01)


def _is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except FileNotFoundError:
        return False
    # A zombie waits for an init that may be slow to collect it.
    return stat.rpartition(")")[2].split()[0] != "Z"
