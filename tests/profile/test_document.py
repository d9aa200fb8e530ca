"""`docs/profile.md` knows every field there is."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from tests.peers.process import REPO_ROOT
from trilane.transport.facts import TlsFacts
from trilane.transport.profile.moments import Attempt, TransportSample, WallAnchor
from trilane.transport.profile.profile import LegSummary, Profile, fold
from trilane.transport.profile.recorder import Recorder
from trilane.transport.quality.estimate import Evidence, QualityEstimate

DOCUMENT = (REPO_ROOT / "docs" / "profile.md").read_text(encoding="utf-8")
NAMED = frozenset(re.findall(r"`(\w+)`", DOCUMENT))
EVIDENCE = re.compile(r"\w+_evidence")


@pytest.mark.parametrize(
    "kind",
    [
        Profile,
        LegSummary,
        Attempt,
        TransportSample,
        TlsFacts,
        WallAnchor,
        QualityEstimate,
        Evidence,
    ],
)
def test_every_field_is_defined(kind: type) -> None:
    names = {each.name for each in fields(kind)}
    assert {name for name in names if not EVIDENCE.fullmatch(name)} <= NAMED


def test_every_property_is_defined() -> None:
    properties = {name for name, value in vars(Profile).items() if isinstance(value, property)}
    assert properties
    assert properties <= NAMED


def test_every_field_of_the_seed_is_defined_and_compared_with_the_original() -> None:
    names = fold(Recorder()).seed().keys()
    defined, _, compared = DOCUMENT.partition("## Better than the original")
    assert names <= set(re.findall(r"^\| `(\w+)` \|", defined, re.MULTILINE))
    # What the original does not have cannot be compared with it.
    own = {"upstreamThroughputKbpsEstimate"}
    assert names - own <= set(re.findall(r"`(\w+)`", compared))


def test_every_moment_has_a_source_on_every_protocol() -> None:
    section = DOCUMENT.split("## Where each moment is taken")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert {len(row) for row in rows} == {4}
    moments = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    profile = {each.name for each in fields(Profile)}
    timed = {name for name in profile if name.endswith(("_start", "_end", "_acked", "_connected"))}
    call = {"invoke_start", "queue_start", "queue_end", "fetch_start"}
    assert moments == timed - call - {"redirect_start", "redirect_end"}
