"""Files that cannot be sent, or that change while they are: nothing false reaches the server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import trilane
from tests.faults.faulty import Faulty, answer, failed_upload, patient
from tests.peers.ordinary_user import ordinary_user
from tests.peers.scripted import Peer

MIB = 1 << 20


def missing(folder: Path) -> Path:
    return folder / "missing.bin"


def folder_itself(folder: Path) -> Path:
    return folder


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def endless_device(_folder: Path) -> Path:
    return Path("/dev/zero")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (missing, "does not exist|No such file"),
        (folder_itself, "directory"),
        (fifo, "FIFO|pipe"),
        (endless_device, "device"),
    ],
)
async def test_path_that_is_no_file(
    faulty: Faulty, tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    path = make(tmp_path)
    with faulty.server(answer()) as server:
        async with faulty.client() as client:
            with pytest.raises(trilane.SourceUnavailable, match=reason) as caught:
                async with patient():
                    await client.upload(server.url(), path)

    assert str(path) in str(caught.value)
    # Found out before anybody was called.
    assert server.accepted == 0


async def test_path_that_may_not_be_read(faulty: Faulty, tmp_path: Path) -> None:
    path = tmp_path / "secret.bin"
    path.write_bytes(b"secret")
    path.chmod(0)
    with faulty.server(answer()) as server:
        async with faulty.client() as client:
            with (
                ordinary_user(),
                pytest.raises(trilane.SourceUnavailable, match=r"(?i)permission") as caught,
            ):
                await client.upload(server.url(), path)

    assert str(path) in str(caught.value)
    assert server.accepted == 0


@pytest.mark.parametrize("change_bytes", [-MIB, MIB], ids=["shrinks", "grows"])
async def test_file_that_changes_its_size_is_never_taken_for_complete(
    faulty: Faulty, tmp_path: Path, change_bytes: int
) -> None:
    path = tmp_path / "changing.bin"
    path.write_bytes(bytes(64 * MIB))
    received: list[tuple[int, int]] = []

    def count(peer: Peer) -> None:
        announced = int(peer.read_head().lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        received.append((announced, peer.drain()))

    def change_once(_progress: trilane.Progress) -> None:
        if path.stat().st_size == 64 * MIB:
            os.truncate(path, 64 * MIB + change_bytes)

    with faulty.server(count) as server:
        async with faulty.client() as client:
            error = await failed_upload(
                client,
                server.url(),
                trilane.SourceSizeChanged,
                file=path,
                on_progress=change_once,
            )
        server.finish()

    assert error.declared_bytes == 64 * MIB
    assert error.actual_bytes == 64 * MIB + change_bytes
    for size in (error.declared_bytes, error.actual_bytes):
        assert str(size) in str(error)
    [(announced, arrived)] = received
    assert arrived < announced


async def test_iterator_that_fails_is_named_with_what_it_raised(faulty: Faulty) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise LookupError("no more pieces")

    ends: list[bytes] = []

    def look_at_the_end(peer: Peer) -> None:
        peer.read_head()
        while True:
            ends.append(peer.read_body(1))

    with faulty.server(look_at_the_end) as server:
        async with faulty.client() as client:
            error = await failed_upload(client, server.url(), trilane.SourceError, file=pieces())
        server.finish()

    assert "no more pieces" in str(error)
    assert isinstance(error.__cause__, LookupError)
    # A last chunk would make the server believe that this was all.
    assert not b"".join(ends).endswith(b"0\r\n\r\n")
