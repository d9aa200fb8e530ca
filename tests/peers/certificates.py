"""Throw-away certificates: a trusted one, and one for each way a certificate is refused."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain and its private key, as PEM files."""

    cert: Path
    key: Path

    def server_context(self, *alpn: str) -> ssl.SSLContext:
        """Context for a TLS server with this identity."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


@dataclass(frozen=True, slots=True)
class Certificates:
    """A certificate authority and what it issued."""

    ca: Path
    """The authority clients are told to trust."""
    server: Identity
    """Valid for localhost, 127.0.0.1, ::1 and every name in trilane.test."""
    expired: Identity
    wrong_host: Identity
    unknown_ca: Identity
    """Right names, but issued by an authority nobody trusts."""
    client: Identity

    def client_context(self) -> ssl.SSLContext:
        """Context for a TLS client that trusts the authority and nothing else."""
        return ssl.create_default_context(cafile=str(self.ca))


def make_certificates(folder: Path) -> Certificates:
    """Create every certificate the tests need, in a folder of their own."""
    authority = trustme.CA()
    ca_path = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca_path)
    now = dt.datetime.now(dt.UTC)
    expired = authority.issue_cert(
        *LOOPBACK_NAMES,
        not_before=now - dt.timedelta(days=2),
        not_after=now - dt.timedelta(days=1),
    )
    issued = {
        "server": authority.issue_cert(*LOOPBACK_NAMES, "*.trilane.test"),
        "expired": expired,
        "wrong-host": authority.issue_cert("elsewhere.example"),
        "unknown-ca": trustme.CA().issue_cert(*LOOPBACK_NAMES),
        "client": authority.issue_cert("client@example.org"),
    }
    files = {name: _write(leaf, folder, name) for name, leaf in issued.items()}
    return Certificates(
        ca=ca_path,
        server=files["server"],
        expired=files["expired"],
        wrong_host=files["wrong-host"],
        unknown_ca=files["unknown-ca"],
        client=files["client"],
    )


def _write(leaf: trustme.LeafCert, folder: Path, name: str) -> Identity:
    identity = Identity(folder / f"{name}.pem", folder / f"{name}.key")
    leaf.private_key_pem.write_to_path(identity.key)
    for index, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(identity.cert, append=index > 0)
    return identity
