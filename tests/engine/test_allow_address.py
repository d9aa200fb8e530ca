"""`allow_address`: what it refuses is not dialled, wherever the address came from.

The servers listen on 127.0.0.1, which stands for a public address in most of these tests.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import anyio
import pytest

import trilane
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.servers import Endpoints
from trilane.transport.alt_svc_file import save_alternatives
from trilane.transport.call import Call
from trilane.transport.config import (
    EngineOptions,
    HttpVersion,
    NameOptions,
    Preference,
    TlsOptions,
)
from trilane.transport.engine import Engine
from trilane.transport.message import parse_url
from trilane.transport.origins import KnownAlternative
from trilane.transport.profile.moments import AttemptOutcome
from trilane.transport.profile.recorder import Recorder

Protocol = Literal["http/1.1", "h2", "h3"]
Rule = Callable[[IPv4Address | IPv6Address], bool]

every_protocol = pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])
REFUSED = "refused by allow_address"


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


class Names:
    """`getaddrinfo` for one name: each look-up has the next answer, the last one goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, *answers: list[str]) -> None:
        self.asked = 0
        self._name = name
        self._answers = answers
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str, *_args: object, **_options: object) -> list[Any]:
        assert host == self._name
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in ip], socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in answer]


def only_main(address: IPv4Address | IPv6Address) -> bool:
    return str(address) == "127.0.0.1"


def client(server: Endpoints, rule: Rule | None, **options: Any) -> trilane.AsyncClient:
    return trilane.AsyncClient(verify=server.ca, allow_address=rule, **options)


def refused(profile: trilane.Profile | None) -> list[tuple[str, int] | None]:
    """Addresses that were refused; every one of them ended when it began."""
    assert profile is not None
    found = [each for each in profile.attempts if each.error == REFUSED]
    assert all(each.outcome is AttemptOutcome.FAILED for each in found)
    assert all(each.start == each.end for each in found)
    return [each.address for each in found]


@every_protocol
@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "127.1", "2130706433", "0x7f.1", "017700000001", "0177.0.0.1"),
        *("0", "10.0.0.8", "169.254.169.254", "100.100.100.200", "\u2460\u2461\u2466.1"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[fe80::1]", "[fd00::1]"),
        # Translated (NAT64), tunnelled (6to4, Teredo) and IPv4-compatible.
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::1]", "[2001:0:7f00:1::]", "[::127.0.0.1]"),
    ],
)
async def test_a_literal_is_refused(caddy: Endpoints, protocol: Protocol, host: str) -> None:
    async with client(caddy, trilane.public_addresses_only) as uploads:
        with pytest.raises(trilane.AddressRefused, match="allow_address refused") as caught:
            await uploads.upload(caddy.url("https", host=host), b"x", protocol=protocol)
    error = caught.value
    assert len(refused(error.profile)) == len(error.attempts) == 1
    assert error.profile is not None
    assert error.profile.connect_start is None


@every_protocol
async def test_a_name_is_refused_that_resolves_to_private_addresses(
    caddy: Endpoints, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, "internal.example", ["::1", "127.0.0.1", "10.0.0.1"])
    async with client(caddy, trilane.public_addresses_only) as uploads:
        url = caddy.url("https", host="internal.example")
        with pytest.raises(trilane.AddressRefused) as caught:
            await uploads.upload(url, b"x", protocol=protocol)
    port = caddy.https_port
    assert refused(caught.value.profile) == [("::1", port), ("127.0.0.1", port), ("10.0.0.1", port)]
    assert str(caught.value) == (
        "allow_address refused ::1, 127.0.0.1, 10.0.0.1 of 'internal.example'"
    )


@every_protocol
async def test_of_several_addresses_those_allowed_are_dialled(
    caddy: Endpoints, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, "localhost", ["127.0.0.2", "127.0.0.1", "10.0.0.1"])
    async with client(caddy, only_main) as uploads:
        url = caddy.url("https", host="localhost")
        response = await uploads.upload(url, b"x", protocol=protocol)
    profile = response.profile
    assert profile is not None
    assert refused(profile) == [("127.0.0.2", caddy.https_port), ("10.0.0.1", caddy.https_port)]
    assert (response.status_code, profile.peer_ip) == (200, "127.0.0.1")


