"""TLS options become contexts; a user's context keeps its meaning and is never changed."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import truststore
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL.crypto import FILETYPE_PEM, load_certificate

from tests.net.support import ServerSide
from tests.peers.certificates import Certificates
from trilane.transport.config import TlsOptions
from trilane.transport.errors import CertificateError, TlsError, TransportError, UsageError
from trilane.transport.facts import TlsFacts
from trilane.transport.net.chain import chain_verifier
from trilane.transport.net.memory import memory_pair
from trilane.transport.net.tls import TlsStream
from trilane.transport.net.tls_context import fresh_context, tls_setup


async def shake(
    options: TlsOptions,
    server: ssl.SSLContext,
    alpn: tuple[str, ...] = ("h2",),
    host: str = "localhost",
) -> tuple[TlsFacts, bool]:
    """Shake hands in memory; what was agreed on, and whether the client showed a certificate."""
    setup = await tls_setup(options, alpn)
    client_end, server_end = memory_pair()
    client = TlsStream(client_end, setup, host)
    peer = TlsStream(server_end, ServerSide(server, ()), "")

    async def serve() -> None:
        try:
            await peer.handshake()
        except TransportError:
            server_end.close()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                await client.handshake()
            except TransportError as exc:
                error: TransportError | None = exc
                client_end.close()
            else:
                error = None
        if error is not None:
            raise error
        assert client.tls is not None
        assert peer.tls is not None
        return client.tls, peer.tls.peer_certificate_der is not None
    finally:
        client.close()
        peer.close()


# --- options --------------------------------------------------------------------------------------


async def test_authorities_that_nobody_asks_are_not_loaded() -> None:
    context = (await tls_setup(TlsOptions(verify=False), ("h2",))).context
    assert context.cert_store_stats()["x509_ca"] == 0
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


async def test_a_context_is_built_once_and_again_when_its_files_change(
    certificates: Certificates, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(certificates.ca.read_bytes())
    options = TlsOptions(verify=str(ca))
    first = await tls_setup(options, ("h2",))
    assert (await tls_setup(TlsOptions(verify=str(ca)), ("h2",))).context is first.context
    assert (await tls_setup(options, ("http/1.1",))).context is not first.context
    ca.write_bytes(certificates.ca.read_bytes() + b"\n")
    assert (await tls_setup(options, ("h2",))).context is not first.context


async def test_the_number_of_kept_contexts_is_bounded(certificates: Certificates) -> None:
    options = TlsOptions(verify=str(certificates.ca))
    first = await tls_setup(options, ("first",))
    for number in range(16):
        await tls_setup(options, (f"protocol-{number}",))
    assert (await tls_setup(options, ("first",))).context is not first.context


async def test_the_defaults_are_strict() -> None:
    context = (await tls_setup(TlsOptions(), ("h2",))).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.options & ssl.OP_NO_RENEGOTIATION


async def test_a_folder_of_ca_certificates(certificates: Certificates, tmp_path: Path) -> None:
    # OpenSSL finds them by the hash of their subject, as c_rehash names them.
    authority = load_certificate(FILETYPE_PEM, certificates.ca.read_bytes())
    name = f"{authority.subject_name_hash():08x}.0"
    (tmp_path / name).write_bytes(certificates.ca.read_bytes())
    facts, _ = await shake(TlsOptions(verify=str(tmp_path)), certificates.server.server_context())
    assert facts.version == "TLSv1.3"
    with pytest.raises(CertificateError):
        await shake(TlsOptions(verify=str(tmp_path)), certificates.unknown_ca.server_context())


async def test_the_key_log_is_written(certificates: Certificates, tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    path.write_text("# kept\n")
    options = TlsOptions(verify=str(certificates.ca), keylog_path=str(path))
    await shake(options, certificates.server.server_context())
    assert path.read_text().startswith("# kept\n")
    assert "CLIENT_TRAFFIC_SECRET_0 " in path.read_text()


async def test_no_keys_are_logged_that_nobody_asked_for(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    for options in (TlsOptions(verify=str(certificates.ca)), TlsOptions(verify=False)):
        await shake(options, certificates.server.server_context())
    await tls_setup(TlsOptions(), ())
    assert chain_verifier(TlsOptions()) is not None
    assert not path.exists()


def test_a_fresh_context_begins_as_the_default_one() -> None:
    ours, theirs = fresh_context(), ssl.create_default_context()
    for name in ("verify_flags", "verify_mode", "check_hostname", "options", "minimum_version"):
        assert getattr(ours, name) == getattr(theirs, name), name


async def test_an_encrypted_key_opens_with_its_password_and_never_asks(
    certificates: Certificates, tmp_path: Path
) -> None:
    key = load_pem_private_key(certificates.client.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")
        )
    )

    def options(password: str | None) -> TlsOptions:
        return TlsOptions(
            verify=str(certificates.ca),
            cert=str(certificates.client.cert),
            key=str(locked),
            key_password=password,
        )

    server = certificates.server.server_context()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(certificates.ca)
    _, shown = await shake(options("open sesame"), server)
    assert shown
    for wrong in (None, "wrong"):
        with pytest.raises(UsageError, match=r"locked\.key"):
            await tls_setup(options(wrong), ())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TlsOptions(verify="/nonexistent/ca.pem"), "/nonexistent/ca.pem"),
        (TlsOptions(verify=__file__), "test_tls_context.py"),
        (TlsOptions(verify="nul\0"), "nul"),
        (TlsOptions(cert="/nonexistent/cert.pem"), "/nonexistent/cert.pem"),
        (TlsOptions(cert=__file__), "client certificate"),
        (TlsOptions(key=__file__), "without its certificate"),
        (TlsOptions(keylog_path="/nonexistent/keys.log"), "/nonexistent/keys.log"),
        (TlsOptions(verify=ssl.create_default_context(), cert=__file__), "into the context"),
        (TlsOptions(verify=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)), "for servers"),
    ],
)
async def test_options_that_cannot_be_used_say_which(options: TlsOptions, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        await tls_setup(options, ("h2",))


async def test_a_key_of_another_certificate_is_refused(certificates: Certificates) -> None:
    options = TlsOptions(cert=str(certificates.client.cert), key=str(certificates.server.key))
    with pytest.raises(UsageError, match="mismatch"):
        await tls_setup(options, ())


# --- a user's context: what OpenSSL must go on doing for the hand-over to be right ----------------


@pytest.fixture
def user(certificates: Certificates) -> ssl.SSLContext:
    return certificates.client_context()


async def test_each_connection_offers_its_own_protocols(
    certificates: Certificates, user: ssl.SSLContext
) -> None:
    server = certificates.server.server_context("h2", "http/1.1")
    user.set_alpn_protocols(["the user's own"])
    for alpn in ("h2", "http/1.1", "h2"):
        facts, _ = await shake(TlsOptions(verify=user), server, (alpn,))
        assert facts.alpn == alpn


async def test_the_users_trust_store_decides(
    certificates: Certificates, user: ssl.SSLContext
) -> None:
    with pytest.raises(CertificateError, match="unknown certificate authority"):
        await shake(TlsOptions(verify=user), certificates.unknown_ca.server_context())
    strangers = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(CertificateError, match="unknown certificate authority"):
        await shake(TlsOptions(verify=strangers), certificates.server.server_context())


@pytest.mark.parametrize(
    ("identity", "host", "words"),
    [
        ("expired", "localhost", "expired"),
        ("wrong_host", "localhost", "another host"),
        ("server", "127.0.0.2", "another IP address"),
    ],
)
async def test_the_users_context_verifies(
    certificates: Certificates, user: ssl.SSLContext, identity: str, host: str, words: str
) -> None:
    server = getattr(certificates, identity).server_context()
    with pytest.raises(CertificateError, match=words):
        await shake(TlsOptions(verify=user), server, host=host)


async def test_the_user_may_switch_checks_off(
    certificates: Certificates, user: ssl.SSLContext
) -> None:
    user.check_hostname = False
    await shake(TlsOptions(verify=user), certificates.wrong_host.server_context())
    with pytest.raises(CertificateError):
        await shake(TlsOptions(verify=user), certificates.unknown_ca.server_context())
    user.verify_mode = ssl.CERT_NONE
    await shake(TlsOptions(verify=user), certificates.unknown_ca.server_context())
    user.verify_mode = ssl.CERT_REQUIRED
    with pytest.raises(CertificateError):
        await shake(TlsOptions(verify=user), certificates.unknown_ca.server_context())


async def test_the_users_client_certificate_is_shown(
    certificates: Certificates, user: ssl.SSLContext
) -> None:
    server = certificates.server.server_context()
    server.verify_mode = ssl.CERT_OPTIONAL
    server.load_verify_locations(certificates.ca)
    assert not (await shake(TlsOptions(verify=user), server))[1]
    user.load_cert_chain(certificates.client.cert, certificates.client.key)
    assert (await shake(TlsOptions(verify=user), server))[1]


def _at_most_tls12(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def _no_tls13(context: ssl.SSLContext) -> None:
    with pytest.warns(DeprecationWarning, match="OP_NO_TLS"):
        context.options |= ssl.OP_NO_TLSv1_3


@pytest.mark.parametrize("restrict", [_at_most_tls12, _no_tls13])
async def test_the_users_versions_and_ciphers_hold(
    certificates: Certificates,
    user: ssl.SSLContext,
    restrict: Callable[[ssl.SSLContext], None],
) -> None:
    restrict(user)
    user.set_ciphers("ECDHE+CHACHA20")
    facts, _ = await shake(TlsOptions(verify=user), certificates.server.server_context())
    assert facts.version == "TLSv1.2"
    assert "CHACHA20" in facts.cipher
    modern = certificates.server.server_context()
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(TlsError, match="none of our TLS versions"):
        await shake(TlsOptions(verify=user), modern)


async def test_the_users_key_log_is_written(
    certificates: Certificates, user: ssl.SSLContext, tmp_path: Path
) -> None:
    user.keylog_filename = str(tmp_path / "keys.log")
    await shake(TlsOptions(verify=user), certificates.server.server_context())
    assert "CLIENT_TRAFFIC_SECRET_0 " in (tmp_path / "keys.log").read_text()


async def test_a_context_of_a_subclass_is_used_as_it_is(certificates: Certificates) -> None:
    class Special(ssl.SSLContext):
        wrapped = 0

        def wrap_bio(self, *args: object, **options: object) -> ssl.SSLObject:
            type(self).wrapped += 1
            return super().wrap_bio(*args, **options)  # type: ignore[arg-type]

    special = Special(ssl.PROTOCOL_TLS_CLIENT)
    special.load_verify_locations(certificates.ca)
    special.set_alpn_protocols(["http/1.1"])
    server = certificates.server.server_context("h2", "http/1.1")
    facts, _ = await shake(TlsOptions(verify=special), server, ("h2",))
    assert facts.alpn == "http/1.1"
    assert Special.wrapped == 1


# --- versions, ciphers, other trust stores --------------------------------------------------------


def server_limited_to(
    certificates: Certificates, version: ssl.TLSVersion, ciphers: str = "DEFAULT"
) -> ssl.SSLContext:
    context = certificates.server.server_context("h2")
    context.maximum_version = version
    context.set_ciphers(ciphers)
    return context


async def test_the_oldest_version(certificates: Certificates) -> None:
    old = server_limited_to(certificates, ssl.TLSVersion.TLSv1_2)
    ca = str(certificates.ca)
    facts, _ = await shake(TlsOptions(verify=ca), old)
    assert facts.version == "TLSv1.2"
    with pytest.raises(TlsError, match="TLS version"):
        await shake(TlsOptions(verify=ca, minimum="1.3"), old)
    facts, _ = await shake(
        TlsOptions(verify=ca, minimum="1.3"), certificates.server.server_context("h2")
    )
    assert facts.version == "TLSv1.3"


async def test_cipher_suites_of_tls_1_2(certificates: Certificates) -> None:
    server = server_limited_to(certificates, ssl.TLSVersion.TLSv1_2)
    ca, wanted = str(certificates.ca), "ECDHE-ECDSA-AES128-GCM-SHA256"
    facts, _ = await shake(TlsOptions(verify=ca, ciphers=wanted), server)
    assert facts.cipher == wanted
    other = server_limited_to(certificates, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-CHACHA20-POLY1305")
    with pytest.raises(TlsError):
        await shake(TlsOptions(verify=ca, ciphers=wanted), other)
    with pytest.raises(UsageError, match="NONSENSE"):
        await tls_setup(TlsOptions(ciphers="NONSENSE"), ())


@pytest.mark.parametrize("more", [{"minimum": "1.3"}, {"ciphers": "DEFAULT"}])
async def test_a_users_context_has_its_own(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="on the context itself"):
        await tls_setup(TlsOptions(verify=ssl.create_default_context(), **more), ())


async def test_the_store_of_the_operating_system(certificates: Certificates) -> None:
    store = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server = certificates.server.server_context("h2")
    with pytest.raises(CertificateError):
        await shake(TlsOptions(verify=store), server)
    # It reveals nobody it trusts, so QUIC cannot use it and says so.
    with pytest.raises(UsageError, match="does not list its CA certificates"):
        chain_verifier(TlsOptions(verify=store))
    store.load_verify_locations(certificates.ca)
    facts, _ = await shake(TlsOptions(verify=store), server)
    assert facts.version == "TLSv1.3"
