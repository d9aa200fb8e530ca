"""How long who waits for which answer (RFC 8305 §3, RFC 9460 §5); on virtual time.

The clock jumps, so these times are exact: what is late by a millisecond more is not waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from tests.net.virtual_time import Backend, backend
from trilane.transport.config import NameOptions
from trilane.transport.errors import ResolveError, ResolveReason
from trilane.transport.message import Origin
from trilane.transport.net.dial_log import DialLog
from trilane.transport.net.names import (
    RESOLUTION_DELAY_S,
    DialNames,
    NameService,
    ResolverSource,
)
from trilane.transport.policy.dns_records import Answer, HttpsRecord, Kind, Question

HOST, PORT = "one.example", 443
ORIGIN = Origin("https", HOST, PORT)
V6, V4, HINT = "2001:db8::1", "192.0.2.1", "192.0.2.99"
RECORD = HttpsRecord(priority=1, target="cdn.example", alpn=("h3",), port=8443, hints=(HINT,))
NEVER = float("inf")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    return backend(request.param)


@dataclass
class Timed:
    """A name server that answers each kind of question after a time of its own."""

    after_s: dict[Kind, float]
    ttl_s: float = 300.0
    outcomes: dict[Kind, Answer | ResolveError] = field(default_factory=dict)
    asked: Counter[Question] = field(default_factory=Counter)
    called_off: list[Question] = field(default_factory=list)

    kinds = (Kind.AAAA, Kind.A)
    offers_services = True
    over_https = True

    async def answer(self, question: Question) -> Answer:
        self.asked[question] += 1
        try:
            await anyio.sleep(self.after_s[question.kind])
        except anyio.get_cancelled_exc_class():
            self.called_off.append(question)
            raise
        outcome = self.outcomes.get(question.kind, self._ordinary(question.kind))
        if isinstance(outcome, ResolveError):
            raise outcome
        return outcome

    def _ordinary(self, kind: Kind) -> Answer:
        if kind is Kind.HTTPS:
            return Answer(services=(RECORD,), ttl_s=self.ttl_s)
        return Answer(addresses=(V6 if kind is Kind.AAAA else V4,), ttl_s=self.ttl_s)


@asynccontextmanager
async def service(server: Timed) -> AsyncIterator[NameService]:
    async with anyio.create_task_group() as tasks:
        yield NameService(tasks, NameOptions(), server)
        tasks.cancel_scope.cancel()


async def begin(names: NameService) -> tuple[DialNames, bool, float]:
    """A dial's first step: whether it got the record, and how long that took."""
    dial, began_s = names.begin(), anyio.current_time()
    found = await dial.services(ORIGIN, DialLog())
    return dial, [each.host for each in found] == ["cdn.example"], anyio.current_time() - began_s


@pytest.mark.parametrize(
    ("aaaa_s", "a_s", "https_s", "found", "took_s"),
    [
        pytest.param(0.02, 0.02, 0.01, True, 0.01, id="the record is first"),
        pytest.param(0.01, 0.01, 0.06, True, 0.06, id="it comes 50 ms after the addresses"),
        pytest.param(0.01, 0.01, 0.061, False, 0.06, id="a millisecond later"),
        pytest.param(0.01, 0.01, NEVER, False, 0.06, id="never"),
        pytest.param(0.01, NEVER, NEVER, False, 0.11, id="one family never, either"),
        pytest.param(0.01, 0.04, NEVER, False, 0.09, id="one family later"),
        pytest.param(NEVER, NEVER, 0.5, True, 0.5, id="without addresses it is waited for"),
    ],
)
async def test_a_record_is_waited_for_50_ms_longer_than_addresses(
    aaaa_s: float, a_s: float, https_s: float, took_s: float, *, found: bool
) -> None:
    assert RESOLUTION_DELAY_S == 0.05
    # Exactly at the same time, the order is the loop's: half a millisecond decides.
    early_s = 0.0005 if https_s == 0.06 else 0.0
    server = Timed({Kind.AAAA: aaaa_s, Kind.A: a_s, Kind.HTTPS: https_s - early_s})
    async with service(server) as names:
        _, got_it, waited_s = await begin(names)
    assert got_it is found
    assert waited_s == pytest.approx(took_s, abs=0.001)


async def test_a_record_that_is_late_is_for_the_next_connection() -> None:
    server = Timed({Kind.AAAA: 0.01, Kind.A: 0.01, Kind.HTTPS: 0.1})
    async with service(server) as names:
        assert (await begin(names))[1] is False
        await anyio.sleep(0.1)
        _, got_it, waited_s = await begin(names)
    assert (got_it, waited_s) == (True, 0)
    assert set(server.asked.values()) == {1}
    assert server.called_off == []


async def test_a_connection_that_is_given_up_calls_everything_off() -> None:
    server = Timed({Kind.AAAA: 0.01, Kind.A: NEVER, Kind.HTTPS: NEVER})
    async with service(server) as names:
        with anyio.move_on_after(0.03):
            await begin(names)
        await anyio.sleep(0.001)
        called_off = {question.kind for question in server.called_off}
        assert called_off == {Kind.A, Kind.HTTPS}


