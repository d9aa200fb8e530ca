"""What is remembered of origins: Alt-Svc, broken QUIC, round trips; in memory and in a file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.peers.certificates import Certificates
from tests.peers.scripted import Peer, scripted_server
from trilane.transport.alt_svc_file import load_alternatives, save_alternatives
from trilane.transport.call import Call
from trilane.transport.config import EngineOptions, TlsOptions
from trilane.transport.engine import Engine
from trilane.transport.message import Origin, parse_url
from trilane.transport.origins import (
    BROKEN_FIRST_S,
    BROKEN_LONGEST_S,
    MAX_ORIGINS,
    KnownAlternative,
    OriginMemory,
)
from trilane.transport.profile.recorder import Recorder

ORIGIN = Origin("https", "a.example", 443)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_an_alternative_is_known_until_it_expires_or_is_cleared() -> None:
    clock = Clock()
    memory = OriginMemory(clock)

    memory.saw_alt_svc(ORIGIN, 'h2=":1", h3="alt.example:8443"; ma=60')
    assert memory.knowledge(ORIGIN).alternative == ("alt.example", 8443)

    clock.now_s += 60
    assert memory.knowledge(ORIGIN).alternative is None

    memory.saw_alt_svc(ORIGIN, 'h3=":8443"')
    assert memory.knowledge(ORIGIN).alternative == ("a.example", 8443)
    memory.saw_alt_svc(ORIGIN, "clear")
    assert memory.knowledge(ORIGIN).alternative is None


def test_broken_quic_is_left_out_for_twice_as_long_each_time() -> None:
    clock = Clock()
    memory = OriginMemory(clock)
    waits = []
    for _ in range(12):
        memory.quic_failed(ORIGIN)
        start_s = clock.now_s
        while memory.knowledge(ORIGIN).quic_broken:
            clock.now_s += BROKEN_FIRST_S
        waits.append(clock.now_s - start_s)

    assert waits[:3] == [BROKEN_FIRST_S, 2 * BROKEN_FIRST_S, 4 * BROKEN_FIRST_S]
    assert waits[-1] == BROKEN_LONGEST_S

    memory.quic_failed(ORIGIN)
    memory.quic_worked(ORIGIN)
    assert not memory.knowledge(ORIGIN).quic_broken


def test_memory_is_bounded() -> None:
    memory = OriginMemory(Clock())
    for port in range(1, MAX_ORIGINS + 10):
        memory.saw_rtt(Origin("https", "a.example", port), 5.0)

    assert memory.knowledge(Origin("https", "a.example", 1)).srtt_s is None
    assert memory.knowledge(Origin("https", "a.example", MAX_ORIGINS)).srtt_s == 0.005


def test_the_file_keeps_what_is_fresh_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "alt-svc.json"
    stale = KnownAlternative(Origin("https", "b.example", 443), ("b.example", 1), -5.0)

    save_alternatives(path, [KnownAlternative(ORIGIN, ("alt.example", 8443), 3600.0), stale])

    (known,) = load_alternatives(path)
    assert (known.origin, known.address) == (ORIGIN, ("alt.example", 8443))
    assert known.fresh_s == pytest.approx(3600, abs=2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


UP_TO_THE_EXPIRY = '{"alternatives": [{"origin": "https://x", "host": "x", "port": 1, "expires_s": '


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"alternatives": [{}]}',
        '{"alternatives": [{"origin": "ftp://x/"}]}',
        "\0",
        *(f"{UP_TO_THE_EXPIRY}{expiry}}}]}}" for expiry in ("Infinity", "NaN", "1" * 400)),
    ],
)
def test_a_file_that_makes_no_sense_counts_as_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "alt-svc.json"
    path.write_text(content, "utf-8")

    assert load_alternatives(path) == []
    assert load_alternatives(tmp_path / "missing") == []


async def test_what_one_client_learned_the_next_one_knows(
    certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "alt-svc.json"
    tls = TlsOptions(verify=str(certificates.ca))

    with scripted_server(advertise, tls=certificates.server.server_context()) as server:
        url = parse_url(server.url())
        async with Engine(EngineOptions(tls=tls, alt_svc_path=path)) as engine:
            await engine.send(Call(method="POST", url=url), Recorder())

    (entry,) = json.loads(path.read_text("utf-8"))["alternatives"]
    assert entry["origin"] == str(url.origin)
    assert (entry["host"], entry["port"]) == ("127.0.0.1", 4433)


async def test_an_advertisement_in_clear_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "alt-svc.json"
    with scripted_server(advertise) as server:
        async with Engine(EngineOptions(alt_svc_path=path)) as engine:
            await engine.send(Call(method="POST", url=parse_url(server.url())), Recorder())

    assert load_alternatives(path) == []


def advertise(peer: Peer) -> None:
    peer.read_head()
    peer.send(b'HTTP/1.1 200 OK\r\nAlt-Svc: h3=":4433"; ma=600\r\nContent-Length: 0\r\n\r\n')
