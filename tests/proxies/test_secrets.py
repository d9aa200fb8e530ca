"""A proxy's user name and password reach the proxy and nobody else."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import asdict
from pathlib import Path
from traceback import format_exception

import pytest

import trilane
from tests.peers.process import free_port
from tests.peers.scripted import Peer, scripted_server
from trilane.api.cli.main import main

SECRET = "S3cr3tPassw0rd"
USER = "V3ryOwnName"
#: As it is written, as HTTP's Basic carries it, and percent-encoded.
SPELLINGS = (
    SECRET,
    USER,
    base64.b64encode(f"{USER}:{SECRET}".encode()).decode(),
    SECRET.replace("3", "%33"),
)
CREDENTIALS = (f"{USER}:{SECRET}", f"{USER}:{SECRET.replace('3', '%33')}")
SCHEMES = ("http", "https", "socks5", "socks5h")


def nothing_in(*texts: str) -> None:
    for text in texts:
        assert not [each for each in SPELLINGS if each in text]


def nothing_told(error: BaseException, log: pytest.LogCaptureFixture) -> None:
    nothing_in("".join(format_exception(error)))
    nothing_in(repr(error), repr(vars(error)), log.text)
    if isinstance(error, trilane.TransportError):
        assert error.profile is not None
        profile = error.profile
        nothing_in(repr(profile), json.dumps(profile.seed(), default=str), str(asdict(profile)))


def refuses(peer: Peer) -> None:
    """An HTTP proxy that does not like the password."""
    peer.read_head()
    peer.send(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("credentials", CREDENTIALS)
async def test_a_proxy_that_cannot_be_reached(
    scheme: str, credentials: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = f"{scheme}://{credentials}@127.0.0.1:{free_port()}"
    with caplog.at_level(logging.DEBUG):
        async with trilane.AsyncClient(proxy=proxy) as client:
            nothing_in(repr(client), str(client))
            with pytest.raises(trilane.ProxyError) as caught:
                await client.upload("https://192.0.2.7/", b"x", protocol="http/1.1")
    nothing_told(caught.value, caplog)


async def test_a_proxy_that_refuses_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), scripted_server(refuses) as server:
        proxy = f"http://{CREDENTIALS[0]}@127.0.0.1:{server.port}"
        async with trilane.AsyncClient(proxy=proxy) as client:
            with pytest.raises(trilane.ProxyAuthenticationError) as caught:
                await client.upload("https://192.0.2.7/", b"x", protocol="http/1.1")
    nothing_told(caught.value, caplog)


@pytest.mark.parametrize(
    "wrong",
    ["ftp://{}@host:1", "http://{}@ho st:1", "http://{}@host:99999", "socks5://{}@", "{}@host:x",
     "http://{}@host:1/path", "http://{}@[::1", "socks4://{}@host:1080"],
)  # fmt: skip
@pytest.mark.parametrize("from_environment", [False, True])
async def test_a_proxy_url_that_is_refused(
    wrong: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    from_environment: bool,
) -> None:
    proxy: str | None = wrong.format(CREDENTIALS[0])
    if from_environment:
        monkeypatch.setenv("HTTPS_PROXY", str(proxy))
        proxy = None
    with pytest.raises(trilane.TransportError) as caught:
        async with trilane.AsyncClient(proxy=proxy) as client:
            await client.upload("https://192.0.2.7/", b"x")
    error = caught.value
    nothing_in(str(error), repr(error), repr(error.__cause__), repr(vars(error)), caplog.text)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_command_line(scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    proxy = f"{scheme}://{CREDENTIALS[0]}@127.0.0.1:{free_port()}"
    for more in ([], ["--json"]):
        assert main(["upload", "https://192.0.2.7/", str(path), "-x", proxy, *more]) != 0
        shown = capsys.readouterr()
        assert "127.0.0.1" in shown.out + shown.err
        nothing_in(shown.out, shown.err)
