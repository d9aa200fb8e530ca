"""The commands of the README's sections about the road do what they say, in their order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.readme import uploads
from trilane.api.cli.main import main
from trilane.api.receiver.address import ReceiverAddress


@pytest.fixture(autouse=True)
def in_a_folder_with_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("photo.jpg", "film.mp4"):
        (tmp_path / name).write_bytes(b"x" * 300_000)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("section", "count"),
    [
        ("Names", 1),
        ("TLS", 1),
        ("Resumption", 2),
        ("From where, and through what", 1),
        ("On the move", 1),
    ],
)
def test_they_work_as_they_stand(section: str, count: int, receiver: ReceiverAddress) -> None:
    found = uploads(section, receiver.ca_path, {8443: receiver.port})
    assert len(found) == count
    for _, *argv in found:
        assert main(argv) == 0, argv


def test_a_stranger_does_not_reach_the_receiver(receiver: ReceiverAddress) -> None:
    [(_, *argv)] = uploads("URLs from strangers", "", {8443: receiver.port})
    ended = subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=False)
    assert "AddressRefused: allow_address refused" in ended.stderr
