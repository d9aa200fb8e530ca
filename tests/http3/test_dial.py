"""Making HTTP/3 connections: what fails how, which address wins, whom to trust."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint
from cryptography.hazmat.primitives.serialization import Encoding

from tests.http3.udp_server import serving
from tests.http3.uploads import PATIENCE_S, Dialling, answers, serve_with
from tests.peers.certificates import Certificates, Identity
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.plain_names import PlainNames
from trilane.transport.config import EngineOptions, QuicOptions, TlsOptions
from trilane.transport.connections import quic_link
from trilane.transport.connections.http3_dialer import QuicDialer
from trilane.transport.errors import (
    CertificateError,
    ConnectError,
    ProtocolUnavailable,
    ResolveError,
    UsageError,
)
from trilane.transport.message import parse_url
from trilane.transport.net.dial_log import DialLog
from trilane.transport.profile.moments import AttemptOutcome
from trilane.transport.sessions import SessionStore

# --- failures ---------------------------------------------------------------------------------


async def test_a_dead_port_fails_at_once(certificates: Certificates) -> None:
    async with serving(serve_with(certificates.server)) as server:
        url = server.url()
        server.close()
    dialling = Dialling(certificates)
    with no_leaked_descriptors(), anyio.fail_after(5.0), pytest.raises(ConnectError) as caught:
        await dialling.dial(url)

    assert caught.value.refused
    assert "refused" in str(caught.value)
    [attempt] = caught.value.attempts
    assert (attempt.protocol, attempt.outcome) == ("quic", AttemptOutcome.FAILED)


async def test_a_black_hole_is_left_to_the_callers_timeout(certificates: Certificates) -> None:
    async with serving(serve_with(certificates.server)) as server:
        server.deaf = True
        dialling = Dialling(certificates)
        with no_leaked_descriptors(), anyio.move_on_after(0.1) as scope:
            await dialling.dial(server.url())
        assert scope.cancelled_caught
        assert [attempt.outcome for attempt in dialling.log.attempts] == [AttemptOutcome.CANCELLED]


async def test_a_handshake_has_its_own_limit(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quic_link, "HANDSHAKE_S", 0.1)
    async with serving(serve_with(certificates.server)) as server:
        server.deaf = True
        with anyio.fail_after(PATIENCE_S):
            with pytest.raises(ConnectError, match="no answer"):
                await Dialling(certificates).dial(server.url())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("expired", "it has expired"),
        ("wrong_host", "it is for another"),
        ("unknown_ca", "unknown certificate authority"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_that_must_not_be_trusted(
    certificates: Certificates, name: str, words: str, host: str
) -> None:
    identity = getattr(certificates, name)
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(identity)) as server:
            with pytest.raises(CertificateError, match=words):
                await Dialling(certificates).dial(server.url(host=host))


async def test_a_server_without_h3(certificates: Certificates) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server, alpn="hq-interop")) as server:
            with pytest.raises(ProtocolUnavailable, match="h3"):
                await Dialling(certificates).dial(server.url())


async def test_a_name_without_address(certificates: Certificates) -> None:
    dialling = Dialling(certificates)
    with pytest.raises(ResolveError):
        await dialling.dial("https://does-not-exist.invalid:4433/")
    [attempt] = dialling.log.attempts
    assert (attempt.address, attempt.protocol) == (None, "quic")


async def test_an_address_without_a_route(certificates: Certificates) -> None:
    # The kernel refuses to connect a socket to the broadcast address.
    with anyio.fail_after(PATIENCE_S), pytest.raises(ConnectError, match=r"255\.255"):
        await Dialling(certificates).dial("https://255.255.255.255:4433/")


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17])
async def test_cancelling_a_dial_at_any_await_leaves_nothing_open(
    certificates: Certificates, steps: int
) -> None:
    async def dial(dialling: Dialling, url: str, scope: anyio.CancelScope) -> None:
        with scope:
            connection = await dialling.dial(url)
            await connection.aclose()

    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server)) as server:
            with no_leaked_descriptors():
                async with anyio.create_task_group() as tasks:
                    scope = anyio.CancelScope()
                    tasks.start_soon(dial, Dialling(certificates), server.url(), scope)
                    for _ in range(steps):
                        await checkpoint()
                    scope.cancel()


# --- addresses --------------------------------------------------------------------------------


class Addresses:
    """A resolver that knows every name by the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(self, host: str) -> tuple[str, ...]:
        return self._addresses


