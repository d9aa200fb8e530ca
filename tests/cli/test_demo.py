"""`trilane demo`: three protocols to the receiver, and nothing taken on trust."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trilane import Headers, Response
from trilane.api.cli.demo import Trial, receipt_problem, summary_table
from trilane.api.cli.main import main


def test_the_demo_uploads_over_all_three_and_compares_them(
    capsys: pytest.CaptureFixture[str], photo: Path
) -> None:
    status = main(["demo", str(photo)])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    for line in ("http/1.1, 127.0.0.1:", "h2, 127.0.0.1:", "h3, 127.0.0.1:"):
        assert line in out
    table = out[out.index("SHA-256 at the receiver") :].splitlines()[1:]
    assert [row.split()[0] for row in table] == ["HTTP/1.1", "HTTP/2", "HTTP/3"]
    assert all(row.endswith("the same") and "iB/s" in row for row in table)


def test_a_file_that_is_not_there_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "/nonexistent/photo.jpg"]) == 1
    assert "/nonexistent/photo.jpg" in capsys.readouterr().err


def answer(status: int, content: bytes) -> Response:
    return Response(
        status_code=status,
        headers=Headers(),
        content=content,
        trailers=Headers(),
        url="https://localhost/",
        http_version="HTTP/2",
        profile=None,
    )


def test_only_the_right_hash_counts_as_arrived() -> None:
    receipt = json.dumps({"parts": [{"sha256": "aa"}]}).encode()
    assert receipt_problem(answer(200, receipt), "aa") is None
    assert "instead of bb" in str(receipt_problem(answer(200, receipt), "bb"))
    assert "status 400: no" in str(receipt_problem(answer(400, b"no"), "aa"))


def test_a_protocol_that_failed_is_a_row_of_its_own() -> None:
    trials = [Trial(title="HTTP/3", profile=None, problem="ProtocolUnavailable: no \x1bUDP")]
    row = summary_table(trials).splitlines()[1]
    assert row.startswith("HTTP/3 ")
    assert row.endswith("ProtocolUnavailable: no ?UDP")
