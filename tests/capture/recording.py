"""Recording what crosses a namespace's loopback device, with dumpcap."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.link.namespaces import Namespace
from tests.peers.process import RunningServer, find_program, running

_BUFFER_MIB = 64
#: dumpcap empties the kernel's ring every 250 ms at the latest; what is in it at the end is lost.
_SETTLE_S = 0.5
_DROPPED = re.compile(r"Packets received/dropped on interface .*: (\d+)/(\d+)")


@contextmanager
def recording(home: Namespace, file: Path, wanted: str) -> Iterator[None]:
    """Record the packets of the block.

    Args:
        home: whose loopback device is listened to.
        file: becomes a pcapng file.
        wanted: which packets, as pcap-filter(7) has it.

    Raises:
        ProgramMissing: dumpcap is not installed.
    """
    # A train of datagrams given to the kernel in one call would be recorded as one datagram.
    home.ip("link set lo gso_max_segs 1")
    dumpcap = find_program("dumpcap", "wireshark-common")
    options = ["-q", "-i", "lo", "-B", str(_BUFFER_MIB), "-f", wanted, "-w", str(file)]
    log = file.with_suffix(".log")
    with running(home.command([dumpcap, *options]), log=log, ready=_records) as process:
        yield
        time.sleep(_SETTLE_S)
        process.stop(signal.SIGINT)
    _check_nothing_was_dropped(log.read_text(encoding="utf-8"))


def _records(process: RunningServer) -> bool:
    """Whether it has opened its file, which comes after the device."""
    return b"File: " in process.log.read_bytes()


def _check_nothing_was_dropped(said: str) -> None:
    found = _DROPPED.search(said)
    assert found is not None, said
    assert int(found[2]) == 0, said
