"""Every server, scheme and protocol receives every kind of upload as it was sent.

The receivers are not ours (but for the built-in one): their SHA-256 of each part, their
Content-Length and their parsers decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import pytest

import trilane
from tests.interop.cases import (
    CASES,
    FULL_SIZES,
    GIB,
    HUGE_TIMEOUT_S,
    MIB,
    Case,
    HugeFile,
    Upload,
    async_iterator_without_length,
    one_mebibyte,
)
from tests.interop.profile_checks import check_complete, check_reused
from tests.interop.targets import HTTP_VERSIONS, SEED_PROTOCOLS, TARGETS, Reception, Target
from tests.peers.receipt import Receipt, ReceivedPart
from trilane.transport.protocols import ipsec_mb

pytestmark = pytest.mark.interop

NOT_TO_BE_EXPECTED = {
    # The quic-go of Caddy 2.6.2 takes a request without Content-Length for one without a body;
    # libcurl's uploads meet the same fate.
    (Target("caddy", "https", "h3"), async_iterator_without_length),
}

SMALLER_SIZES = {
    # Ours is Python; over TLS it receives a quarter of a gigabyte in a second.
    Target("receiver", "https", "http/1.1"): 128 * MIB,
    Target("receiver", "https", "h2"): 128 * MIB,
    Target("caddy", "https", "h3"): 64 * MIB,
    # It sends back all it got.
    Target("nghttpd", "http", "h2"): 64 * MIB,
    Target("nghttpd", "https", "h2"): 64 * MIB,
    # aioquic receives some MiB/s; in hypercorn, it drops what comes faster.
    Target("receiver", "https", "h3"): 32 * MIB,
    Target("hypercorn", "https", "h3"): 8 * MIB,
    # Its body dump is five times the body.
    Target("gtlsserver", "https", "h3"): 4 * MIB,
}
"""Elsewhere it is 256 MiB; with `TRILANE_FULL_SIZES=1` it is a gigabyte everywhere, for minutes.

Whole gigabytes arrive in `test_peak_memory`, whatever the switch says.
"""

every_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.label)


def small_uploads() -> Sequence[object]:
    return [
        pytest.param(target, case, id=f"{case.__name__}-{target.label}")
        for target in TARGETS
        for case in CASES
        if (target, case) not in NOT_TO_BE_EXPECTED
    ]


@pytest.mark.parametrize(("target", "case"), small_uploads())
async def test_upload_arrives_as_it_was_sent(
    reception: Reception, case: Case, tmp_path: Path
) -> None:
    upload = case(tmp_path)
    async with trilane.AsyncClient(verify=str(reception.ca)) as client:
        response = await send(client, reception, upload)
        receipt = reception.receipt(response.content)

    check_receipt(receipt, upload.expected, length_known=upload.length_known)
    check_response(response, reception.target)


@every_target
async def test_second_upload_reuses_the_connection(reception: Reception, tmp_path: Path) -> None:
    upload = one_mebibyte(tmp_path)
    async with trilane.AsyncClient(verify=str(reception.ca)) as client:
        await send(client, reception, upload)
        response = await send(client, reception, upload)
        receipt = reception.receipt(response.content)

    check_receipt(receipt, upload.expected, length_known=True)
    check_reused(response, secure=reception.target.scheme == "https")


@pytest.mark.parametrize(
    "target",
    [target for target in TARGETS if target.scheme == "https"],
    ids=lambda target: target.label,
)
async def test_upload_arrives_without_the_multi_buffer_library(
    reception: Reception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipsec_mb, "installed", lambda: None)
    upload = one_mebibyte(tmp_path)
    async with trilane.AsyncClient(verify=str(reception.ca)) as client:
        receipt = reception.receipt((await send(client, reception, upload)).content)

    check_receipt(receipt, upload.expected, length_known=True)


def huge_size(target: Target) -> int:
    return GIB if FULL_SIZES else SMALLER_SIZES.get(target, 256 * MIB)


def huge_uploads() -> Sequence[object]:
    """Each target once, in turn on asyncio and on trio: a gigabyte takes its time."""
    targets = [target for target in TARGETS if target.server != "upstream"]
    return [
        pytest.param(target, huge_size(target), backend, id=f"{target.label}-{backend}")
        for target, backend in zip(targets, cycle(["asyncio", "trio"]), strict=False)
    ]


@pytest.mark.huge
@pytest.mark.timeout(HUGE_TIMEOUT_S)
@pytest.mark.parametrize(("target", "size", "anyio_backend"), huge_uploads())
async def test_huge_file_arrives_as_it_was_sent(
    reception: Reception, huge_file: Callable[[int], HugeFile], size: int
) -> None:
    huge = huge_file(size)
    # nghttpd sends back all it got.
    limits = trilane.Limits(response_body_bytes=size + MIB)
    async with trilane.AsyncClient(
        verify=str(reception.ca), timeout=HUGE_TIMEOUT_S - 20.0, limits=limits
    ) as client:
        response = await client.upload(reception.url, huge.path, protocol=reception.target.protocol)
        receipt = reception.receipt(response.content)

    check_receipt(receipt, (expected_part(huge),), length_known=True)
    check_response(response, reception.target)


def expected_part(huge: HugeFile) -> ReceivedPart:
    name, kind = huge.path.name, "application/octet-stream"
    return ReceivedPart("file", name, kind, huge.size, huge.sha256)


async def send(
    client: trilane.AsyncClient, reception: Reception, upload: Upload
) -> trilane.Response:
    return await client.upload(
        reception.url,
        files=upload.files,
        form=upload.form,
        protocol=reception.target.protocol,
        timeout=30.0,
    )


def check_receipt(
    receipt: Receipt, expected: tuple[ReceivedPart, ...], *, length_known: bool
) -> None:
    assert receipt.method == "POST"
    assert receipt.target == "/upload"
    assert receipt.parts == expected
    assert receipt.disagreement is None
    assert "python-multipart" in receipt.parsers
    if length_known:
        assert receipt.content_length == receipt.body_bytes
    else:
        assert receipt.content_length is None


def check_response(response: trilane.Response, target: Target) -> None:
    assert response.status_code == 200
    assert response.http_version == HTTP_VERSIONS[target.protocol]
    protocol = SEED_PROTOCOLS[target.protocol]
    check_complete(response, protocol=protocol, secure=target.scheme == "https")