@every_protocol
async def test_a_redirect_is_not_followed_to_a_refused_address(
    caddy: Endpoints, protocol: Protocol
) -> None:
    location = caddy.url("https", host="127.0.0.2")
    async with client(caddy, only_main) as uploads:
        start = f"{caddy.url('https')}?status=307&location={quote(location)}"
        with pytest.raises(trilane.AddressRefused) as caught:
            await uploads.upload(start, b"x", protocol=protocol)
    profile = caught.value.profile
    assert profile is not None
    assert refused(profile) == [("127.0.0.2", caddy.https_port)]
    assert [leg.status for leg in profile.legs] == [307, None]


@every_protocol
async def test_an_alternative_service_is_not_used_at_a_refused_address(
    caddy: Endpoints, protocol: Protocol
) -> None:
    alternative = quote('h3="127.0.0.2:4433"')
    async with client(caddy, only_main, http3=True) as uploads:
        told = await uploads.upload(
            f"{caddy.url('https')}?alt_svc={alternative}", b"x", protocol=protocol
        )
        assert told.headers["alt-svc"] == 'h3="127.0.0.2:4433"'
        if protocol == "h3":
            await retire_all(uploads)
        with pytest.raises(trilane.AddressRefused) as caught:
            await uploads.upload(caddy.url("https"), b"x", protocol="h3")
        assert refused(caught.value.profile) == [("127.0.0.2", 4433)]
        # In a race, TCP to the origin is left.
        response = await uploads.upload(caddy.url("https"), b"x")
    profile = response.profile
    assert profile is not None
    assert refused(profile) == [("127.0.0.2", 4433)]
    assert (profile.peer_ip, response.http_version) == ("127.0.0.1", "HTTP/2")


async def retire_all(uploads: trilane.AsyncClient) -> None:
    """Let the next upload make its own connection; those of HTTP/1.1 stay until they expire."""
    pool = uploads._engine.pool
    for connection in pool.connections:
        connection.retire()
    while any(each.facts.version is not HttpVersion.HTTP1 for each in pool.connections):
        await anyio.sleep(0.01)


