"""`trilane upload` from its command line to its output and exit status."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trilane.api.cli.main import main
from trilane.api.receiver.address import ReceiverAddress

# The seed's table, name by name.
SEED_PROFILE = frozenset(
    """
    invokeStart queueStart queueEnd redirectStart redirectEnd fetchStart domainLookUpStart
    domainLookUpEnd connectStart connectEnd SSLconnectionStart SSLconnectionEnd requestStart
    requestEnd responseStart responseEnd rtt estimate_nettype httpRttEstimate transportRttEstimate
    downstreamThroughputKbpsEstimate throughputKbps peerIP port socketReused sendBytesCount
    receivedBytedCount protocol usingHighPerformanceMode
    """.split()  # noqa: SIM905 - a list of thirty literals would be harder to compare with the seed
)
TRILANE = [sys.executable, "-m", "trilane.api.cli"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(receiver: ReceiverAddress, photo: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Upload the photo to a path of the receiver; gives status, output, messages."""

    def upload(path: str, *flags: str) -> tuple[int, str, str]:
        url = f"https://localhost:{receiver.port}{path}"
        status = main(["upload", url, str(photo), "--cacert", receiver.ca_path, *flags])
        return (int(status), *capsys.readouterr())

    return upload


@pytest.mark.parametrize("backend", [[], ["--trio"]])
@pytest.mark.parametrize(
    ("flag", "version"),
    [("--http1.1", "http1.1"), ("--http2", "h2"), ("--http3", "quic"), ("--http3-only", "quic")],
)
def test_json_is_one_object_with_every_key_of_the_seed(
    run: Run, photo: Path, flag: str, version: str, backend: list[str]
) -> None:
    status, out, err = run("/u", "--json", "-F", "user=test", flag, *backend)
    assert (status, err) == (0, "")
    (line,) = out.splitlines()
    result = json.loads(line)
    assert {"data", "statusCode", "header", "cookies", "errMsg", "profile"} == result.keys()
    assert (result["statusCode"], result["errMsg"]) == (200, "uploadFile:ok")
    assert result["profile"].keys() >= SEED_PROFILE
    assert result["profile"]["protocol"] == version
    user, file = json.loads(result["data"])["parts"]
    assert (user["name"], user["size"]) == ("user", 4)
    assert (file["name"], file["filename"]) == ("file", "photo.jpg")
    assert file["sha256"] == hashlib.sha256(photo.read_bytes()).hexdigest()


