"""Every field of the seed's result and profile: its type and its meaning, on three protocols.

The names, types and units are the document's own; what is here is one check for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import anyio
import pytest

from tests.facade import seed_document
from tests.facade.conftest import PROTOCOLS
from tests.facade.seed_document import Row
from tests.facade.story import LARGE_BYTES, THINKING_MS, Story, Told, tell
from tests.peers.servers import Endpoints

Check = Callable[[Story], None]

#: Profiles have it beside the document's fields (docs/profile.md).
OWN_FIELDS = {"upstreamThroughputKbpsEstimate"}
#: "Returned only when httpDNS is on, which so far only wx.request knows."
ABSENT = {"httpDNSDomainLookUpStart", "httpDNSDomainLookUpEnd"}
PROTOCOL_NAMES = {"http/1.1": "http1.1", "h2": "h2", "h3": "quic"}
#: Moments are cut to whole microseconds.
ROUNDING_MS = 0.002
#: How far the wall clock may have been slewed since the process began.
SLEWED_MS = 5000

JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "Object": (dict,),
}

Stories = Callable[[str, str], Story]


@pytest.fixture(scope="module")
def stories(
    receiver: Endpoints, hypercorn: Endpoints, tmp_path_factory: pytest.TempPathFactory
) -> Stories:
    """The story of a protocol, on an event loop; told when it is first asked for."""
    told: dict[tuple[str, str], Story] = {}

    def story_of(protocol: str, loop: str) -> Story:
        if (protocol, loop) not in told:
            folder = tmp_path_factory.mktemp("story")
            told[protocol, loop] = anyio.run(
                tell, protocol, receiver, hypercorn, folder, backend=loop
            )
        return told[protocol, loop]

    return story_of


@pytest.fixture(params=[(name, loop) for name in PROTOCOLS for loop in ("asyncio", "trio")])
def story(stories: Stories, request: pytest.FixtureRequest) -> Story:
    return stories(*request.param)


# --- the result ---------------------------------------------------------------------------------


def data(story: Story) -> None:
    answer = json.loads(story.fresh.res["data"])
    assert answer["method"] == "POST"
    assert answer["parts"][0]["name"] == "file"


def status_code(story: Story) -> None:
    assert story.fresh.res["statusCode"] == 200


def profile(story: Story) -> None:
    names = {row.name for row in seed_document.profile_fields()}
    assert set(story.fresh.profile) == names - ABSENT | OWN_FIELDS
    assert json.loads(json.dumps(story.fresh.profile)) == story.fresh.profile


RESULT_CHECKS: Mapping[str, Check] = {
    "data": data,
    "statusCode": status_code,
    "profile": profile,
}

# --- the profile --------------------------------------------------------------------------------


def ordered(told: Told, *names: str) -> None:
    """These moments happened, in this order, while the upload ran."""
    moments = [told.profile[name] for name in names]
    assert moments == sorted(moments), dict(zip(names, moments, strict=True))
    assert moments[0] >= told.called_ms[0] - ROUNDING_MS
    assert moments[-1] <= told.ended_ms + ROUNDING_MS


def equal(told: Told, name: str, other: str) -> None:
    assert told.profile[name] == told.profile[other], (name, other, told.profile)


def invoke_start(story: Story) -> None:
    for told in (story.fresh, story.queued):
        before_ms, after_ms = told.called_ms
        assert before_ms - ROUNDING_MS <= told.profile["invokeStart"] <= after_ms + ROUNDING_MS
        assert told.ended_ms == pytest.approx(told.wall_ms, abs=SLEWED_MS)


def queue_start(story: Story) -> None:
    ordered(story.fresh, "invokeStart", "queueStart", "fetchStart")
    ordered(story.queued, "invokeStart", "queueStart", "queueEnd", "fetchStart")


def queue_end(story: Story) -> None:
    equal(story.fresh, "queueEnd", "queueStart")
    # One of those before it had to be answered first.
    assert story.queued.profile["queueEnd"] > story.queued.profile["queueStart"]


def redirect_start(story: Story) -> None:
    assert story.fresh.profile["redirectStart"] == 0
    ordered(story.redirected, "queueEnd", "redirectStart", "redirectEnd", "fetchStart")


def redirect_end(story: Story) -> None:
    assert story.fresh.profile["redirectEnd"] == 0
    redirected = story.redirected.profile
    assert redirected["redirectEnd"] > redirected["redirectStart"]


def fetch_start(story: Story) -> None:
    for told in (story.fresh, story.reused, story.queued):
        ordered(told, "queueEnd", "fetchStart", "requestStart")


def domain_look_up_start(story: Story) -> None:
    ordered(story.fresh, "fetchStart", "domainLookUpStart", "domainLookUpEnd")
    # No query was needed.
    equal(story.literal, "domainLookUpStart", "fetchStart")
    equal(story.reused, "domainLookUpStart", "fetchStart")


def domain_look_up_end(story: Story) -> None:
    ordered(story.fresh, "domainLookUpStart", "domainLookUpEnd", "connectStart")
    assert story.fresh.profile["domainLookUpEnd"] > story.fresh.profile["domainLookUpStart"]
    equal(story.literal, "domainLookUpEnd", "fetchStart")
    equal(story.reused, "domainLookUpEnd", "fetchStart")


def connect_start(story: Story) -> None:
    for told in (story.fresh, story.literal):
        ordered(told, "domainLookUpEnd", "connectStart", "connectEnd")
        assert told.profile["connectEnd"] > told.profile["connectStart"]
    equal(story.reused, "connectStart", "fetchStart")


def connect_end(story: Story) -> None:
    for told in (story.fresh, story.literal):
        ordered(told, "connectStart", "SSLconnectionEnd", "connectEnd", "requestStart")
    equal(story.reused, "connectEnd", "fetchStart")


def ssl_connection_start(story: Story) -> None:
    ordered(story.fresh, "connectStart", "SSLconnectionStart", "SSLconnectionEnd")
    equal(story.reused, "SSLconnectionStart", "fetchStart")
    if story.protocol == "h3":
        equal(story.fresh, "SSLconnectionStart", "connectStart")
    if story.in_clear is not None:
        assert story.in_clear.profile["SSLconnectionStart"] == 0


def ssl_connection_end(story: Story) -> None:
    fresh = story.fresh.profile
    assert fresh["SSLconnectionEnd"] > fresh["SSLconnectionStart"]
    equal(story.fresh, "SSLconnectionEnd", "connectEnd")
    equal(story.reused, "SSLconnectionEnd", "fetchStart")
    if story.in_clear is not None:
        assert story.in_clear.profile["SSLconnectionEnd"] == 0


def request_start(story: Story) -> None:
    for told in (story.fresh, story.reused, story.literal):
        ordered(told, "connectEnd", "requestStart", "requestEnd")


def request_end(story: Story) -> None:
    large = story.large.profile
    ordered(story.large, "requestStart", "requestEnd", "responseStart")
    assert large["requestEnd"] > large["requestStart"]


def response_start(story: Story) -> None:
    for told in (story.fresh, story.reused):
        ordered(told, "requestEnd", "responseStart", "responseEnd")
        # The receiver had it all when it began to think; this process may have been slower to note
        # that it was sent.
        waited_ms = told.profile["responseStart"] - told.profile["requestEnd"]
        assert waited_ms >= THINKING_MS / 2


def response_end(story: Story) -> None:
    ordered(story.fresh, "responseStart", "responseEnd")
    assert story.estimated["responseEnd"] > story.estimated["responseStart"]


def rtt(story: Story) -> None:
    for told in (story.fresh, story.reused):
        assert 0 < told.profile["rtt"] < told.profile["responseEnd"] - told.called_ms[0]


def estimate_nettype(story: Story) -> None:
    # Peers on this machine say nothing of the network, unless they are asked for.
    assert story.fresh.profile["estimate_nettype"] == 0
    # 5 is 4g, 4 is 3g, 3 is 2g, 2 is slow 2g (Chromium's thresholds).
    http_rtt_ms = story.estimated["httpRttEstimate"]
    slower = [threshold for threshold in (272, 1420, 2010) if http_rtt_ms >= threshold]
    assert type(story.estimated["estimate_nettype"]) is int
    assert story.estimated["estimate_nettype"] == 5 - len(slower)


def http_rtt_estimate(story: Story) -> None:
    assert story.fresh.profile["httpRttEstimate"] == -1
    assert 0 < story.estimated["httpRttEstimate"] <= story.estimated_from_ms + 0.001


def transport_rtt_estimate(story: Story) -> None:
    assert story.fresh.profile["transportRttEstimate"] == -1
    assert story.estimated["transportRttEstimate"] == story.estimated["rtt"]


def downstream_throughput_estimate(story: Story) -> None:
    assert story.fresh.profile["downstreamThroughputKbpsEstimate"] == -1
    # 4 MiB, and surely not in more than 4 s.
    assert story.estimated["downstreamThroughputKbpsEstimate"] > LARGE_BYTES * 8 / 1000 / 4


def throughput(story: Story) -> None:
    seen = story.estimated
    duration_ms = seen["responseEnd"] - seen["responseStart"]
    # Of this one response; its time has a precision of a microsecond at each end.
    expected_kbps = seen["receivedBytedCount"] * 8 / duration_ms
    assert seen["throughputKbps"] == pytest.approx(expected_kbps, rel=0.01)


def peer_ip(story: Story) -> None:
    assert story.literal.profile["peerIP"] == "127.0.0.1"
    assert story.fresh.profile["peerIP"] in {"127.0.0.1", "::1"}


def port(story: Story) -> None:
    assert story.fresh.profile["port"] == story.reused.profile["port"] == story.port


def socket_reused(story: Story) -> None:
    assert story.fresh.profile["socketReused"] is False
    assert story.reused.profile["socketReused"] is True


def send_bytes_count(story: Story) -> None:
    body_bytes = story.fresh.diary.told("progress")[-1]["totalBytesExpectedToSend"]
    assert body_bytes < story.fresh.profile["sendBytesCount"] < body_bytes + 2000
    # A redirect sends it all again.
    assert story.redirected.profile["sendBytesCount"] > 2 * body_bytes


def received_byted_count(story: Story) -> None:
    body_bytes = len(story.fresh.res["data"].encode())
    assert body_bytes < story.fresh.profile["receivedBytedCount"] < body_bytes + 2000
    assert LARGE_BYTES < story.estimated["receivedBytedCount"] < LARGE_BYTES * 1.02


def protocol(story: Story) -> None:
    for told in (story.fresh, story.reused, story.redirected):
        assert told.profile["protocol"] == PROTOCOL_NAMES[story.protocol]


def using_high_performance_mode(story: Story) -> None:
    # It can always be left out.
    assert story.literal.profile["usingHighPerformanceMode"] is False
    assert story.large.profile["usingHighPerformanceMode"] is True
    if story.in_clear is not None:
        assert story.in_clear.profile["usingHighPerformanceMode"] is True


def left_out(story: Story) -> None:
    for told in (story.fresh, story.reused, story.queued):
        assert not ABSENT & set(told.profile)


PROFILE_CHECKS: Mapping[str, Check] = {
    "invokeStart": invoke_start,
    "httpDNSDomainLookUpStart": left_out,
    "httpDNSDomainLookUpEnd": left_out,
    "queueStart": queue_start,
    "queueEnd": queue_end,
    "redirectStart": redirect_start,
    "redirectEnd": redirect_end,
    "fetchStart": fetch_start,
    "domainLookUpStart": domain_look_up_start,
    "domainLookUpEnd": domain_look_up_end,
    "connectStart": connect_start,
    "connectEnd": connect_end,
    "SSLconnectionStart": ssl_connection_start,
    "SSLconnectionEnd": ssl_connection_end,
    "requestStart": request_start,
    "requestEnd": request_end,
    "responseStart": response_start,
    "responseEnd": response_end,
    "rtt": rtt,
    "estimate_nettype": estimate_nettype,
    "httpRttEstimate": http_rtt_estimate,
    "transportRttEstimate": transport_rtt_estimate,
    "downstreamThroughputKbpsEstimate": downstream_throughput_estimate,
    "throughputKbps": throughput,
    "peerIP": peer_ip,
    "port": port,
    "socketReused": socket_reused,
    "sendBytesCount": send_bytes_count,
    "receivedBytedCount": received_byted_count,
    "protocol": protocol,
    "usingHighPerformanceMode": using_high_performance_mode,
}


def by_name(row: Row) -> str:
    return row.name


def test_every_row_has_a_check_and_every_check_a_row() -> None:
    assert set(RESULT_CHECKS) == {row.name for row in seed_document.callback_fields()}
    assert set(PROFILE_CHECKS) == {row.name for row in seed_document.profile_fields()}


@pytest.mark.parametrize("row", seed_document.callback_fields(), ids=by_name)
def test_result_field(story: Story, row: Row) -> None:
    for told in (story.fresh, story.reused, story.redirected, story.queued, story.large):
        assert type(told.res[row.name]) in JSON_TYPES[row.type]
        assert told.diary.told("success") == told.diary.told("complete") == [told.res]
    RESULT_CHECKS[row.name](story)


@pytest.mark.parametrize("row", seed_document.profile_fields(), ids=by_name)
def test_profile_field(story: Story, row: Row) -> None:
    for told in (story.fresh, story.reused, story.redirected, story.queued, story.large):
        assert (row.name in told.profile) is (row.name not in ABSENT)
        if row.name not in ABSENT:
            assert type(told.profile[row.name]) in JSON_TYPES[row.type]
    PROFILE_CHECKS[row.name](story)