@every_protocol
async def test_a_name_that_changes_its_answer_is_looked_up_once_and_asked_about_again(
    caddy: Endpoints, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the address that was checked is the one that is dialled."""
    names = Names(monkeypatch, "localhost", ["127.0.0.1"], ["127.0.0.2"])
    url = caddy.url("https", host="localhost")
    async with client(caddy, only_main) as uploads:
        response = await uploads.upload(url, b"x", protocol=protocol)
        assert response.profile is not None
        assert (response.profile.peer_ip, names.asked) == ("127.0.0.1", 1)
        # The connection was made to an allowed address, and stays there.
        assert (await uploads.upload(url, b"x", protocol=protocol)).status_code == 200
        assert names.asked == 1
    async with client(caddy, only_main) as uploads:
        with pytest.raises(trilane.AddressRefused, match=r"127\.0\.0\.2"):
            await uploads.upload(url, b"x", protocol=protocol)
        assert names.asked == 2


@pytest.mark.parametrize("host", ["127.0.0.2", "inside.example"])
async def test_an_alternative_from_a_file_is_asked_about_too(
    caddy: Endpoints, tmp_path: Path, host: str
) -> None:
    """Whoever wrote the file; what it says is no more than an advertisement."""
    url, path = caddy.url("https"), tmp_path / "alt-svc"
    known = KnownAlternative(parse_url(url).origin, (host, 4433), 3600.0)
    save_alternatives(path, [known])
    options = EngineOptions(
        tls=TlsOptions(verify=str(caddy.ca)),
        names=NameOptions(static=(("inside.example:4433", ("127.0.0.2",)),)),
        allow_address=only_main,
        alt_svc_path=path,
    )
    call = Call(method="POST", url=parse_url(url), preference=Preference(exactly=HttpVersion.HTTP3))
    async with Engine(options) as engine:
        with pytest.raises(trilane.AddressRefused) as caught:
            await engine.send(call, Recorder())
    assert [each.address for each in caught.value.attempts] == [("127.0.0.2", 4433)]


class Turncoat:
    """A resolver whose first answer is harmless."""

    def __init__(self, *answers: str) -> None:
        self._answers = iter(answers)
        self.asked = 0

    async def resolve(self, host: str) -> tuple[str, ...]:
        self.asked += 1
        return (next(self._answers),)


@every_protocol
@pytest.mark.parametrize("worse", ["127.0.0.2", "::ffff:127.0.0.2", "::1"])
async def test_a_later_connection_of_the_same_client_asks_about_the_new_answer(
    caddy: Endpoints, protocol: Protocol, worse: str
) -> None:
    resolver = Turncoat("127.0.0.1", worse)
    url = caddy.url("https", host="localhost")
    async with client(caddy, only_main, resolver=resolver) as uploads:
        assert (await uploads.upload(url, b"x", protocol=protocol)).status_code == 200
        await retire_all(uploads)
        with pytest.raises(trilane.AddressRefused) as caught:
            await uploads.upload(url, b"x", protocol=protocol)
        assert refused(caught.value.profile) == [(worse, caddy.https_port)]
    assert resolver.asked == 2


@every_protocol
@pytest.mark.parametrize("host", ["2130706434", "0x7f000002", "[::ffff:7f00:2]", "second.example"])
async def test_no_spelling_of_a_redirect_leads_to_a_refused_address(
    caddy: Endpoints, protocol: Protocol, host: str
) -> None:
    location = quote(caddy.url("https", host=host))
    mapped = {f"second.example:{caddy.https_port}": ["127.0.0.2"]}
    async with client(caddy, only_main, resolve=mapped) as uploads:
        start = f"{caddy.url('https')}?status=307&location={location}"
        with pytest.raises(trilane.AddressRefused) as caught:
            await uploads.upload(start, b"x", protocol=protocol)
    assert len(refused(caught.value.profile)) == 1


@pytest.mark.parametrize("host", ["alt.example", "[::ffff:127.0.0.2]", "2130706434"])
async def test_no_spelling_of_an_alternative_leads_to_a_refused_address(
    caddy: Endpoints, host: str
) -> None:
    alternative = quote(f'h3="{host}:4433"')
    async with client(
        caddy, only_main, http3=True, resolve={"alt.example:4433": ["127.0.0.2"]}
    ) as uploads:
        url = caddy.url("https")
        told = await uploads.upload(f"{url}?alt_svc={alternative}", b"x", protocol="h2")
        assert host in told.headers["alt-svc"]
        await retire_all(uploads)
        response = await uploads.upload(url, b"x")
    # Whether it was refused or not understood: nothing but the origin was talked to.
    profile = response.profile
    assert profile is not None
    talked_to = {each.address for each in profile.attempts if each.error != REFUSED}
    assert talked_to == {("127.0.0.1", caddy.https_port)}


@every_protocol
async def test_a_rule_that_raises_refuses(caddy: Endpoints, protocol: Protocol) -> None:
    def rule(address: IPv4Address | IPv6Address) -> bool:
        raise LookupError("no such table")

    async with client(caddy, rule, http3=True) as uploads:
        for asked in (protocol, "auto"):
            with pytest.raises(trilane.UsageError, match="allow_address raised LookupError"):
                await uploads.upload(caddy.url("https"), b"x", protocol=asked)


async def test_what_is_no_rule_is_refused_at_once() -> None:
    async def asynchronous(address: IPv4Address | IPv6Address) -> bool:
        return True

    rules: list[Any] = [asynchronous, ["127.0.0.1"]]
    for rule in rules:
        with pytest.raises(trilane.UsageError):
            trilane.AsyncClient(allow_address=rule)
