"""Names become addresses, or errors that name the name."""

from __future__ import annotations

import socket
import threading
from typing import Any

import anyio
import pytest

from tests.peers.plain_names import PlainNames
from trilane.transport.errors import Phase, ResolveError
from trilane.transport.net.dial_log import DialLog
from trilane.transport.net.resolve import SystemResolver, resolve_host
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


class _Refusing:
    async def resolve(self, host: str) -> tuple[str, ...]:
        raise ResolveError("no such name")