def test_a_name_that_nobody_knows_leads_where_it_was_told_to(
    receiver: ReceiverAddress, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = f"example.test:{receiver.port}"
    flags = ["-k", "--json", "--resolve", f"{here}:127.0.0.1"]
    assert main(["upload", f"https://{here}/u", str(photo), *flags]) == 0
    assert json.loads(capsys.readouterr().out)["profile"]["peerIP"] == "127.0.0.1"


def test_a_name_server_without_tls_is_wrong_usage(run: Run) -> None:
    status, out, err = run("/u", "--doh-url", "http://dns.test/dns-query")
    assert (status, out) == (2, "")
    assert "must start with https://" in err


def test_json_of_a_failure(capsys: pytest.CaptureFixture[str], photo: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        status = main(["upload", url, str(photo), "--json"])
    out, err = capsys.readouterr()
    assert status == 1
    failure = json.loads(out)
    assert failure.keys() == {"errMsg", "errno"}
    assert failure["errMsg"].startswith("uploadFile:fail ")
    assert "refused" in err
    assert "Traceback" not in err


def test_output_for_people_is_the_answer_and_the_waterfall(run: Run) -> None:
    status, out, err = run("/u", "--http2")
    assert (status, err) == (0, "")
    assert '"http_version": "2"' in out
    for label in ("DNS", "connect", "TLS", "send", "wait", "receive", "total", "new connection"):
        assert label in out
    assert "%" not in out


def test_repeated_uploads_reuse_the_connection_and_show_it(run: Run) -> None:
    status, out, _ = run("/u", "-n", "3")
    assert status == 0
    assert (out.count("new connection"), out.count("reused connection")) == (1, 2)
    assert "upload 3 of 3" in out


def test_repeated_uploads_in_json_are_one_object_each(run: Run) -> None:
    _, out, _ = run("/u", "-n", "3", "--json")
    reused = [json.loads(line)["profile"]["socketReused"] for line in out.splitlines()]
    assert reused == [False, True, True]


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2", "--http3-only"])
def test_http_errors_are_failures_only_with_fail(run: Run, protocol: str) -> None:
    assert run("/?status=404", protocol)[0] == 0
    status, out, err = run("/?status=413", protocol, "--fail")
    assert status == 22
    assert "the server answered with status 413" in err
    assert "status 413" in out
    assert run("/?status=204&early=0", protocol, "--fail")[0] == 0


def test_headers_and_names_arrive(run: Run) -> None:
    status, out, _ = run("/u", "--name", "photo", "-H", "X-Token: t", "--json")
    assert status == 0
    assert json.loads(json.loads(out)["data"])["parts"][0]["name"] == "photo"


@pytest.mark.parametrize("header", ["Content-Length: 3", "Referer: x"])
def test_a_header_that_is_refused_is_wrong_usage(run: Run, header: str) -> None:
    status, out, err = run("/", "-H", header)
    assert (status, out) == (2, "")
    assert err.startswith("trilane: ")
    assert header.partition(":")[0] in err


def test_time_is_counted_in_milliseconds(run: Run) -> None:
    status, out, err = run("/?delay=5000", "--timeout", "100")
    assert (status, out) == (1, "")
    assert err.startswith("trilane: the upload took longer than 0.1 s\n")
    assert "send" in err  # how far it came


def test_a_missing_file_is_a_failure(
    capsys: pytest.CaptureFixture[str], receiver: ReceiverAddress
) -> None:
    status = main(["upload", receiver.url, "/nonexistent/photo.jpg"])
    assert status == 1
    assert "/nonexistent/photo.jpg" in capsys.readouterr().err


def test_a_wrong_url_is_wrong_usage(capsys: pytest.CaptureFixture[str], photo: Path) -> None:
    assert main(["upload", "ftp://x/", str(photo)]) == 2
    assert "http://" in capsys.readouterr().err


def test_an_unknown_authority_is_a_failure_unless_insecure(
    receiver: ReceiverAddress, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upload", receiver.url, str(photo)]) == 1
    assert "certificate" in capsys.readouterr().err
    assert main(["upload", receiver.url, str(photo), "-k"]) == 0


def test_what_a_server_says_does_not_steer_the_terminal(run: Run) -> None:
    _, out, _ = run("/%1b%5b31mred")
    assert "\x1b" not in out
    assert "red" in out


def test_without_rich_the_waterfall_is_plain_text(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    status, out, _ = run("/u")
    assert status == 0
    assert "connect  " in out
    assert "new connection" in out


def command(receiver: ReceiverAddress, path: str, file: str, *flags: str) -> list[str]:
    url = f"https://localhost:{receiver.port}{path}"
    return [*TRILANE, "upload", url, file, "--cacert", receiver.ca_path, *flags]


def test_standard_input_can_be_a_pipe_or_a_file(receiver: ReceiverAddress, photo: Path) -> None:
    content = photo.read_bytes()
    argv = command(receiver, "/u", "-", "--json", "--http1.1")
    piped = subprocess.run(argv, input=content, capture_output=True, check=True, timeout=60)
    with photo.open("rb") as file:
        redirected = subprocess.run(argv, stdin=file, capture_output=True, check=True, timeout=60)
    for done, length_known in ((piped, False), (redirected, True)):
        answer = json.loads(json.loads(done.stdout)["data"])
        assert answer["parts"][0]["filename"] == "-"
        assert answer["parts"][0]["sha256"] == hashlib.sha256(content).hexdigest()
        assert (answer["content_length"] is not None) is length_known


def test_a_pipe_cannot_be_sent_twice(receiver: ReceiverAddress) -> None:
    done = subprocess.run(
        command(receiver, "/u", "-", "-n", "2"),
        input=b"x",
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert b"only once" in done.stderr


@pytest.mark.parametrize("backend", [[], ["--trio"]])
def test_ctrl_c_ends_it_at_once_even_while_it_waits_for_input(
    receiver: ReceiverAddress, backend: list[str]
) -> None:
    argv = command(receiver, "/u", "-", "--http1.1", *backend)
    # It asks for the time when it is on its way; the pipe on its input stays open and silent.
    ready, tell = os.pipe()
    environment = os.environ | {"SSLKEYLOGFILE": f"/dev/fd/{tell}"}
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        pass_fds=[tell],
    ) as process:
        os.close(tell)
        assert os.read(ready, 10)  # the TLS handshake is under way
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stdout is not None
        assert process.stderr is not None
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
    os.close(ready)


def test_a_reader_that_leaves_causes_no_traceback(receiver: ReceiverAddress, photo: Path) -> None:
    closed, end = os.pipe()
    os.close(closed)
    done = subprocess.run(
        command(receiver, "/u", str(photo)),
        stdout=end,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(end)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1


def test_an_encoding_without_blocks_is_survived(receiver: ReceiverAddress, photo: Path) -> None:
    done = subprocess.run(
        command(receiver, "/u", str(photo)),
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=60,
    )
    assert b"new connection" in done.stdout


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_a_progress_bar_and_colours_unless_told_otherwise(
    receiver: ReceiverAddress, photo: Path, no_color: bool
) -> None:
    controller, terminal = os.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    if no_color:
        environment["NO_COLOR"] = "1"
    with subprocess.Popen(
        command(receiver, "/u", str(photo)), stdout=terminal, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        shown = _read_all(controller)
    assert process.returncode == 0
    assert b"100 %" in shown
    assert (b"\x1b[32m" in shown) is not no_color


def _read_all(terminal: int) -> bytes:
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # Linux says EIO when the other side is closed
            os.close(terminal)
            return shown
