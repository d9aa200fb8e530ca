"""Redirects over real connections: every status, same and other origin, three protocols.

What the last server got is read from its receipt. Its two names, 127.0.0.1 and localhost, are two
origins.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pytest

import trilane
from tests.peers.receipt import Receipt
from tests.peers.servers import Endpoints
from trilane import uploadFile
from trilane.transport.message import parse_url
from trilane.transport.profile.invariants import order_violations
from trilane.transport.profile.moments import AttemptOutcome

CONTENT = bytes(range(256)) * 40
CREDENTIALS = {"Authorization": "Basic x", "Cookie": "a=1", "Proxy-Authorization": "Basic y"}
#: What a POST becomes (Fetch §4.4, HTTP-redirect fetch).
METHODS = {301: "GET", 302: "GET", 303: "GET", 307: "POST", 308: "POST"}
REPLAYED = [status for status, method in METHODS.items() if method == "POST"]

Protocol = Literal["http/1.1", "h2", "h3"]


@dataclass(frozen=True, slots=True)
class Way:
    """From one URL to another."""

    start: str
    target: str

    @classmethod
    def over(cls, server: Endpoints, status: int, host: str) -> Way:
        """A redirect to a host that stands for the server, too."""
        target = server.url("https", "/target", host=host)
        return cls(redirecting(server, status, target), target)


def redirecting(server: Endpoints, status: int, target: str) -> str:
    return f"{server.url('https')}?status={status}&location={quote(target, safe=':/')}"


def shown(url: str) -> str:
    """As profiles show it: without its query."""
    return parse_url(url).shown


def chain(server: Endpoints, hops: int) -> str:
    """A URL from which so many redirects lead to the target."""
    url = "/target"
    for _ in range(hops):
        url = f"/upload?status=307&location={quote(url)}"
    return server.url("https", url)


def rewindable(folder: Path) -> Path:
    path = folder / "photo.bin"
    path.write_bytes(CONTENT)
    return path


def gone_once_sent(_folder: Path) -> AsyncIterator[bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), 1000):
            yield CONTENT[start : start + 1000]

    return pieces()


Source = Callable[[Path], Any]

every_status = pytest.mark.parametrize("status", METHODS)
every_host = pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same", "cross"])


@pytest.fixture
def client(hypercorn: Endpoints) -> trilane.AsyncClient:
    return trilane.AsyncClient(verify=str(hypercorn.ca))


@every_status
@every_host
@pytest.mark.parametrize("source", [rewindable, gone_once_sent])
async def test_the_matrix(
    client: trilane.AsyncClient,
    hypercorn: Endpoints,
    tmp_path: Path,
    *,
    protocol: Protocol,
    status: int,
    host: str,
    source: Source,
) -> None:
    way = Way.over(hypercorn, status, host)
    file = source(tmp_path)
    async with client:
        sending = client.upload(
            way.start, file, filename="photo.bin", headers=CREDENTIALS, protocol=protocol
        )
        if source is gone_once_sent and status in REPLAYED:
            with pytest.raises(trilane.SourceNotRewindable) as caught:
                await sending
            check_given_up(caught.value, way, status)
            return
        response = await sending

    same_origin = host == "127.0.0.1"
    assert response.url == way.target
    check_receipt(Receipt.from_json(response.content), METHODS[status], kept=same_origin)
    check_profile(response.profile, way, status, same_origin=same_origin)


def check_receipt(receipt: Receipt, method: str, *, kept: bool) -> None:
    assert receipt.method == method
    headers = {name.lower() for name, _ in receipt.headers}
    for name in CREDENTIALS:
        assert (name.lower() in headers) is kept, name
    if method == "GET":
        assert receipt.body_bytes == 0
        assert "content-type" not in headers
        return
    assert receipt.parts is not None
    [part] = receipt.parts
    assert (part.name, part.filename, part.size) == ("file", "photo.bin", len(CONTENT))
    assert receipt.disagreement is None


def check_profile(
    profile: trilane.Profile | None, way: Way, status: int, *, same_origin: bool
) -> None:
    assert profile is not None
    assert order_violations(profile) == []
    assert [leg.url for leg in profile.legs] == [shown(way.start), shown(way.target)]
    assert [leg.status for leg in profile.legs] == [status, 200]
    assert [leg.is_redirect for leg in profile.legs] == [False, True]
    assert profile.sent_bytes == sum(leg.sent_bytes for leg in profile.legs)
    # A connection belongs to an origin: the other one needed its own.
    assert profile.socket_reused is same_origin
    won = [each for each in profile.attempts if each.outcome is AttemptOutcome.WON]
    assert len([each for each in won if each.protocol in {"tcp", "quic"}]) == 2 - same_origin
    seed = profile.seed()
    if not same_origin:
        assert (seed["redirectStart"], seed["redirectEnd"]) == (0, 0)
        return
    assert seed["redirectStart"] == profile.wall.epoch_ms(profile.legs[0].fetch_start)
    assert seed["redirectEnd"] == seed["fetchStart"]


def check_given_up(error: trilane.SourceNotRewindable, way: Way, status: int) -> None:
    profile = error.profile
    assert profile is not None
    assert [(leg.url, leg.status) for leg in profile.legs] == [(shown(way.start), status)]
    assert profile.upload_complete


@pytest.mark.parametrize("hops", [20, 21])
async def test_twenty_are_followed_and_no_more(
    hypercorn: Endpoints, tmp_path: Path, protocol: Protocol, hops: int
) -> None:
    told: list[dict[str, Any]] = []
    task = uploadFile(
        url=chain(hypercorn, hops),
        filePath=rewindable(tmp_path),
        name="file",
        verify=str(hypercorn.ca),
        protocol=protocol,
        fail=told.append,
    )
    if hops == 20:
        res = await task
        assert Receipt.from_json(res["data"]).target == "/target"
        return
    with pytest.raises(trilane.RedirectError) as caught:
        await task
    assert caught.value.profile is not None
    assert len(caught.value.profile.legs) == 21
    assert [event["errno"] for event in told] == [600008]


async def test_https_is_left_when_that_is_allowed(
    receiver: Endpoints, protocol: Protocol, tmp_path: Path
) -> None:
    target = receiver.url("http")
    url = f"{receiver.url('https')}?redirect={quote(target)}"
    async with trilane.AsyncClient(verify=str(receiver.ca)) as client:
        sending = client.upload(
            url, rewindable(tmp_path), protocol=protocol, insecure_redirects=True
        )
        if protocol == "h3":
            # There is no HTTP/3 without encryption, and nothing else will do.
            with pytest.raises(trilane.ProtocolUnavailable):
                await sending
            return
        response = await sending

    assert response.url == target
    assert response.json()["method"] == "POST"
    assert response.json()["parts"][0]["size"] == len(CONTENT)


async def test_https_is_not_left(
    client: trilane.AsyncClient, hypercorn: Endpoints, protocol: Protocol
) -> None:
    url = redirecting(hypercorn, 307, "http://127.0.0.1:1/")
    async with client:
        with pytest.raises(trilane.RedirectError, match="in clear") as caught:
            await client.upload(url, CONTENT, protocol=protocol)

    assert caught.value.profile is not None
    assert [leg.status for leg in caught.value.profile.legs] == [307]


@every_status
async def test_a_redirect_may_be_left_to_the_caller(
    client: trilane.AsyncClient, hypercorn: Endpoints, protocol: Protocol, status: int
) -> None:
    way = Way.over(hypercorn, status, "localhost")
    async with client:
        response = await client.upload(
            way.start, CONTENT, protocol=protocol, follow_redirects=False
        )

    assert response.status_code == status
    assert response.headers["location"] == way.target
    assert response.profile is not None
    assert len(response.profile.legs) == 1


async def test_the_upload_stops_when_the_head_of_the_redirect_is_there(
    receiver: Endpoints, tmp_path: Path, protocol: Protocol
) -> None:
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        # More than any buffer on the way holds.
        file.truncate(64 << 20)
    target = quote(receiver.url("https", "/target"))
    async with trilane.AsyncClient(verify=str(receiver.ca)) as client:
        response = await client.upload(
            f"{receiver.url('https')}?redirect={target}&code=303&early=1", path, protocol=protocol
        )

    assert response.json()["method"] == "GET"
    profile = response.profile
    assert profile is not None
    assert [leg.status for leg in profile.legs] == [303, 200]
    assert profile.legs[0].sent_bytes < 64 << 20


async def test_what_was_stopped_is_sent_again_from_its_beginning(
    receiver: Endpoints, tmp_path: Path, protocol: Protocol
) -> None:
    path = tmp_path / "large.bin"
    content = random.Random(8).randbytes(8 << 20)
    path.write_bytes(content)
    target = quote(receiver.url("https", "/target"))
    async with trilane.AsyncClient(verify=str(receiver.ca)) as client:
        response = await client.upload(
            f"{receiver.url('https')}?redirect={target}&code=308&early=1", path, protocol=protocol
        )

    [part] = response.json()["parts"]
    assert part["sha256"] == hashlib.sha256(content).hexdigest()
    profile = response.profile
    assert profile is not None
    assert [leg.status for leg in profile.legs] == [308, 200]
    assert profile.body_sent_bytes == profile.body_bytes
