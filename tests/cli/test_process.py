"""The receiver's process comes up on free ports, goes with its parent, and leaves nothing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trilane.api.receiver.process import ReceiverFailed, running_receiver
from trilane.api.receiver.sockets import open_port

COMMAND = [sys.executable, "-m", "trilane.api.receiver"]


def start(*flags: str) -> tuple[subprocess.Popen[bytes], dict[str, object]]:
    process = subprocess.Popen(
        [*COMMAND, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


@pytest.mark.parametrize("backend", [[], ["--trio"]])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(backend: list[str], sent: signal.Signals) -> None:
    process, address = start(*backend)
    with process:
        folder = Path(str(address["ca_path"])).parent
        assert folder.is_dir()
        process.send_signal(sent)
        _, complaints = process.communicate(timeout=10)
    assert (process.returncode, complaints) == (0, b"")
    assert not folder.exists()


@pytest.mark.parametrize("backend", [[], ["--trio"]])
def test_an_upload_on_its_way_does_not_keep_it(backend: list[str]) -> None:
    process, address = start("--cleartext-port=0", *backend)
    port = int(str(address["cleartext_port"]))
    with process, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nfirst bytes")
        process.terminate()
        _, complaints = process.communicate(timeout=10)
        assert (process.returncode, complaints) == (0, b"")


def test_it_ends_with_its_standard_input_when_asked_to() -> None:
    process, _ = start("--stop-with-stdin")
    with process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def test_it_goes_when_its_parent_is_killed() -> None:
    script = """
import sys
from trilane.api.receiver.process import running_receiver
with running_receiver() as address:
    print(address.port, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=10) as witness:
            parent.kill()
            # The receiver hangs up when it goes.
            assert witness.recv(1) == b""


def test_a_receiver_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ReceiverFailed, match="did not start: no answer"), running_receiver():
        pass


def test_leaving_the_context_ends_the_process() -> None:
    with running_receiver() as address:
        assert Path(address.ca_path).exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", address.port))


def test_one_number_for_tcp_and_udp() -> None:
    sockets = open_port(0, udp=True)
    try:
        ports = {sock.getsockname()[1] for sock in (*sockets.tcp, *sockets.udp)}
        assert ports == {sockets.port}
        with pytest.raises(OSError, match="in use"):
            open_port(sockets.port, udp=True)
    finally:
        sockets.close()


def test_a_taken_udp_port_is_noticed_and_nothing_stays_open() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        before = sum(1 for _ in Path("/proc/self/fd").iterdir())
        with pytest.raises(OSError, match="in use"):
            open_port(port, udp=True)
        assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