@pytest.mark.parametrize(
    ("aaaa_s", "a_s", "found", "took_s"),
    [
        pytest.param(0.01, 0.02, (V6, V4), 0.02, id="both"),
        pytest.param(0.05, 0.01, (V6, V4), 0.05, id="AAAA a little later"),
        pytest.param(0.07, 0.01, (V4,), 0.06, id="AAAA late"),
        pytest.param(0.01, 0.07, (V6,), 0.06, id="A late"),
        pytest.param(NEVER, 0.3, (V4,), 0.35, id="nothing before"),
    ],
)
async def test_the_other_family_is_waited_for_50_ms(
    aaaa_s: float, a_s: float, found: tuple[str, ...], took_s: float
) -> None:
    server = Timed({Kind.AAAA: aaaa_s, Kind.A: a_s})
    async with service(server) as names:
        began_s = anyio.current_time()
        lookup = await names.begin().look_up(HOST, PORT)
        assert anyio.current_time() - began_s == pytest.approx(took_s, abs=0.001)
    assert lookup.addresses == found


async def test_hints_are_used_when_a_targets_addresses_are_late() -> None:
    server = Timed({Kind.AAAA: 0.2, Kind.A: 0.2, Kind.HTTPS: 0.01})
    async with service(server) as names:
        dial, got_it, _ = await begin(names)
        assert got_it
        began_s = anyio.current_time()
        lookup = await dial.look_up("cdn.example", 8443)
        assert lookup.addresses == (HINT,)
        assert anyio.current_time() - began_s == pytest.approx(RESOLUTION_DELAY_S, abs=0.001)
        # Its own addresses have come meanwhile (RFC 9460 §7.3: they are preferred).
        await anyio.sleep(0.2)
        assert (await dial.look_up("cdn.example", 8443)).addresses == (V6, V4)


@pytest.mark.parametrize(
    "outcome",
    [
        ResolveError("SERVFAIL", reason=ResolveReason.SERVER_FAILURE),
        Answer(ttl_s=0.0, reason=ResolveReason.NO_ADDRESS),
        Answer(services=(HttpsRecord(priority=0, target=""),), ttl_s=0.0),
    ],
)
async def test_without_a_record_nothing_is_waited_for(outcome: Answer | ResolveError) -> None:
    """RFC 9460 §3.1: for HTTPS, records are optional, and a failure is as good as none."""
    server = Timed(
        {Kind.AAAA: 0.03, Kind.A: 0.03, Kind.HTTPS: 0.01}, outcomes={Kind.HTTPS: outcome}
    )
    async with service(server) as names:
        dial, got_it, waited_s = await begin(names)
        assert not got_it
        assert waited_s == pytest.approx(0.01, abs=0.001)
        assert (await dial.look_up(HOST, PORT)).addresses == (V6, V4)


async def test_an_alias_that_turns_in_a_circle_ends() -> None:
    loop = Answer(services=(HttpsRecord(priority=0, target=HOST),), ttl_s=0.0)
    server = Timed(dict.fromkeys(Kind, 0.001), outcomes={Kind.HTTPS: loop})
    async with service(server) as names:
        _, got_it, _ = await begin(names)
    assert not got_it
    assert server.asked[Question(HOST, Kind.HTTPS)] <= 10


async def test_answers_hold_for_their_ttl_and_failures_for_a_second() -> None:
    server = Timed({Kind.AAAA: 0.0, Kind.A: 0.0}, ttl_s=30.0)
    asked = Question(HOST, Kind.A)
    async with service(server) as names:
        for at_s, times in ((0, 1), (29.9, 1), (30.1, 2)):
            await anyio.sleep(at_s - anyio.current_time() if at_s else 0)
            found = await names.begin().look_up(HOST, PORT)
            assert found.addresses == (V6, V4)
            assert (found.start is None) is (times == 1 and at_s > 0)
            assert server.asked[asked] == times
        gone = Answer(ttl_s=7.0, reason=ResolveReason.NO_SUCH_NAME)
        server.outcomes = {Kind.AAAA: gone, Kind.A: gone}
        for wait_s, times in ((31, 3), (6.9, 3), (0.2, 4)):
            await anyio.sleep(wait_s)
            with pytest.raises(ResolveError, match="no such name"):
                await names.begin().look_up(HOST, PORT)
            assert server.asked[asked] == times
        failed = ResolveError("SERVFAIL", reason=ResolveReason.SERVER_FAILURE)
        server.outcomes = {Kind.AAAA: failed, Kind.A: failed}
        for wait_s, times in ((7.1, 5), (0.9, 5), (0.2, 6)):
            await anyio.sleep(wait_s)
            with pytest.raises(ResolveError, match="SERVFAIL"):
                await names.begin().look_up(HOST, PORT)
            assert server.asked[asked] == times


async def test_what_could_not_be_connected_to_is_asked_for_again() -> None:
    server = Timed({Kind.AAAA: 0.0, Kind.A: 0.0})
    async with service(server) as names:
        dial = names.begin()
        await dial.look_up(HOST, PORT)
        dial.forget()
        await names.begin().look_up(HOST, PORT)
    assert server.asked[Question(HOST, Kind.A)] == 2


@pytest.mark.parametrize("own", [True, False])
async def test_the_systems_answers_hold_for_60_s_and_those_of_a_resolver_not_at_all(
    *, own: bool
) -> None:
    asked: list[float] = []

    class Counting:
        async def resolve(self, host: str) -> tuple[str, ...]:
            asked.append(anyio.current_time())
            return (V4,)

    source = ResolverSource(Counting()) if own else ResolverSource(None)
    source._resolver = Counting()  # without a thread, which virtual time does not wait for
    async with anyio.create_task_group() as tasks:
        names = NameService(tasks, NameOptions(), source)
        for wait_s in (0.0, 59.9, 0.2):
            await anyio.sleep(wait_s)
            await names.begin().look_up(HOST, PORT)
    assert len(asked) == (3 if own else 2)
