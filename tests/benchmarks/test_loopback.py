"""The network in which clients and receiver of a race run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from benchmarks.__main__ import parser
from benchmarks.loopback import SYSTEM, host, system_congestion_control

_SHOW = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
print(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\\0").decode())
"""

needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None,
    reason="needs Linux, root and iproute2",
)


def _seen(command: tuple[str, ...]) -> str:
    return subprocess.check_output([*command, sys.executable, "-c", _SHOW], text=True).strip()


@needs_root
@pytest.mark.parametrize("name", ["reno", "cubic"])
def test_every_connection_has_the_congestion_control_that_was_asked_for(name: str) -> None:
    with host(name) as place:
        assert place.congestion_control == name
        assert _seen(place.command) == name
        keeper = place.command[place.command.index("--target") + 1]
    # Nobody is left to keep the network.
    with pytest.raises(ProcessLookupError):
        os.kill(int(keeper), 0)


def test_the_systems_is_left_alone() -> None:
    with host(SYSTEM) as place:
        assert place.command == ()
        assert place.congestion_control == f"{system_congestion_control()} (the system's)"
        assert _seen(place.command) == system_congestion_control()


def test_what_cannot_be_had_is_said_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with host("cubic") as place:
        assert place.command == ()
        assert place.congestion_control.startswith(
            f"{system_congestion_control()} (the system's); cubic cannot be had: "
        )
        assert "unshare" in place.congestion_control


@needs_root
def test_the_kernels_complaint_is_passed_on() -> None:
    with host("no-such-algorithm") as place:
        assert place.command == ()
        assert "cannot be had: " in place.congestion_control
        assert "no reason" not in place.congestion_control


def test_race_asks_for_cubic() -> None:
    assert parser().parse_args(["race"]).congestion_control == "cubic"
    chosen = parser().parse_args(["race", "--congestion-control", SYSTEM])
    assert chosen.congestion_control == SYSTEM
