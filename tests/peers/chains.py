"""Certificate chains with one thing wrong each, made to order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.peers.certificates import Identity

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
ROOT = "root"
# The identifiers 1.2.840.113549.1.1.11 and .5 (RFC 8017).
_SHA256_RSA, _SHA1_RSA = (bytes.fromhex(f"06092a864886f70d0101{last}") for last in ("0b", "05"))
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A certificate to be made; as it stands, an impeccable one for localhost."""

    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    common_name: str = "a server"
    not_before_days: int = -1
    not_after_days: int = 30
    is_ca: bool = False
    usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,)
    digital_signature: bool = True
    permitted: str | None = None
    """The domain in which alone it may vouch for names."""
    rsa_bits: int | None = None
    extension: x509.UnrecognizedExtension | None = None
    """One that no library would make."""


@dataclass(slots=True)
class Issued:
    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


@dataclass(slots=True)
class Authorities:
    """A root that is trusted, and what it issued."""

    root: Issued = field(
        default_factory=lambda: issue(Spec(common_name="root", names=(), is_ca=True, usages=()))
    )

    def intermediate(self, spec: Spec) -> Issued:
        return issue(spec, self.root)


def issue(spec: Spec, issuer: Issued | None = None) -> Issued:
    """Make a certificate; signed by itself without an issuer."""
    key: Key = (
        rsa.generate_private_key(65537, spec.rsa_bits)
        if spec.rsa_bits
        else ec.generate_private_key(ec.SECP256R1())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, spec.common_name)])
    now = dt.datetime.now(dt.UTC)
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + spec.not_before_days * _DAY)
        .not_valid_after(now + spec.not_after_days * _DAY)
        .add_extension(x509.BasicConstraints(spec.is_ca, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(_key_usage(spec), critical=True)
    )
    if spec.names:
        names = x509.SubjectAlternativeName([_general_name(name) for name in spec.names])
        builder = builder.add_extension(names, critical=False)
    if spec.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(spec.usages), critical=False)
    if spec.permitted:
        constraint = x509.NameConstraints([x509.DNSName(spec.permitted)], None)
        builder = builder.add_extension(constraint, critical=True)
    if spec.extension:
        builder = builder.add_extension(spec.extension, critical=False)
    return Issued(builder.sign(signer, hashes.SHA256()), key)


def sign_with_sha1(issued: Issued, issuer: Issued) -> Issued:
    """Replace an RSA signature by one that libraries refuse to make in certificates."""
    assert isinstance(issuer.key, rsa.RSAPrivateKey)
    old = issued.certificate
    signed = old.tbs_certificate_bytes.replace(_SHA256_RSA, _SHA1_RSA)
    signature = issuer.key.sign(signed, padding.PKCS1v15(), hashes.SHA1())
    der = old.public_bytes(Encoding.DER).replace(_SHA256_RSA, _SHA1_RSA)
    der = der[: -len(signature)] + signature
    return Issued(x509.load_der_x509_certificate(der), issued.key)


def write_identity(folder: Path, leaf: Issued, *others: Issued) -> Identity:
    """Write a server's chain and key."""
    identity = Identity(folder / "chain.pem", folder / "chain.key")
    identity.cert.write_bytes(b"".join(each.pem for each in (leaf, *others)))
    identity.key.write_bytes(
        leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return identity


def _key_usage(spec: Spec) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=spec.digital_signature,
        content_commitment=not spec.digital_signature,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=spec.is_ca,
        crl_sign=spec.is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
