"""The profile against the wire: every moment, byte and round trip of recorded uploads.

On every lane 1 KiB goes over new and over used connections, to a receiver that answers at once or
thinks for 200 ms, and 16 MiB over a new and over a used one; half of it on asyncio, half on trio.
The wire is observed by dumpcap and read, with the keys of `SSLKEYLOGFILE`, by tshark.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import pytest

from tests.capture.conftest import Recordings
from tests.capture.scenario import BIG_BYTES, LANES, SMALL_BYTES, THINK_S, Lane, Recorded

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

MS = 1_000_000
#: How far a moment may be from the wire's: at the median of a lane's uploads, and in each of them.
MEDIAN_NS, EACH_NS = 2 * MS, 5 * MS
#: Both come from the kernel: nothing that a program does can lie between them.
KERNEL_NS = MS // 2
#: Who has no CPU cannot look at the clock: waiting for one excuses this much at most.
EXCUSED_NS = 20 * MS
#: Two readings of two clocks stand between a moment of the profile and the wire's.
CLOCKS_NS = MS // 10
#: While the response is awaited, the kernel is asked for the acknowledgement this often.
ACK_POLL_NS = 8 * MS
ROUND_TRIP_SHARE, ROUND_TRIP_MS = 0.2, 0.2
_MORE_TRIES = 2

CONNECTING = ("connect_start", "tcp_connected", "tls_start", "tls_end", "connect_end")
EXCHANGING = ("request_start", "request_end", "response_start", "response_end")

every_lane = pytest.mark.parametrize("lane", LANES, ids=[lane.name for lane in LANES])

Check = Callable[[Sequence[Recorded]], Iterator[str]]


def agree(recordings: Recordings, lane: Lane, check: Check) -> None:
    """Check a lane; again with new uploads, if something else kept the machine busy."""
    wrong = list(check(recordings.of(lane)))
    for _ in range(_MORE_TRIES):
        wrong = wrong and list(check(recordings.again(lane)))
    assert wrong == []


@every_lane
def test_moments_are_those_of_the_wire(recordings: Recordings, lane: Lane) -> None:
    agree(recordings, lane, wrong_moments)


def wrong_moments(uploads: Sequence[Recorded]) -> Iterator[str]:
    late_ns = defaultdict[str, list[int]](list)
    for upload in uploads:
        slack_ns = EACH_NS + excused_ns(upload)
        for name, at in upload.wire.moments.items():
            late_ns[name].append(upload.profile.at(name) - at)
            if abs(late_ns[name][-1]) > slack_ns:
                yield f"{name} is {late_ns[name][-1] / MS} ms late, allowed {slack_ns / MS} ms"
    for name, each_ns in late_ns.items():
        if abs(median(each_ns)) > MEDIAN_NS:
            yield f"{name} is {median(each_ns) / MS} ms late at the median"


@every_lane
def test_the_acknowledgement_is_seen_when_it_has_come(recordings: Recordings, lane: Lane) -> None:
    agree(recordings, lane, wrong_acknowledgements)


def wrong_acknowledgements(uploads: Sequence[Recorded]) -> Iterator[str]:
    """QUIC tells of each acknowledgement that comes in time; of TCP's the kernel must be asked."""
    for upload in uploads:
        seen, crossed = upload.profile.times["request_acked"], upload.wire.acked
        slack_ns = EACH_NS + excused_ns(upload)
        if seen is None or crossed is None:
            # Nobody waits for it once the response is complete.
            over = upload.wire.moments["response_end"]
            if seen is not None or (crossed is not None and crossed < over):
                yield f"request_acked is {seen}, on the wire {crossed}, response ended at {over}"
            continue
        poll_ns = 0 if upload.lane.protocol == "h3" else ACK_POLL_NS
        if not -CLOCKS_NS <= seen - crossed <= poll_ns + slack_ns:
            yield f"request_acked is {(seen - crossed) / MS} ms late, excused {slack_ns / MS} ms"
    if not any(upload.profile.times["request_acked"] for upload in uploads):
        yield "request_acked was never seen"


@pytest.mark.parametrize("lane", [lane for lane in LANES if lane.protocol != "h3"])
def test_the_kernel_tells_what_the_wire_shows(recordings: Recordings, lane: Lane) -> None:
    asked = [each for each in recordings.of(lane) if each.profile.times["first_byte_sent"]]
    assert len(asked) == len(recordings.of(lane)) // 2
    for upload in asked:
        on_wire = {
            "first_byte_sent": upload.wire.moments["request_start"],
            "last_byte_sent": upload.wire.moments["request_end"],
            "last_byte_acked": upload.wire.acked,
        }
        for name, at in on_wire.items():
            assert upload.profile.at(name) == pytest.approx(at, abs=KERNEL_NS), name


@every_lane
def test_round_trips_are_those_of_the_wire(recordings: Recordings, lane: Lane) -> None:
    agree(recordings, lane, wrong_round_trips)


def wrong_round_trips(uploads: Sequence[Recorded]) -> Iterator[str]:
    off = []
    for upload in uploads:
        seen_ms, wire_ms = upload.profile.rtt_ms, upload.wire.round_trip_ms
        assert seen_ms is not None
        assert wire_ms is not None
        allowed_ms = max(ROUND_TRIP_SHARE * wire_ms, ROUND_TRIP_MS)
        off.append(abs(seen_ms - wire_ms) / allowed_ms)
        # TCP too handles acknowledgements late that come while their owner is kept from the CPU.
        if abs(seen_ms - wire_ms) > allowed_ms + excused_ns(upload) / MS:
            yield f"rtt is {seen_ms} ms, on the wire {wire_ms} ms"
    if median(off) > 1:
        yield f"rtt is off by {median(off)} times what is allowed at the median"


def excused_ns(upload: Recorded) -> int:
    return min(upload.profile.waited_for_cpu_ns, EXCUSED_NS)


@every_lane
def test_bytes_are_counted_exactly(recordings: Recordings, lane: Lane) -> None:
    for upload in recordings.of(lane):
        assert upload.profile.sent_bytes == upload.wire.sent_bytes
        assert upload.profile.received_bytes == upload.wire.received_bytes
        assert upload.profile.sent_bytes > upload.profile.job.body_bytes
        assert upload.profile.receipt["body_bytes"] == upload.profile.job.body_bytes


@every_lane
def test_everything_was_compared(recordings: Recordings, lane: Lane) -> None:
    """Nothing is missing from the comparison, and the profile shows nothing that was not there."""
    tls_names = ("tls_start", "tls_end") if lane.secure else ()
    tcp_names = () if lane.protocol == "h3" else ("tcp_connected",)
    connecting = {"connect_start", *tcp_names, *tls_names, "connect_end"}
    uploads = recordings.of(lane)
    for upload in uploads:
        made = set() if upload.profile.socket_reused else connecting
        assert upload.wire.moments.keys() == made | set(EXCHANGING)
        shown = {name for name in CONNECTING if upload.profile.times[name] is not None}
        assert shown == made
    kinds = [(each.profile.job.body_bytes, each.profile.socket_reused) for each in uploads]
    assert set(kinds) == {(size, used) for size in (SMALL_BYTES, BIG_BYTES) for used in (0, 1)}
    thought = [each for each in uploads if each.profile.job.url.endswith(f"delay_s={THINK_S}")]
    assert len(thought) == len(uploads) // 2 + 1
    for upload in thought:
        waited_ns = upload.wire.moments["response_start"] - upload.wire.moments["request_end"]
        assert waited_ns > THINK_S * 1e9
