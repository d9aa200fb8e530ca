"""Verifies a server's certificate chain away from OpenSSL's TLS, with the outcome it would have.

QUIC's handshake is aioquic's, and Python's `ssl` verifies only in handshakes of its own. Chains are
built and checked by OpenSSL here, too (through public names of pyOpenSSL), with the flags of the
context that TCP would have used. What libssl adds to that is added here: the name (RFC 9525), the
purpose of each certificate, and the strength that its security level demands.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import service_identity.cryptography as identity
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto
from service_identity import CertificateError, VerificationError

from ..config import TlsOptions
from ..errors import UsageError
from ..hosts import is_ip_literal
from .tls_context import choose_ciphers, file_stamp, fresh_context
from .tls_errors import problem_text

#: Bits of security by OpenSSL's security level (SSL_CTX_set_security_level).
_LEVEL_BITS = (0, 80, 112, 128, 192, 256)
#: Bits of security by the size of an RSA or DSA modulus (NIST SP 800-57, as OpenSSL has it).
_RSA_BITS = ((15360, 256), (7680, 192), (3072, 128), (2048, 112), (1024, 80))
#: Hashes weaker than half their length: OpenSSL's figures.
_BROKEN_HASH_BITS = {"md5": 39, "sha1": 63}
#: Ed25519, the weaker of the two curves that sign without a hash of their own.
_EDWARDS_BITS = 128
_KEPT_STORES = 4

# X509_V_ERR_* of OpenSSL's x509_vfy.h, and what its own checks say.
_OK, _WRONG_PURPOSE, _WRONG_HOST, _WRONG_ADDRESS = 0, 26, 62, 64
_WEAK_KEY, _WEAK_CA_KEY, _WEAK_SIGNATURE = 66, 67, 68
_WORDS = {
    _WRONG_PURPOSE: "unsuitable certificate purpose",
    _WRONG_HOST: "hostname mismatch",
    _WRONG_ADDRESS: "IP address mismatch",
    _WEAK_KEY: "EE certificate key too weak",
    _WEAK_CA_KEY: "CA certificate key too weak",
    _WEAK_SIGNATURE: "CA signature digest algorithm too weak",
}

_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

T = TypeVar("T", bound=x509.ExtensionType)

_stores: dict[object, crypto.X509Store] = {}


@dataclass(frozen=True, slots=True)
class ChainVerifier:
    """Says what is wrong with a chain; built by `chain_verifier`."""

    store: crypto.X509Store
    check_hostname: bool
    level_bits: int
    """Bits of security that keys and signatures must have."""

    def problem(self, chain: Sequence[x509.Certificate], host: str) -> str | None:
        """What is wrong with a server's chain, in words; None when nothing is.

        Args:
            chain: the server's own certificate, then those it sent along.
            host: whom the certificate must be valid for, a name or an IP address.
        """
        try:
            path = self._path(chain)
            code = self._code(path, host)
        except crypto.X509StoreContextError as exc:
            return problem_text(int(exc.errors[0]), str(exc))
        except _UNREADABLE as exc:
            # Extensions and keys are parsed when they are looked at.
            return f"it cannot be read ({exc})"
        return problem_text(code, _WORDS[code]) if code else None

    def _path(self, chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
        """The chain from the server to whom we trust."""
        leaf, *others = (crypto.X509.from_cryptography(certificate) for certificate in chain)
        context = crypto.X509StoreContext(self.store, leaf, others)
        return [found.to_cryptography() for found in context.get_verified_chain()]

    def _code(self, path: list[x509.Certificate], host: str) -> int:
        code = self._strength_code(path) or _purpose_code(path)
        return code or (_name_code(path[0], host) if self.check_hostname else _OK)

    def _strength_code(self, path: list[x509.Certificate]) -> int:
        if _key_bits(path[0]) < self.level_bits:
            return _WEAK_KEY
        if any(_key_bits(certificate) < self.level_bits for certificate in path[1:]):
            return _WEAK_CA_KEY
        # The last one is trusted for itself, not for its signature.
        if any(_signature_bits(certificate) < self.level_bits for certificate in path[:-1]):
            return _WEAK_SIGNATURE
        return _OK


def chain_verifier(options: TlsOptions) -> ChainVerifier | None:
    """Build what `options` ask for; None when nothing is to be verified. Reads files.

    Raises:
        UsageError: a file cannot be used, or a user's context does not show whom it trusts.
    """
    verify = options.verify
    if verify is False:
        return None
    if isinstance(verify, ssl.SSLContext):
        context, flags = verify, verify.verify_flags
        if context.verify_mode is ssl.CERT_NONE:
            return None
        store = _context_store(context)
        check_hostname, level = context.check_hostname, context.security_level
    else:
        check_hostname, level = True, _security_level(options.ciphers)
        flags, store = _default_flags(), _kept_store(verify)
    store.set_flags(int(flags))
    return ChainVerifier(store, check_hostname, _LEVEL_BITS[level])


def is_at_hand(options: TlsOptions) -> bool:
    """Whether `chain_verifier` would read no file, and be done at once.

    Raises:
        UsageError: a file is missing.
    """
    verify = options.verify
    return verify is False or (
        not isinstance(verify, ssl.SSLContext) and _store_key(verify) in _stores
    )


# --- whom to trust --------------------------------------------------------------------------------


@cache
def _default_flags() -> ssl.VerifyFlags:
    """Those a context of ours begins with; it takes 0.3 ms to make one."""
    return fresh_context().verify_flags


@cache
def _security_level(ciphers: str | None) -> int:
    """What a context has that was told of these ciphers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    choose_ciphers(context, ciphers)
    return context.security_level


