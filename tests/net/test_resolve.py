"""Names become addresses, or errors that name the name."""

from __future__ import annotations

import socket
import threading
from typing import Any

import anyio
import pytest

from tests.peers.plain_names import PlainNames
from trilane.transport.config import NameOptions
from trilane.transport.errors import Phase, ResolveError
from trilane.transport.net import resolve
from trilane.transport.net.dial_log import DialLog
from trilane.transport.net.doh import DohReply, DohSource
from trilane.transport.net.names import NameService, ResolverSource
from trilane.transport.net.resolve import Lookup, SystemResolver, resolve_host
from trilane.transport.profile.moments import AttemptOutcome


async def test_localhost_has_a_loopback_address() -> None:
    found = await SystemResolver().resolve("localhost")
    assert set(found) & {"127.0.0.1", "::1"}
    assert len(found) == len(set(found))


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "a" * 64 + ".example", "\x00"])
async def test_a_name_without_address_is_named_in_the_error(host: str) -> None:
    with pytest.raises(ResolveError) as caught:
        await SystemResolver().resolve(host)
    assert repr(host) in str(caught.value)
    assert caught.value.phase is Phase.RESOLVE


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_ip_literal_is_not_looked_up(host: str) -> None:
    log = DialLog()
    assert await resolve_host((host, 443), PlainNames(_Refusing()), log, "tcp") == (host,)
    assert (log.dns_start, log.dns_end, log.attempts) == (None, None, [])


async def test_a_failed_lookup_is_a_failed_attempt_without_address() -> None:
    ticks = iter(range(100))
    log = DialLog(clock=lambda: next(ticks))
    with pytest.raises(ResolveError):
        await resolve_host(("name.example", 443), PlainNames(_Refusing()), log, "tcp")
    (attempt,) = log.attempts
    assert (attempt.address, attempt.protocol) == (None, "tcp")
    assert (attempt.outcome, attempt.error) == (AttemptOutcome.FAILED, "no such name")
    assert (log.dns_start, log.dns_end) == (0, 1) == (attempt.start, attempt.end)


async def test_a_cancelled_lookup_returns_while_the_system_still_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(*args: Any, **options: Any) -> list[Any]:
        asked.set()
        answer.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(SystemResolver().resolve, "slow.example")
            await anyio.to_thread.run_sync(asked.wait, 20)
            tasks.cancel_scope.cancel()
        assert not answer.is_set()
    finally:
        answer.set()


async def test_an_empty_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [])
    with pytest.raises(ResolveError, match="no address"):
        await SystemResolver().resolve("empty.example")


async def test_addresses_of_families_that_cannot_be_dialled_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = [
        (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/run/x",)),
        (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("2001:db8::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answer)
    assert await SystemResolver().resolve("x.example") == ("2001:db8::1", "192.0.2.1")


class _Network:
    """Names as they are on a network with a translator, asked of somebody elsewhere."""

    over_https = True

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def look_up(self, host: str, port: int) -> Lookup:
        del port
        known = ("64:ff9b::c000:aa", "2001:db8::c000:aa")
        return Lookup(known if host == "ipv4only.arpa" else self._addresses, 1, 2)


@pytest.mark.parametrize(
    ("found", "dialled_here", "expected"),
    [
        # Each address at each of the network's translators.
        (
            ["192.0.2.1", "192.0.2.2"],
            True,
            ["64:ff9b::c000:201", "2001:db8::c000:201", "64:ff9b::c000:202", "2001:db8::c000:202"],
        ),
        (["192.0.2.1", "2001:db8::1"], True, ["192.0.2.1", "2001:db8::1"]),
        # A proxy, which is told the address, has a network of its own.
        (["192.0.2.1"], False, ["192.0.2.1"]),
    ],
)
async def test_names_of_ipv4_only_on_a_host_of_ipv6_only(
    monkeypatch: pytest.MonkeyPatch, found: list[str], expected: list[str], *, dialled_here: bool
) -> None:
    monkeypatch.setattr(resolve, "is_ipv6_only_towards", lambda address: ":" not in address)
    log, whom = DialLog(), ("name.example", 443)
    names = _Network(*found)
    dialled = await resolve_host(whom, names, log, "tcp", dialled_here=dialled_here)
    assert list(dialled) == expected
    # Two lookups, each where it belongs: of the name, over HTTPS, and of the translator's prefix.
    assert (log.http_dns_start, log.http_dns_end) == (1, 2)
    assert (log.dns_start, log.dns_end) == ((1, 2) if list(dialled) != found else (None, None))


@pytest.mark.parametrize("cached", [True, False])
async def test_two_lookups_in_a_row_are_one_phase(
    monkeypatch: pytest.MonkeyPatch, *, cached: bool
) -> None:
    class Own(_Network):
        """A resolver of the caller's: both lookups are no HTTPS."""

        over_https = False

        async def look_up(self, host: str, port: int) -> Lookup:
            found = (await super().look_up(host, port)).addresses
            if host == "name.example":
                return Lookup(found, 10, 20)
            return Lookup(found) if cached else Lookup(found, 30, 40)

    monkeypatch.setattr(resolve, "is_ipv6_only_towards", lambda address: ":" not in address)
    log = DialLog()
    await resolve_host(("name.example", 443), Own("192.0.2.1"), log, "tcp")
    assert (log.dns_start, log.dns_end) == (10, 20 if cached else 40)
    assert (log.http_dns_start, log.http_dns_end) == (None, None)


@pytest.mark.parametrize("over_https", [True, False])
async def test_the_translator_is_asked_for_of_the_system_whoever_else_knows_names(
    monkeypatch: pytest.MonkeyPatch, *, over_https: bool
) -> None:
    answer = [(socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("64:ff9b::c000:aa", 0, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: answer)

    async def nobody(message: bytes) -> DohReply:
        raise AssertionError("it was asked over HTTPS")

    source = DohSource("https://dns.example/", nobody) if over_https else ResolverSource(None)
    async with anyio.create_task_group() as tasks:
        names = NameService(tasks, NameOptions(), source).begin()
        first = await names.look_up("ipv4only.arpa", 443)
        again = await names.look_up("ipv4only.arpa", 443)
    assert first.addresses == again.addresses == ("64:ff9b::c000:aa",)
    assert first.start is not None
    assert first.end is not None
    assert first.start < first.end
    assert again.start is None


class _Refusing:
    async def resolve(self, host: str) -> tuple[str, ...]:
        raise ResolveError("no such name")