@contextmanager
def swallowing(address: str, port: int) -> Iterator[None]:
    """A UDP port that takes everything and answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind((address, port))
        yield


def dialer_to(certificates: Certificates) -> QuicDialer:
    tls = TlsOptions(verify=str(certificates.ca))
    return QuicDialer(EngineOptions(tls=tls), SessionStore())


async def test_the_next_address_is_tried_when_one_is_dead(certificates: Certificates) -> None:
    log = DialLog()
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server)) as server:
            origin = parse_url(server.url(host="localhost")).origin
            dialer = dialer_to(certificates)
            connection = await dialer.dial(
                origin,
                ("localhost", server.port),
                log,
                names=PlainNames(Addresses("127.0.0.2", "127.0.0.1")),
            )
            await connection.aclose()

    outcomes = {attempt.address: attempt.outcome for attempt in log.attempts}
    assert outcomes == {
        ("127.0.0.2", server.port): AttemptOutcome.FAILED,
        ("127.0.0.1", server.port): AttemptOutcome.WON,
    }
    assert connection.facts.peer == ("127.0.0.1", server.port)
    dial = connection.facts.dial
    assert dial.dns_start is not None
    assert dial.dns_end is not None
    assert dial.connect_start is not None
    assert dial.dns_start <= dial.dns_end <= dial.connect_start


async def test_every_address_and_its_reason_is_named(certificates: Certificates) -> None:
    async with serving(serve_with(certificates.server)) as server:
        port = server.port
        server.close()
    dialer = dialer_to(certificates)
    origin = parse_url(f"https://localhost:{port}/").origin
    with anyio.fail_after(PATIENCE_S), pytest.raises(ConnectError) as caught:
        await dialer.dial(
            origin,
            ("localhost", port),
            DialLog(),
            names=PlainNames(Addresses("127.0.0.2", "127.0.0.3")),
        )

    assert "127.0.0.2" in str(caught.value)
    assert "127.0.0.3" in str(caught.value)
    assert caught.value.refused
    assert len(caught.value.attempts) == 2


async def test_a_slow_address_loses_and_is_closed(certificates: Certificates) -> None:
    """The first address swallows everything; the second starts 250 ms later and wins."""
    log = DialLog()
    hole = "127.0.0.9"
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server)) as server:
            origin = parse_url(server.url(host="localhost")).origin
            with swallowing(hole, server.port), no_leaked_descriptors():
                dialer = dialer_to(certificates)
                connection = await dialer.dial(
                    origin,
                    ("localhost", server.port),
                    log,
                    names=PlainNames(Addresses(hole, "127.0.0.1")),
                )
                await connection.aclose()

    assert [(a.address and a.address[0], a.outcome) for a in log.attempts] == [
        ("127.0.0.1", AttemptOutcome.WON),
        (hole, AttemptOutcome.CANCELLED),
    ]


# --- trust ------------------------------------------------------------------------------------


async def succeeds(
    certificates: Certificates, tls: TlsOptions, identity: Identity, host: str
) -> bool:
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(identity)) as server,
            Dialling(certificates, tls=tls).connection(server.url(host=host)) as connection,
        ):
            return await answers(connection, server.url(host=host))


async def test_the_dot_that_ends_a_name_is_not_part_of_it(certificates: Certificates) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with serving(serve_with(certificates.server)) as server:
            origin = parse_url(server.url(host="localhost.")).origin
            dialer = dialer_to(certificates)
            connection = await dialer.dial(
                origin,
                (origin.host, server.port),
                DialLog(),
                names=PlainNames(Addresses("127.0.0.1")),
            )
            await connection.aclose()


async def test_ipv6(certificates: Certificates) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server), "::1") as server,
            Dialling(certificates).connection(server.url(host="[::1]")) as connection,
        ):
            assert await answers(connection, server.url(host="[::1]"))
    assert connection.facts.peer == ("::1", server.port)
    assert connection.facts.local[0] == "::1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_names_and_ip_addresses_are_verified(certificates: Certificates, host: str) -> None:
    tls = TlsOptions(verify=str(certificates.ca))
    assert await succeeds(certificates, tls, certificates.server, host)


async def test_verification_can_be_turned_off(certificates: Certificates) -> None:
    assert await succeeds(
        certificates, TlsOptions(verify=False), certificates.unknown_ca, "127.0.0.1"
    )


async def test_the_system_store_does_not_know_the_test_authority(
    certificates: Certificates,
) -> None:
    with pytest.raises(CertificateError):
        await succeeds(certificates, TlsOptions(), certificates.server, "localhost")


async def test_the_authorities_of_a_users_context_are_used(certificates: Certificates) -> None:
    context = certificates.client_context()
    assert await succeeds(
        certificates, TlsOptions(verify=context), certificates.server, "localhost"
    )
    with pytest.raises(CertificateError):
        await succeeds(
            certificates, TlsOptions(verify=context), certificates.unknown_ca, "localhost"
        )


async def test_a_users_context_without_verification(certificates: Certificates) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert await succeeds(
        certificates, TlsOptions(verify=context), certificates.unknown_ca, "localhost"
    )


async def test_a_context_whose_authorities_cannot_be_seen_is_refused(
    certificates: Certificates,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(UsageError, match="CA certificates"):
        await succeeds(certificates, TlsOptions(verify=context), certificates.server, "localhost")


@pytest.mark.parametrize("separate_key", [True, False])
async def test_a_client_certificate_is_shown(
    certificates: Certificates, tmp_path: Path, separate_key: bool
) -> None:
    identity = certificates.client
    combined = tmp_path / "client.pem"
    # The key first, as many tools write it.
    combined.write_bytes(identity.key.read_bytes() + identity.cert.read_bytes())
    cert, key = (str(identity.cert), str(identity.key)) if separate_key else (str(combined), None)
    tls = TlsOptions(verify=str(certificates.ca), cert=cert, key=key)
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server, ask_certificate=True)) as server,
            Dialling(certificates, tls=tls).connection(server.url()) as connection,
        ):
            assert await answers(connection, server.url())
            shown = server.sides[0].quic.tls._peer_certificate
    assert shown is not None
    pem = shown.public_bytes(Encoding.PEM).decode()
    assert pem.split() == identity.cert.read_text().split()[: len(pem.split())]


@pytest.mark.parametrize(
    "tls",
    [
        TlsOptions(verify="/nonexistent/ca.pem"),
        TlsOptions(cert="/nonexistent/client.pem"),
        TlsOptions(cert=__file__),
        TlsOptions(keylog_path="/nonexistent/folder/keys"),
    ],
)
async def test_files_that_cannot_be_used(certificates: Certificates, tls: TlsOptions) -> None:
    with pytest.raises(UsageError):
        await Dialling(certificates, tls=tls).dial("https://127.0.0.1:4433/")


async def test_keys_and_events_are_logged(certificates: Certificates, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# of a TCP connection\n")
    tls = TlsOptions(verify=str(certificates.ca), keylog_path=str(keys))
    quic = QuicOptions(qlog_dir=str(tmp_path))
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            Dialling(certificates, tls=tls, quic=quic).connection(server.url()) as connection,
        ):
            assert await answers(connection, server.url())

    lines = keys.read_text().splitlines()
    assert lines[0] == "# of a TCP connection"
    assert {line.split()[0] for line in lines[1:]} >= {
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
    }
    [qlog] = (path for path in tmp_path.iterdir() if path.suffix == ".qlog")  # noqa: ASYNC240  # a test has time
    assert "packet_sent" in qlog.read_text()


async def test_a_qlog_folder_must_exist(certificates: Certificates) -> None:
    quic = QuicOptions(qlog_dir="/nonexistent/folder")
    with pytest.raises(UsageError, match="qlog"):
        await Dialling(certificates, quic=quic).dial("https://127.0.0.1:4433/")


@pytest.mark.parametrize("congestion_control", ["cubic", "reno"])
async def test_congestion_controllers(
    certificates: Certificates, congestion_control: Literal["cubic", "reno"]
) -> None:
    quic = QuicOptions(congestion_control=congestion_control)
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            Dialling(certificates, quic=quic).connection(server.url()) as connection,
        ):
            assert await answers(connection, server.url())
            used = type(connection.machine.quic._loss._cc).__name__.lower()
    assert used.endswith(congestion_control)


async def test_the_cipher_suites_are_chosen(certificates: Certificates) -> None:
    quic = QuicOptions(cipher_suites=("TLS_CHACHA20_POLY1305_SHA256",))
    dialling = Dialling(certificates, quic=quic)
    with anyio.fail_after(PATIENCE_S):
        async with (
            serving(serve_with(certificates.server)) as server,
            dialling.connection(server.url()) as connection,
        ):
            assert await answers(connection, server.url())
    assert connection.facts.tls is not None
    assert connection.facts.tls.cipher == "TLS_CHACHA20_POLY1305_SHA256"
    wrong = QuicOptions(cipher_suites=("TLS_AES_128_CCM_SHA256",))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="TLS_AES_128_CCM_SHA256"):
        await Dialling(certificates, quic=wrong).dial("https://127.0.0.1:9/")
