"""Happy eyeballs on a real network stack: dead, refusing and slow addresses (RFC 8305).

Which address was tried when, and what became of it, is exact. Bounds that time must not exceed are
generous; those it must not fall below are the RFC's.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.link.conftest import MakeLink
from tests.link.dials import BACKENDS, PROTOCOLS, Dial, Plan, Try, dials_from
from tests.link.emulation import SERVER_ADDRESS, SERVER_ADDRESS_V6, Link
from tests.link.servers import HTTPS_PORT, V4_ONLY_PORT, Site
from tests.link.timed import timed
from trilane.transport.policy.eyeballs import ATTEMPT_DELAY_S

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

RTT_MS = 20
#: What a loaded machine may add.
SLACK_S = 0.2
DEAD, DEAD_V6 = "10.55.0.9", "fd55::9"


def dials(wire: Link, site: Site, addresses: Sequence[str], port: int = HTTPS_PORT) -> list[Dial]:
    made = dials_from(wire.client, Plan(ca=str(site.ca), port=port, addresses=addresses))
    ways = [(backend, protocol) for backend in BACKENDS for protocol in PROTOCOLS]
    assert [(dial.backend, dial.protocol) for dial in made] == ways
    return made


def check_waited(first: Try, second: Try) -> None:
    """The second began when the first had had its head start without an answer."""
    assert first.outcome == "cancelled"
    assert first.error is None
    assert ATTEMPT_DELAY_S <= second.start_s - first.start_s < ATTEMPT_DELAY_S + SLACK_S


@timed
def test_ipv6_into_a_black_hole_costs_the_attempt_delay(link: MakeLink, site: Site) -> None:
    wire = link(rtt_ms=RTT_MS)
    wire.black_hole(SERVER_ADDRESS_V6)
    for dial in dials(wire, site, [SERVER_ADDRESS_V6, SERVER_ADDRESS]):
        assert dial.peer_ip == SERVER_ADDRESS
        assert [each.address for each in dial.tries] == [SERVER_ADDRESS_V6, SERVER_ADDRESS]
        first, second = dial.tries
        check_waited(first, second)
        assert second.outcome == "won"
        assert dial.connected_s < ATTEMPT_DELAY_S + 10 * RTT_MS / 1e3 + SLACK_S


@timed
def test_ipv6_that_refuses_costs_a_round_trip(link: MakeLink, site: Site) -> None:
    wire = link(rtt_ms=RTT_MS)
    for dial in dials(wire, site, [SERVER_ADDRESS_V6, SERVER_ADDRESS], V4_ONLY_PORT):
        assert dial.peer_ip == SERVER_ADDRESS
        assert [each.address for each in dial.tries] == [SERVER_ADDRESS_V6, SERVER_ADDRESS]
        first, second = dial.tries
        assert (first.outcome, second.outcome) == ("failed", "won")
        assert "refused" in (first.error or "")
        # Not before the refusal, and at once after it.
        assert first.end_s - first.start_s >= RTT_MS / 1e3
        assert second.start_s >= first.end_s
        assert second.start_s < ATTEMPT_DELAY_S


@timed
def test_of_four_addresses_the_first_is_dead(link: MakeLink, site: Site) -> None:
    wire = link(rtt_ms=RTT_MS)
    wire.black_hole(DEAD_V6, DEAD)
    for dial in dials(wire, site, [DEAD_V6, SERVER_ADDRESS_V6, SERVER_ADDRESS, DEAD]):
        # Families alternate, and who is not needed is not tried.
        assert [each.address for each in dial.tries] == [DEAD_V6, SERVER_ADDRESS]
        first, second = dial.tries
        check_waited(first, second)
        assert (dial.peer_ip, second.outcome) == (SERVER_ADDRESS, "won")


@timed
def test_of_four_addresses_three_are_dead(link: MakeLink, site: Site) -> None:
    wire = link(rtt_ms=RTT_MS)
    wire.black_hole(DEAD_V6, DEAD, SERVER_ADDRESS)
    for dial in dials(wire, site, [DEAD_V6, SERVER_ADDRESS_V6, SERVER_ADDRESS, DEAD]):
        assert [each.address for each in dial.tries] == [DEAD_V6, SERVER_ADDRESS, SERVER_ADDRESS_V6]
        first, second, third = dial.tries
        check_waited(first, second)
        check_waited(second, third)
        assert (dial.peer_ip, third.outcome) == (SERVER_ADDRESS_V6, "won")
