"""Tickets survive the process, in a file that is safe, and are used once."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import anyio
import pytest
from aioquic.tls import SessionTicket

import trilane
from tests.http3.pair import ServerSide
from tests.http3.udp_server import UdpServer, serving
from tests.peers.certificates import Certificates
from tests.peers.new_sessions import waiting_for_new
from trilane.transport.session_file import put_sessions, take_sessions
from trilane.transport.sessions import SessionKey, SessionStore

OTHER_PIN = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


async def upload(
    certificates: Certificates, server: UdpServer, path: Path, **options: object
) -> trilane.Profile:
    """One upload by a client of its own, as a process of its own would make it."""
    settings: dict[str, object] = {"verify": str(certificates.ca), "sessions": path}
    async with (
        trilane.AsyncClient(**(settings | options)) as client,  # type: ignore[arg-type]
        waiting_for_new(client),
    ):
        response = await client.request(
            "POST", server.url(), content=b"body", protocol="h3", early_data=True
        )
    assert response.profile is not None
    return response.profile


async def test_the_next_process_resumes(certificates: Certificates, tmp_path: Path) -> None:
    path, tickets = tmp_path / "sessions", dict[bytes, SessionTicket]()
    with anyio.fail_after(20):
        async with serving(lambda: ServerSide(certificates.server, tickets=tickets)) as server:
            profiles = [await upload(certificates, server, path) for _ in range(3)]
    facts = [profile.tls for profile in profiles if profile.tls is not None]
    assert [tls.session_resumed for tls in facts] == [False, True, True]
    assert [tls.early_data_accepted for tls in facts] == [None, True, True]
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]  # noqa: ASYNC240


async def test_other_cipher_suites_do_not_get_the_ticket(
    certificates: Certificates, tmp_path: Path
) -> None:
    path, tickets = tmp_path / "sessions", dict[bytes, SessionTicket]()
    other = trilane.QuicOptions(cipher_suites=("TLS_AES_128_GCM_SHA256",))
    with anyio.fail_after(20):
        async with serving(lambda: ServerSide(certificates.server, tickets=tickets)) as server:
            await upload(certificates, server, path)
            profile = await upload(certificates, server, path, quic=other)
    assert profile.tls is not None
    assert (profile.tls.session_resumed, profile.tls.early_data_accepted) == (False, None)


async def test_other_pins_do_not_get_the_ticket(certificates: Certificates, tmp_path: Path) -> None:
    path, tickets = tmp_path / "sessions", dict[bytes, SessionTicket]()
    with anyio.fail_after(20):
        async with serving(lambda: ServerSide(certificates.server, tickets=tickets)) as server:
            await upload(certificates, server, path)
            with pytest.raises(trilane.CertificateError, match="pinned"):
                await upload(certificates, server, path, pins={"127.0.0.1": [OTHER_PIN]})
            # No early data either.
            assert not server.sides[1].requests
            kept = await upload(certificates, server, path)
    assert kept.tls is not None
    assert kept.tls.session_resumed


def test_who_reads_takes_it_away(tmp_path: Path) -> None:
    path, key = tmp_path / "sessions", SessionKey("a")
    stores = [SessionStore() for _ in range(3)]
    stores[0].of(key).tokens.append(b"token")
    put_sessions(path, stores[0])
    for store in stores[1:]:
        take_sessions(path, store)
    assert [store.take_quic(key, early_data=False).token for store in stores[1:]] == [b"token", b""]
    assert not path.exists()


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    for name in ("a", "b"):
        store = SessionStore()
        store.of(SessionKey(name)).tokens.append(name.encode())
        put_sessions(path, store)
    found = SessionStore()
    take_sessions(path, found)
    assert {key.name: list(kept.tokens) for key, kept in found} == {"a": [b"a"], "b": [b"b"]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2, "sessions": {}}',
        '{"version": 1, "sessions": []}',
        '{"version": 1, "sessions": {"a": 1}}',
        '{"version": 1, "sessions": {"a": {"tickets": [{}], "tokens": []}}}',
        '{"version": 1, "sessions": {"a": {"tickets": [], "tokens": ["?"]}}}',
        "\udcff",
    ],
)
def test_a_file_that_means_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path, store = tmp_path / "sessions", SessionStore()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    with caplog.at_level(logging.WARNING, "trilane"):
        take_sessions(path, store)
    assert not list(store)
    assert "cannot be understood" in caplog.text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
async def test_a_file_that_is_not_safe_is_refused_and_left_alone(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "sessions"
    path.write_text(json.dumps({"version": 1, "sessions": {}}))
    path.chmod(mode)
    with pytest.raises(trilane.UsageError, match="open to others"):
        async with trilane.AsyncClient(sessions=path):
            pass
    assert path.exists()


async def test_neither_a_folder_nor_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path, link):
        with pytest.raises(trilane.UsageError, match="not a regular file"):
            async with trilane.AsyncClient(sessions=path):
                pass


def test_nonsense_is_no_path() -> None:
    with pytest.raises(trilane.UsageError, match="sessions must be"):
        trilane.AsyncClient(sessions=3)  # type: ignore[arg-type]
