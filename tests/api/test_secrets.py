"""Credentials reach the server and nobody else: no log, error, repr, profile, waterfall or qlog."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import trilane
from tests.peers.process import free_port
from tests.peers.receipt import Receipt
from tests.peers.servers import Endpoints
from trilane.transport.message import Headers, parse_url

SECRET = "S3cr3tPassw0rd"
CREDENTIALS = {
    "Authorization": f"Bearer {SECRET}",
    "Cookie": f"session={SECRET}",
    "Proxy-Authorization": f"Basic {SECRET}",
}
QUERY = f"?X-Amz-Signature={SECRET}"

every_protocol = pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])


@contextmanager
def nothing_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """All loggers tell everything meanwhile, and none tells the secret."""
    with caplog.at_level(logging.DEBUG):
        yield
    logged = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    assert SECRET not in logged


def check_profile(profile: trilane.Profile | None) -> None:
    assert profile is not None
    for text in (
        str(profile),
        repr(profile),
        json.dumps(profile.seed(), default=str),
        json.dumps(asdict(profile), default=str),
    ):
        assert SECRET not in text


def check_logs(folder: Path, count: int) -> None:
    texts = [log.read_text("utf-8") for log in folder.iterdir()]
    assert len(texts) == count
    assert all('"authorization"' in text and SECRET not in text for text in texts)


@every_protocol
async def test_a_response(
    caddy: Endpoints, caplog: pytest.LogCaptureFixture, tmp_path: Path, protocol: Any
) -> None:
    quic = trilane.QuicOptions(qlog_dir=str(tmp_path))
    with nothing_logged(caplog):
        async with trilane.AsyncClient(verify=caddy.ca, quic=quic) as client:
            response = await client.upload(
                caddy.url("https", f"/upload{QUERY}"), b"x", headers=CREDENTIALS, protocol=protocol
            )
    receipt = Receipt.from_json(response.text)
    received = {name.lower(): value for name, value in receipt.headers}
    # The proxy in between takes one of them for its own.
    assert received["authorization"] == CREDENTIALS["Authorization"]
    assert received["cookie"] == CREDENTIALS["Cookie"]
    assert receipt.target == f"/upload{QUERY}"
    check_profile(response.profile)
    assert response.profile is not None
    assert response.profile.url == caddy.url("https", "/upload?***")
    check_logs(tmp_path, 1 if protocol == "h3" else 0)


@every_protocol
async def test_an_error(caplog: pytest.LogCaptureFixture, protocol: Any) -> None:
    url = f"https://127.0.0.1:{free_port()}/{QUERY}"
    with nothing_logged(caplog):
        async with trilane.AsyncClient() as client:
            with pytest.raises(trilane.TransportError) as caught:
                await client.upload(url, b"x", headers=CREDENTIALS, protocol=protocol)
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__dict__}"
    check_profile(caught.value.profile)


@every_protocol
@pytest.mark.parametrize(
    "location", [f"https://user:{SECRET}@127.0.0.1/", f"http://127.0.0.1/?token={SECRET}", "{c}"]
)
async def test_a_redirect_that_is_not_followed(
    caddy: Endpoints, caplog: pytest.LogCaptureFixture, protocol: Any, location: str
) -> None:
    location = location.format(c=f"ftp://host/?{SECRET}")
    url = caddy.url("https", f"/upload?status=307&location={location}")
    with nothing_logged(caplog):
        async with trilane.AsyncClient(verify=caddy.ca) as client:
            with pytest.raises(trilane.RedirectError) as caught:
                await client.upload(url, b"x", protocol=protocol)
    assert SECRET not in f"{caught.value} {caught.value!r}"
    check_profile(caught.value.profile)


async def test_refused_arguments(caplog: pytest.LogCaptureFixture) -> None:
    with nothing_logged(caplog):
        async with trilane.AsyncClient() as client:
            for url, headers in (
                (f"http://user:{SECRET}@host/", {}),
                (f"http://user:{SECRET}@ho st/", {}),
                ("http://host/", {"Authorization": f"{SECRET}\r\nX: y"}),
                ("http://host/", {"Authorization": f"{SECRET}\u20ac"}),
                ("http://host/", {"Host": SECRET}),
            ):
                with pytest.raises(trilane.UsageError) as caught:
                    await client.upload(url, b"x", headers=headers)
                assert SECRET not in f"{caught.value} {caught.value!r}"


def test_reprs() -> None:
    headers = Headers([*CREDENTIALS.items(), ("Set-Cookie", SECRET), ("X-Own", "shown")])
    assert SECRET not in repr(headers)
    assert "'shown'" in repr(headers)
    assert headers["cookie"] == CREDENTIALS["Cookie"]
    moved = Headers([("Location", f"https://a.example/b{QUERY}")])
    assert repr(moved) == "Headers([('Location', 'https://a.example/b?***')])"
    assert SECRET not in repr(parse_url(f"http://a.example/b{QUERY}"))
    assert parse_url(f"http://a.example/b{QUERY}").shown == "http://a.example/b?***"
    assert parse_url("http://a.example/b").shown == "http://a.example/b"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *((name, False) for name in ("X-Auth", "authorization", "X-API-Key", "Set-Cookie")),
        *((name, False) for name in ("x-goog-iam-authorization-token", "Signature", "apiKey")),
        *((name, True) for name in ("WWW-Authenticate", ":authority", "Author", "X-Keyboard")),
        *((name, True) for name in ("Content-Type", "ETag", "Retry-After")),
    ],
)
def test_which_fields_are_secrets(name: str, *, shown: bool) -> None:
    assert (SECRET in repr(Headers([(name, SECRET)]))) is shown
