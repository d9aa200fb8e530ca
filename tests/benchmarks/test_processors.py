"""Keeping clients and receiver apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from benchmarks.__main__ import parser
from benchmarks.processors import apart

_SHOW = "import os; print(sorted(os.sched_getaffinity(0)))"


def _pretend(monkeypatch: pytest.MonkeyPatch, processors: set[int], taskset: str | None) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: processors, raising=False)
    monkeypatch.setattr(shutil, "which", lambda _name: taskset)


def test_clients_and_receiver_get_the_two_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, {5, 2, 3}, "/usr/bin/taskset")

    placement = apart()

    assert placement.client == ("taskset", "-c", "2")
    assert placement.receiver == ("taskset", "-c", "5")


@pytest.mark.parametrize(("processors", "taskset"), [({0}, "/usr/bin/taskset"), ({0, 1}, None)])
def test_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, processors: set[int], taskset: str | None
) -> None:
    _pretend(monkeypatch, processors, taskset)

    with pytest.raises(SystemExit, match="--pinned needs Linux, two processors"):
        apart()


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs util-linux's taskset")
def test_what_it_begins_runs_there() -> None:
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        pytest.skip("needs two processors")

    placement = apart()
    seen = [
        subprocess.check_output([*prefix, sys.executable, "-c", _SHOW], text=True).strip()
        for prefix in (placement.client, placement.receiver)
    ]

    assert seen == [f"[{processors[0]}]", f"[{processors[-1]}]"]


def test_nothing_is_pinned_unless_asked_for() -> None:
    assert not parser().parse_args(["race"]).pinned
    assert parser().parse_args(["race", "--pinned"]).pinned