def _context_store(context: ssl.SSLContext) -> crypto.X509Store:
    try:
        authorities = context.get_ca_certs(binary_form=True)
    except NotImplementedError:  # truststore's
        authorities = []
    if not authorities:
        # A folder of certificates is only looked at when one is needed, and cannot be listed.
        raise UsageError(
            "the given SSLContext does not list its CA certificates, so HTTP/3 cannot use them: "
            "load them from a file, or give verify=True or a path"
        )
    store = crypto.X509Store()
    for authority in authorities:
        store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, authority))
    return store


def _kept_store(verify: bool | str) -> crypto.X509Store:
    """A store is read in 10 ms; one that is kept is read again when its files have changed."""
    key = _store_key(verify)
    store = _stores.get(key)
    if store is None:
        store = crypto.X509Store()
        cafile, capath = _locations(verify)
        if cafile is not None or capath is not None:
            # Without a system's store nobody is trusted.
            store.load_locations(cafile, capath)
        while len(_stores) >= _KEPT_STORES:
            _stores.pop(next(iter(_stores)), None)
        _stores[key] = store
    return store


def _store_key(verify: bool | str) -> tuple[object, ...]:
    cafile, capath = _locations(verify)
    return (cafile, capath, *(file_stamp(path) for path in (cafile, capath) if path is not None))


def _locations(verify: bool | str) -> tuple[str | None, str | None]:
    if not isinstance(verify, str):
        paths = ssl.get_default_verify_paths()
        return paths.cafile, paths.capath
    return (None, verify) if Path(verify).is_dir() else (verify, None)


# --- what libssl demands of a chain ---------------------------------------------------------------


def _purpose_code(path: list[x509.Certificate]) -> int:
    """Whether all may vouch for a TLS server; OpenSSL's X509_PURPOSE_SSL_SERVER."""
    fit = all(map(_allows_server_auth, path)) and _may_sign_or_encrypt(path[0])
    return _OK if fit else _WRONG_PURPOSE


def _allows_server_auth(certificate: x509.Certificate) -> bool:
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    return usage is None or ExtendedKeyUsageOID.SERVER_AUTH in usage


def _may_sign_or_encrypt(certificate: x509.Certificate) -> bool:
    usage = _extension(certificate, x509.KeyUsage)
    return usage is None or (
        usage.digital_signature or usage.key_encipherment or usage.key_agreement
    )


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name_code(certificate: x509.Certificate, host: str) -> int:
    """Whether a certificate is for a host; its subject's common name does not count (RFC 9525)."""
    name = host.removesuffix(".")
    is_address = is_ip_literal(name)
    try:
        if is_address:
            identity.verify_certificate_ip_address(certificate, name)
        else:
            identity.verify_certificate_hostname(certificate, name)
    except (CertificateError, VerificationError):
        return _WRONG_ADDRESS if is_address else _WRONG_HOST
    return _OK


def _key_bits(certificate: x509.Certificate) -> int:
    key = certificate.public_key()
    if isinstance(key, (RSAPublicKey, DSAPublicKey)):
        return next((bits for size, bits in _RSA_BITS if key.key_size >= size), 0)
    if isinstance(key, EllipticCurvePublicKey):
        return key.key_size // 2
    return _EDWARDS_BITS


def _signature_bits(certificate: x509.Certificate) -> int:
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return _EDWARDS_BITS
    return _BROKEN_HASH_BITS.get(algorithm.name, algorithm.digest_size * 4)
