"""Equal questions share one; it ends with the last who waits for it."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest
from anyio.abc import TaskGroup

from trilane.transport.config import DnsServer, NameOptions, SocketOptions
from trilane.transport.errors import ResolveError, ResolveReason
from trilane.transport.net.dns_server import DnsServerSource
from trilane.transport.net.doh import DohReply, DohSource
from trilane.transport.net.flights import AnswerSource
from trilane.transport.net.names import NameService, ResolverSource
from trilane.transport.policy.dns_records import Answer, Question


class Slow:
    """A resolver of the caller's that answers when it is told to."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: Counter[str] = Counter()
        self.cancelled = 0
        self.answer = anyio.Event()

    async def resolve(self, host: str) -> tuple[str, ...]:
        self.asked[host] += 1
        try:
            await self.answer.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        return self.addresses


def service(tasks: TaskGroup, slow: Slow) -> NameService:
    return NameService(tasks, NameOptions(), ResolverSource(slow))


async def test_equal_questions_are_asked_once_at_a_time() -> None:
    slow, found = Slow("192.0.2.1"), []

    async with anyio.create_task_group() as tasks:
        names = service(tasks, slow)

        async def look_up() -> None:
            found.append((await names.begin().look_up("one.example", 443)).addresses)

        for _ in range(5):
            tasks.start_soon(look_up)
        await anyio.wait_all_tasks_blocked()
        slow.answer.set()
    assert found == [("192.0.2.1",)] * 5
    assert slow.asked == {"one.example": 1}


async def test_an_answer_does_not_come_later_for_who_takes_it_up_later() -> None:
    slow = Slow("192.0.2.1")
    slow.answer.set()
    async with anyio.create_task_group() as tasks:
        names = service(tasks, slow).begin()
        first = await names.look_up("one.example", 443)  # as QUIC does
        assert first.end is not None
        assert await names.look_up("one.example", 443) == first  # as TCP does, after its delay


async def test_a_cancelled_waiter_takes_nothing_from_the_others() -> None:
    slow, found = Slow("192.0.2.1"), []
    async with anyio.create_task_group() as tasks:
        names = service(tasks, slow)

        async def look_up(scope: anyio.CancelScope) -> None:
            with scope:
                found.append(await names.begin().look_up("one.example", 443))

        scopes = [anyio.CancelScope() for _ in range(3)]
        for scope in scopes:
            tasks.start_soon(look_up, scope)
        await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        assert slow.cancelled == 0
        slow.answer.set()
    assert len(found) == 2
    assert slow.asked == {"one.example": 1}


async def test_the_last_waiter_takes_the_question_with_it() -> None:
    slow = Slow("192.0.2.1")
    async with anyio.create_task_group() as tasks:
        names = service(tasks, slow)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as waiters:
                for _ in range(2):
                    waiters.start_soon(names.begin().look_up, "one.example", 443)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert slow.cancelled == 1
        # Whoever asks now asks anew.
        slow.answer.set()
        await names.begin().look_up("one.example", 443)
    assert slow.asked == {"one.example": 2}


@pytest.mark.parametrize("addresses", [("nowhere",), (b"\x01",), ("",)])
async def test_what_is_no_address_is_not_believed(addresses: tuple[str, ...]) -> None:
    slow = Slow(*addresses)
    slow.answer.set()
    async with anyio.create_task_group() as tasks:
        with pytest.raises(ResolveError, match="is no address") as caught:
            await service(tasks, slow).begin().look_up("one.example", 443)
    assert caught.value.reason is ResolveReason.BAD_ANSWER


async def test_a_resolver_that_raises_anything_is_a_resolve_error() -> None:
    class Broken(Slow):
        async def resolve(self, host: str) -> tuple[str, ...]:
            raise KeyError(host)

    async with anyio.create_task_group() as tasks:
        with pytest.raises(ResolveError, match="the resolver raised KeyError"):
            await service(tasks, Broken()).begin().look_up("one.example", 443)


async def test_static_addresses_are_the_most_special_ones() -> None:
    static = (
        ("*", ("192.0.2.4",)),
        ("*:80", ("192.0.2.3",)),
        ("one.example", ("192.0.2.2",)),
        ("one.example:443", ("192.0.2.1", "2001:db8::1")),
    )
    async with anyio.create_task_group() as tasks:
        names = NameService(tasks, NameOptions(static=static), ResolverSource(Slow()))
        for host, port, addresses in (
            ("one.example", 443, ("192.0.2.1", "2001:db8::1")),
            ("one.example", 80, ("192.0.2.2",)),
            ("one.example.", 80, ("192.0.2.2",)),
            ("two.example", 80, ("192.0.2.3",)),
            ("two.example", 8080, ("192.0.2.4",)),
        ):
            lookup = await names.begin().look_up(host, port)
            assert (lookup.addresses, lookup.start) == (addresses, None)


@pytest.mark.parametrize("in_clear", [False, True])
async def test_localhost_is_no_business_of_a_name_server(in_clear: bool) -> None:
    static = (("here.localhost", ("192.0.2.1",)),)
    source: AnswerSource = DohSource("https://dns.example", _never)
    if in_clear:
        source = DnsServerSource(DnsServer("192.0.2.53"), SocketOptions())
    async with anyio.create_task_group() as tasks:
        names = NameService(tasks, NameOptions(static=static), source)
        for host, addresses in (
            ("localhost", ("::1", "127.0.0.1")),
            ("there.localhost.", ("::1", "127.0.0.1")),
            ("here.localhost", ("192.0.2.1",)),
        ):
            assert (await names.begin().look_up(host, 443)).addresses == addresses


async def _never(_message: bytes) -> DohReply:
    raise AssertionError("nobody is to be asked")


async def test_a_bug_ends_one_question_and_not_the_client() -> None:
    class Defective(ResolverSource):
        async def answer(self, question: Question) -> Answer:
            raise RuntimeError(f"a bug in {question.name}")

    async with anyio.create_task_group() as tasks:
        names = NameService(tasks, NameOptions(), Defective(None))
        with pytest.raises(ResolveError, match="a bug in one"):
            await names.begin().look_up("one.example", 443)
