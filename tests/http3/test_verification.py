"""The same bad certificate has the same end over TCP, where OpenSSL judges, and over QUIC."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from tests.net.support import ServerSide
from tests.peers.certificates import Identity
from tests.peers.chains import Authorities, Issued, Spec, issue, sign_with_sha1, write_identity
from trilane.transport.config import TlsOptions
from trilane.transport.errors import CertificateError, TransportError
from trilane.transport.net.chain import chain_verifier, is_at_hand
from trilane.transport.net.memory import memory_pair
from trilane.transport.net.tls import TlsStream
from trilane.transport.net.tls_context import tls_setup

HOST = "host.example.org"
Chain = tuple[Issued, ...]
Make = Callable[[Authorities], Chain]
SERVER_USE = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT_ONLY = (ExtendedKeyUsageOID.CLIENT_AUTH,)
ANY_USE = (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)


def leaf(**changes: object) -> Make:
    return lambda authorities: (_issue(authorities.root, **changes),)


def below(intermediate: Spec, *, sent: bool = True) -> Make:
    def make(authorities: Authorities) -> Chain:
        middle = authorities.intermediate(intermediate)
        server = _issue(middle)
        return (server, middle) if sent else (server,)

    return make


def alone(**changes: object) -> Make:
    return lambda _: (_issue(None, **changes),)


def unknown_authority(_: Authorities) -> Chain:
    return (_issue(Authorities().root),)


def signed_with_sha1(authorities: Authorities) -> Chain:
    issuer = authorities.intermediate(middle(rsa_bits=2048))
    return sign_with_sha1(_issue(issuer), issuer), issuer


def _issue(issuer: Issued | None, **changes: object) -> Issued:
    settings: dict[str, object] = {"names": (HOST, "192.0.2.1")} | changes
    return issue(Spec(**settings), issuer)  # type: ignore[arg-type]


def middle(**changes: object) -> Spec:
    settings: dict[str, object] = {"common_name": "middle", "names": (), "is_ca": True}
    return Spec(**(settings | {"usages": ()} | changes))  # type: ignore[arg-type]


#: What is served, for whom it is taken, and a word of what is wrong; None: nothing.
TABLE: dict[str, tuple[Make, str, str | None]] = {
    "impeccable": (leaf(), HOST, None),
    "a name in capitals": (leaf(), HOST.upper(), None),
    "an absolute name": (leaf(), f"{HOST}.", None),
    "an address": (leaf(), "192.0.2.1", None),
    "a long chain": (below(middle()), HOST, None),
    "an authority for servers": (below(middle(usages=SERVER_USE)), HOST, None),
    "permitted name": (below(middle(permitted="example.org")), HOST, None),
    "no usages named": (leaf(usages=()), HOST, None),
    "expired": (leaf(not_before_days=-9, not_after_days=-1), HOST, "it has expired"),
    "not yet valid": (leaf(not_before_days=1), HOST, "it is not valid yet"),
    "another host": (leaf(names=("other.example.org",)), HOST, "it is for another host"),
    "another address": (leaf(), "192.0.2.2", "it is for another IP address"),
    "an address as a name": (leaf(names=(HOST,)), "192.0.2.1", "it is for another IP address"),
    "common name only": (leaf(names=(), common_name=HOST), HOST, "it is for another host"),
    "address in common name": (
        leaf(names=(), common_name="192.0.2.1"), "192.0.2.1", "it is for another IP address"
    ),
    "self-signed": (alone(), HOST, "it is self-signed"),
    "self-signed authority": (alone(is_ca=True), HOST, "it is self-signed"),
    "unknown authority": (unknown_authority, HOST, "unknown certificate authority"),
    "missing link": (below(middle(), sent=False), HOST, "unknown certificate authority"),
    "for clients": (leaf(usages=CLIENT_ONLY), HOST, "it is not meant for servers"),
    "for anything": (leaf(usages=ANY_USE), HOST, "it is not meant for servers"),
    "key not for TLS": (leaf(digital_signature=False), HOST, "it is not meant for servers"),
    "authority for clients": (below(middle(usages=CLIENT_ONLY)), HOST, "not meant for servers"),
    "issuer is no authority": (below(middle(is_ca=False)), HOST, "no certificate authority"),
    "expired authority": (
        below(middle(not_before_days=-9, not_after_days=-1)), HOST, "it has expired"
    ),
    "name not permitted": (below(middle(permitted="example.com")), HOST, "may vouch for"),
    "weak key": (leaf(rsa_bits=1024), HOST, "too weak"),
    "weak signature": (signed_with_sha1, HOST, "too weak"),
    "weak authority": (below(middle(rsa_bits=1024)), HOST, "too weak"),
    "wildcard": (leaf(names=("*.example.org",)), HOST, None),
    "wildcard for two labels": (
        leaf(names=("*.example.org",)), f"a.{HOST}", "it is for another host"
    ),
    "wildcard for no label": (
        leaf(names=("*.host.example.org",)), HOST, "it is for another host"
    ),
    "wildcard for a part": (leaf(names=("h*.example.org",)), HOST, "it is for another host"),
    "wildcard in the middle": (leaf(names=("host.*.org",)), HOST, "it is for another host"),
    "wildcard for everything": (leaf(names=("*",)), HOST, "it is for another host"),
    "wildcard in a top-level domain": (leaf(names=("*.org",)), "example.org", "another host"),
}  # fmt: skip


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return Authorities()


@pytest.fixture(scope="module")
def ca(authorities: Authorities, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("root") / "root.pem"
    path.write_bytes(authorities.root.pem)
    return path


@pytest.mark.parametrize("case", TABLE)
def test_tcp_and_quic_agree(authorities: Authorities, ca: Path, tmp_path: Path, case: str) -> None:
    make, host, words = TABLE[case]
    chain = make(authorities)
    options = TlsOptions(verify=str(ca))
    over_tcp = anyio.run(problem_over_tcp, options, write_identity(tmp_path, *chain), host)
    verifier = chain_verifier(options)
    assert verifier is not None
    over_quic = verifier.problem([each.certificate for each in chain], host)
    if words is None:
        assert (over_tcp, over_quic) == (None, None)
    else:
        assert over_tcp is not None
        assert over_quic is not None
        assert words in over_tcp
        assert words in over_quic


async def problem_over_tcp(options: TlsOptions, identity: Identity, host: str) -> str | None:
    """What OpenSSL finds wrong in a handshake in memory."""
    client_end, server_end = memory_pair()
    client = TlsStream(client_end, await tls_setup(options, ()), host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # it serves the weak ones, too
    context.load_cert_chain(identity.cert, identity.key)
    server = TlsStream(server_end, ServerSide(context, ()), "")

    async def serve() -> None:
        try:
            await server.handshake()
        except TransportError:
            server_end.close()

    problem: str | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        try:
            await client.handshake()
        except CertificateError as error:
            problem = str(error)
            client_end.close()
    client.close()
    server.close()
    return problem


def test_names_that_cannot_be_read_are_refused(authorities: Authorities, ca: Path) -> None:
    verifier = chain_verifier(TlsOptions(verify=str(ca)))
    assert verifier is not None
    x400_address = x509.UnrecognizedExtension(
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3002a300")
    )
    certificate = _issue(authorities.root, names=(), extension=x400_address).certificate
    problem = verifier.problem([certificate], HOST)
    assert problem is not None
    assert "cannot be read" in problem


def test_the_security_level_is_that_of_tcp(ca: Path) -> None:
    for level, bits in enumerate((0, 80, 112, 128, 192, 256)):
        ciphers = f"DEFAULT:@SECLEVEL={level}"
        verifier = chain_verifier(TlsOptions(verify=str(ca), ciphers=ciphers))
        assert verifier is not None
        assert verifier.level_bits == bits


@pytest.mark.parametrize("mode", [ssl.CERT_NONE, ssl.CERT_REQUIRED])
def test_a_users_context_says_whether_and_what_to_verify(
    authorities: Authorities, ca: Path, mode: ssl.VerifyMode
) -> None:
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.verify_mode = mode
    verifier = chain_verifier(TlsOptions(verify=context))
    if mode is ssl.CERT_NONE:
        assert verifier is None
    else:
        assert verifier is not None
        chain = [_issue(authorities.root).certificate]
        assert verifier.problem(chain, "elsewhere.example") is None
        assert verifier.problem([unknown_authority(authorities)[0].certificate], HOST)


def test_no_verification_and_files_that_change(authorities: Authorities, tmp_path: Path) -> None:
    assert chain_verifier(TlsOptions(verify=False)) is None
    assert is_at_hand(TlsOptions(verify=False))
    assert not is_at_hand(TlsOptions(verify=ssl.create_default_context()))
    path = tmp_path / "ca.pem"
    path.write_bytes(authorities.root.pem)
    options = TlsOptions(verify=str(path))
    assert not is_at_hand(options)
    first, again = chain_verifier(options), chain_verifier(options)
    path.write_bytes(Authorities().root.pem + b"\n")
    assert not is_at_hand(options)
    changed = chain_verifier(options)
    assert first is not None
    assert again is not None
    assert changed is not None
    assert again.store is first.store
    assert is_at_hand(options)
    assert changed.store is not first.store
    assert changed.problem([_issue(authorities.root).certificate], HOST)
