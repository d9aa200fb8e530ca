"""A network of their own for clients and receiver, in which TCP's congestion control is known.

On loopback nothing is ever lost, so all that a congestion control does there is to be in the way,
and how much depends on the system's: BBR paces each connection, with timers, at the rate at which
it believes the path to end. What it believes differs from one connection to the next: the same
upload of 64 MiB took from 9 to 34 ms with it, and minutes later from 8 to 14 with CUBIC (40 each).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .processors import Command

#: Asks for the system's congestion control.
SYSTEM = "system"
#: A route names the congestion control of connections that use it, whichever the sysctl permits.
_SET_UP = r"""
ip link set lo up
ip route change local 127.0.0.1 dev lo table local \
    proto kernel scope host src 127.0.0.1 congctl "$1"
echo ready
exec cat
"""


@dataclass(frozen=True, slots=True)
class Host:
    """Where clients and receiver run."""

    command: Command
    """Command to begin with."""
    congestion_control: str
    """Of TCP; with the reason, if it is not what was asked for."""


class _Impossible(Exception):
    """There can be no such network here."""


@contextmanager
def host(congestion_control: str) -> Iterator[Host]:
    """A network with nothing but 127.0.0.1, which ends with the block.

    It takes Linux, iproute2, util-linux, and root.

    Args:
        congestion_control: of all TCP connections in it, such as `cubic`. For `SYSTEM`, and where
            there can be no such network, clients and receiver stay in the system's.
    """
    systems = f"{system_congestion_control()} (the system's)"
    if congestion_control == SYSTEM:
        yield Host((), systems)
        return
    with ExitStack() as stack:
        try:
            found = Host(stack.enter_context(_network(congestion_control)), congestion_control)
        except _Impossible as exc:
            found = Host((), f"{systems}; {congestion_control} cannot be had: {exc}")
        yield found


def system_congestion_control() -> str:
    """What the system gives to TCP sockets that ask for nothing."""
    try:
        return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    except OSError:
        return "unknown"


@contextmanager
def _network(congestion_control: str) -> Iterator[Command]:
    """Have a process keep a network namespace open, and tell how to enter it."""
    command = ["unshare", "--net", "sh", "-ec", _SET_UP, "sh", congestion_control]
    pipe = subprocess.PIPE
    try:
        keeper = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    except OSError as exc:
        raise _Impossible(str(exc)) from exc
    # It ends when its input does: with this process too, however that ends.
    with keeper:
        if keeper.stdout is None or keeper.stdout.readline() != "ready\n":
            complaints = keeper.communicate()[1].strip().splitlines()
            raise _Impossible(complaints[-1] if complaints else "no reason was given")
        yield ("nsenter", "--target", str(keeper.pid), "--net")
