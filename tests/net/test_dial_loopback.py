"""Dialling real sockets: refused, black-holed, and gone without a trace."""

from __future__ import annotations

import socket

import anyio
import pytest

from tests.peers.leaks import no_leaked_descriptors
from tests.peers.plain_names import SYSTEM_NAMES, PlainNames
from tests.peers.scripted import full_backlog, refused_port
from trilane.transport.errors import ConnectError, ResolveError
from trilane.transport.net.dial import dial_tcp
from trilane.transport.net.dial_log import DialLog
from trilane.transport.profile.moments import AttemptOutcome


class Loopback:
    """A resolver that knows several addresses of this host."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(self, host: str) -> tuple[str, ...]:
        assert host == "upload.example"
        return self._addresses


async def test_a_refused_port() -> None:
    with (
        refused_port() as port,
        no_leaked_descriptors(),
        pytest.raises(ConnectError, match=rf"127\.0\.0\.1:{port}: connection refused") as caught,
    ):
        await dial_tcp("127.0.0.1", port, names=SYSTEM_NAMES)
    assert caught.value.refused
    assert isinstance(caught.value.__cause__, ConnectError)
    assert isinstance(caught.value.__cause__.__cause__, ConnectionRefusedError)


async def test_a_name_without_address() -> None:
    with no_leaked_descriptors(), pytest.raises(ResolveError, match=r"nowhere\.invalid"):
        await dial_tcp("nowhere.invalid", 443, names=SYSTEM_NAMES)


async def test_a_black_hole_is_overtaken_after_the_delay() -> None:
    with full_backlog() as port, socket.create_server(("127.0.0.2", port)), no_leaked_descriptors():
        log = DialLog()
        stream, record = await dial_tcp(
            "upload.example",
            port,
            names=PlainNames(Loopback("127.0.0.1", "127.0.0.2")),
            log=log,
            attempt_delay_s=0.05,
        )
        assert stream.peer == ("127.0.0.2", port)
        stream.close()
        won, lost = record.attempts
        assert (won.address, won.outcome) == (("127.0.0.2", port), AttemptOutcome.WON)
        assert (lost.address, lost.outcome) == (("127.0.0.1", port), AttemptOutcome.CANCELLED)
        assert won.start - lost.start >= 50_000_000
        assert record.connect_start == won.start


async def test_a_cancelled_dial_leaves_no_socket_and_its_attempts() -> None:
    with full_backlog() as port, no_leaked_descriptors():
        log = DialLog()
        with anyio.move_on_after(0.05) as scope:
            await dial_tcp("127.0.0.1", port, names=SYSTEM_NAMES, log=log)
        assert scope.cancelled_caught
        (attempt,) = log.attempts
        assert attempt.outcome is AttemptOutcome.CANCELLED
        assert log.freeze().connect_start is None


async def test_a_programming_error_comes_out_as_it_is() -> None:
    # No exception group around it, although the attempt ran in a task of its own.
    with no_leaked_descriptors(), pytest.raises(OverflowError, match="port must be"):
        await dial_tcp("127.0.0.1", 65536, names=SYSTEM_NAMES)
