"""What is measured, in which order, and what is said of peers that cannot be."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from benchmarks import measuring
from benchmarks.__main__ import parser
from benchmarks.lanes import Lane, Target
from benchmarks.link import Conditions
from benchmarks.measuring import installed, interleave, job_for, run, sample_file
from benchmarks.peers import PEERS, Peer
from benchmarks.worker import Found, Job
from tests.benchmarks.found import found, series

TARGET = Target(Lane.H2, "127.0.0.1:443", "ca.pem")
TRILANE = PEERS["trilane"]


def test_a_missing_peer_is_named_with_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ("trilane", "no-such-distribution")
    absent = Peer("absent", "absent_peer", "Absent", frozenset({Lane.H1}), needs)
    monkeypatch.setitem(PEERS, "absent", absent)

    ready, missing = installed(["trilane", "absent"])

    assert ready == [TRILANE]
    assert missing == {"absent": "not installed: no-such-distribution"}


def test_an_unknown_peer_is_refused() -> None:
    with pytest.raises(SystemExit, match="no such peer: curlew"):
        installed(["trilane", "curlew"])


def test_a_job_that_fails_says_why() -> None:
    job = replace(job_for(TRILANE, TARGET, "bulk"), peer="nobody")

    with pytest.raises(RuntimeError, match="KeyError: 'nobody'"):
        run(job)


def test_peers_take_turns_and_who_failed_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def pretend(job: Job, prefix: tuple[str, ...] = ()) -> Found:
        asked.append(job.peer)
        if job.peer == "b" and asked.count("b") == 2:
            raise RuntimeError("it broke")
        return found(1)

    monkeypatch.setattr(measuring, "run", pretend)
    three = [series(name) for name in "abc"]
    jobs = [replace(job_for(TRILANE, TARGET, "bulk"), peer=name) for name in "abc"]
    begun: list[int] = []
    interleave(three, jobs, rounds=4, before=begun.append)

    assert "".join(asked) == "abc" + "bca" + "ca" + "ac"
    assert begun == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert [len(each.rounds) for each in three] == [4, 1, 4]
    assert [each.failure for each in three] == ["", "it broke", ""]


def test_the_sample_is_as_long_as_asked_and_known_by_its_digest() -> None:
    with sample_file(2**20 + 5) as sample:
        content = sample.path.read_bytes()
        assert len(content) == sample.byte_count == 2**20 + 5
        assert hashlib.sha256(content).hexdigest() == sample.digest
    assert not sample.path.exists()


@pytest.mark.parametrize(
    ("lane", "url"), [(Lane.H1, "http://h:1/count"), (Lane.H1_TLS, "https://h:1/count")]
)
def test_only_one_lane_is_in_clear(lane: Lane, url: str) -> None:
    target = Target(lane, "h:1", "")
    assert (target.url("/count"), target.address) == (url, ("h", 1))


def test_a_link_has_room_for_what_is_on_its_way() -> None:
    conditions = Conditions(
        megabits_per_s=50, round_trip_ms=50, losses_percent=(0, 1), congestion_control="reno"
    )
    shape = conditions.shape(1)
    assert (shape.delay_s, shape.rate_bytes_per_s, shape.loss) == (0.025, 6.25e6, 0.01)
    assert shape.queue_bytes == 312_500
    assert replace(conditions, round_trip_ms=1).shape(0).queue_bytes == 65536


def test_arguments_have_defaults_that_measure_everything() -> None:
    chosen = parser().parse_args(["race"])
    assert (chosen.rounds, chosen.mebibytes, chosen.save) == (5, 64, False)
    assert chosen.peers.split(",") == list(PEERS)
    assert chosen.lanes.split(",") == list(Lane)


def test_a_link_is_what_is_asked_for() -> None:
    chosen = parser().parse_args(["link", "--loss", "0,2.5", "--megabits", "10"])
    assert (chosen.megabits, chosen.round_trip, chosen.loss) == (10, 50, "0,2.5")
    assert (chosen.congestion_control, chosen.mebibytes) == ("cubic", 8)


@pytest.mark.parametrize("arguments", [[], ["gallop"], ["micro", "--peers", "trilane"]])
def test_arguments_that_mean_nothing_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(arguments)
