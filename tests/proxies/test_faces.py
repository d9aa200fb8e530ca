"""`uploadFile` and the command line go through proxies, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import trilane
from tests.cli.readme import uploads
from tests.peers.proxies import Proxy
from tests.peers.servers import Endpoints
from trilane.api.cli.main import main

pytestmark = pytest.mark.interop


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(b"content")
    return path


def test_uploadfile(path: Path, dante: Proxy, receiver: Endpoints, trust: str) -> None:
    task = trilane.uploadFile(
        url=receiver.url("https"),
        filePath=str(path),
        name="file",
        verify=trust,
        proxy=dante.url("socks5"),
    )
    result = task.result()

    assert result["statusCode"] == 200
    assert result["profile"]["port"] == dante.port


def test_the_command_line(
    path: Path,
    tinyproxy: Proxy,
    receiver: Endpoints,
    trust: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["upload", receiver.url("https"), str(path), "--cacert", trust, "--json"]
    ports = []
    for more in ([], ["--noproxy", "127.0.0.1"]):
        assert main([*argv, "-x", tinyproxy.url("http"), *more]) == 0
        ports.append(json.loads(capsys.readouterr().out)["profile"]["port"])

    assert ports == [tinyproxy.port, receiver.https_port]


def test_the_readmes_commands(
    path: Path,
    tinyproxy: Proxy,
    dante: Proxy,
    receiver: Endpoints,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert receiver.https_port is not None
    ports = {8443: receiver.https_port, 8888: tinyproxy.port, 1080: dante.port}
    monkeypatch.chdir(path.parent)
    path.rename("photo.jpg")
    found = uploads("Proxies", "", ports)
    assert len(found) == 2
    for _, *argv in found:
        assert main(argv) == 0, argv
