"""The table, the JSON and the chart of a run."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.report import Column, Report
from benchmarks.statistics_of import megabytes_per_second, memory_mib
from tests.benchmarks.found import found, series

SVG = "{http://www.w3.org/2000/svg}"


def report_of_two_lanes() -> Report:
    """On h1 everybody was there; on h3 the reference failed, and nobody else was measured."""
    report = Report(
        command="race",
        settings={"what": "a file & more", "rounds": 2},
        machine={"cores": 2},
        absent={"httpx": "not installed: httpx"},
        columns=[
            Column("MB/s", megabytes_per_second(10**8), 0, is_main=True),
            Column("MiB", memory_mib, 1),
        ],
    )
    report.add(
        [
            series("libcurl", found(100), found(50)),
            series("trilane", found(50, memory_mib=0.25), found(50, memory_mib=0.25)),
        ]
    )
    report.add(
        [series("libcurl", lane="h3", failure="it hung"), series("trilane", found(100), lane="h3")]
    )
    return report


def test_the_table_has_medians_and_ratios_with_their_range() -> None:
    lines = report_of_two_lanes().table().splitlines()

    assert lines[0] == "| lane | peer | MB/s | MiB | ratio to libcurl (min-max) |"
    assert lines[2:6] == [
        "| h1 | libcurl | 1500 | 1.0 | 1.00 (1.00-1.00) |",
        "| h1 | trilane | 2000 | 0.2 | 1.50 (1.00-2.00) |",
        "| h3 | libcurl | - | - | - |",
        "| h3 | trilane | 1000 | 1.0 | - |",
    ]


def test_who_is_missing_and_who_failed_is_said() -> None:
    table = report_of_two_lanes().table()

    assert "httpx: not installed: httpx" in table
    assert "h3 libcurl: it hung" in table


def test_what_is_saved_can_be_read_again(tmp_path: Path) -> None:
    figures, _ = report_of_two_lanes().save(tmp_path / "results")
    saved = json.loads(figures.read_text())

    assert figures.name == "race.json"
    assert (saved["settings"]["rounds"], saved["machine"], saved["absent"]) == (
        2,
        {"cores": 2},
        {"httpx": "not installed: httpx"},
    )
    trilane = saved["rows"][1]
    assert trilane["figures"]["MB/s"] == {"low": 2000.0, "middle": 2000.0, "high": 2000.0}
    assert trilane["ratio"] == {"low": 1.0, "middle": 1.5, "high": 2.0}
    assert (saved["rows"][2]["failure"], saved["rows"][2]["rounds"]) == ("it hung", 0)


def test_a_run_can_be_made_in_parts(tmp_path: Path) -> None:
    first, second = report_of_two_lanes(), report_of_two_lanes()
    first.save(tmp_path)
    second.rows = []
    second.add([series("trilane", found(200), lane="h2"), series("trilane", found(200), lane="h3")])
    figures, _ = second.save(tmp_path, add=True)
    rows = json.loads(figures.read_text())["rows"]

    middles = [(row["lane"], row["peer"], row["figures"]["MB/s"]["middle"]) for row in rows]
    assert middles == [
        ("h1", "libcurl", 1500),
        ("h1", "trilane", 2000),
        ("h2", "trilane", 500),
        ("h3", "trilane", 500),
    ]


def test_parts_of_another_commit_are_not_put_together(tmp_path: Path) -> None:
    report_of_two_lanes().save(tmp_path)
    later = report_of_two_lanes()
    later.machine = {"cores": 2, "commit": "beef"}

    with pytest.raises(SystemExit, match="measured otherwise"):
        later.save(tmp_path, add=True)


def test_the_chart_draws_what_was_measured(tmp_path: Path) -> None:
    _, picture = report_of_two_lanes().save(tmp_path)
    root = ET.fromstring(picture.read_text())
    texts = [element.text for element in root.iter(f"{SVG}text")]
    background, *bars = root.iter(f"{SVG}rect")

    assert texts[0] == "race: MB/s, a file & more"
    assert texts[1:] == ["h1", "libcurl", "1500", "trilane", "2000", "h3", "trilane", "1000"]
    assert background.get("width") == "100%"
    libcurl, trilane, alone = (float(bar.get("width", "nan")) for bar in bars)
    assert trilane / libcurl == 2000 / 1500
    assert alone == trilane  # each lane has a scale of its own
