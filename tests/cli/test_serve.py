"""`trilane serve` in the foreground, and what the commands say without their packages."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trilane.api.cli import extra
from trilane.api.cli.main import main

SERVE = [sys.executable, "-m", "trilane.api.cli", "serve"]


def test_it_announces_itself_logs_requests_and_ends_well_with_ctrl_c(photo: Path) -> None:
    with subprocess.Popen(
        [*SERVE, "--port", "0", "--cleartext-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        said = ""
        while "Ctrl-C" not in said:
            said += server.stdout.readline()
        found = re.search(r"trilane upload (https:\S+) FILE --cacert (\S+)", said)
        assert found is not None
        assert re.search(r"http://localhost:\d+/", said)
        status = main(["upload", found[1], str(photo), "--cacert", found[2], "--json"])
        assert status == 0
        assert "POST / HTTP/2: 200" in server.stderr.readline()
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=20) == 0
        assert server.stderr.read() == ""


def test_a_taken_port_is_a_failure_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 1
    assert "cannot listen: Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_without_its_packages_a_command_names_the_extra(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extra, "RECEIVER_MODULES", ("hypercorn", "not_installed_anywhere"))
    assert main([command]) == 2
    err = capsys.readouterr().err
    assert "not_installed_anywhere" in err
    assert 'pip install "trilane[cli]"' in err


def test_the_command_line_itself_needs_no_extra() -> None:
    script = """
import sys
for name in ("rich", "hypercorn", "python_multipart"):
    sys.modules[name] = None
from trilane.api.cli.main import main
sys.exit(main(["upload", "ftp://x/", "photo.jpg"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "http://" in done.stderr
