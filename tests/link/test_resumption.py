"""What a resumed session saves on a link of 40 ms, as the profile shows it.

TLS 1.3 and QUIC need one round trip with a session as without, but no certificate then; early data
saves the round trip, too. TLS 1.2 needs two, or one with a session.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from tests.link.conftest import MakeLink
from tests.link.servers import Site
from tests.link.timed import timed
from tests.link.uploads import Job, Observation, Plan, upload_from

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

RTT_S = 0.040
#: The server is told in the path to think for so long; its tickets arrive meanwhile.
THINKING_S = 0.1


@timed
def test_early_data_saves_a_round_trip(link: MakeLink, site: Site, tmp_path: Path) -> None:
    wire = link(rtt_ms=RTT_S * 1e3, rate_mbit=10)
    url = site.url("h3", f"/raw?delay_s={THINKING_S}")
    jobs = [
        Job(url=url, protocol="h3", body_bytes=1024, early_data=early)
        for early in (False, False, True)
    ]
    sessions = tmp_path / "sessions"
    sessions.unlink(missing_ok=True)
    plan = Plan(ca=str(site.ca), jobs=jobs, sessions=str(sessions))
    new, resumed, early = upload_from(wire.client, plan)

    assert [each.session_resumed for each in (new, resumed, early)] == [False, True, True]
    assert [each.early_data_accepted for each in (new, resumed, early)] == [None, None, True]
    for each in (new, resumed):
        assert RTT_S <= each.between_s("connect_start", "connect_end") < 2 * RTT_S
        assert RTT_S <= each.between_s("connect_start", "request_start") < 2 * RTT_S
    assert early.between_s("connect_start", "request_start") < RTT_S / 2
    # Handshake and request cross the link together: one round trip instead of two.
    assert 2 * RTT_S <= answered_s(resumed) < 3 * RTT_S
    assert RTT_S <= answered_s(early) < 2 * RTT_S
    assert answered_s(resumed) - answered_s(early) == pytest.approx(RTT_S, abs=RTT_S / 2)


@timed
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize(("version", "round_trips"), [("1.2", (2, 1)), ("1.3", (1, 1))])
def test_a_session_saves_tls_1_2_a_round_trip(
    link: MakeLink,
    site: Site,
    protocol: Literal["http/1.1", "h2"],
    version: Literal["1.2", "1.3"],
    round_trips: tuple[int, int],
) -> None:
    wire = link(rtt_ms=RTT_S * 1e3, rate_mbit=10)
    url = site.url(protocol, "/raw")
    jobs = [
        Job(url=url, protocol=protocol, body_bytes=1024, new_client=first, new_connection=not first)
        for first in (True, False)
    ]
    plan = Plan(ca=str(site.ca), jobs=jobs, tls_maximum=version)
    new, resumed = upload_from(wire.client, plan)

    assert [each.session_resumed for each in (new, resumed)] == [False, True]
    assert not resumed.socket_reused
    for seen, count in zip((new, resumed), round_trips, strict=True):
        handshake_s = seen.between_s("tls_start", "tls_end")
        assert count * RTT_S <= handshake_s < (count + 1) * RTT_S
        assert seen.between_s("connect_start", "tls_start") >= RTT_S
        # TCP's handshake, TLS's and the request: no round trip more than these.
        answered_s = seen.between_s("connect_start", "response_start")
        assert (count + 2) * RTT_S <= answered_s < (count + 3) * RTT_S
    # Without the certificate there is less to receive, over any version.
    received = [each.transport["wire_received_bytes"] for each in (new, resumed)]
    assert received[0] is not None
    assert received[1] is not None
    assert received[1] < received[0] - 500


def answered_s(seen: Observation) -> float:
    """From the first datagram to the response, without the server's thinking."""
    return seen.between_s("connect_start", "response_start") - THINKING_S
