"""What OpenSSL's complaints mean, as errors of ours."""

from __future__ import annotations

import re
import ssl

from ..errors import CertificateError, ProtocolUnavailable, TlsError, TransportError

# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_CERTIFICATE_PROBLEMS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed and not trusted",
    19: "its chain ends in a certificate authority that is not trusted",
    20: "it was issued by an unknown certificate authority",
    21: "it was issued by an unknown certificate authority",
    23: "it has been revoked",
    26: "it is not meant for servers",
    47: "its names are not those its issuer may vouch for",
    48: "its names are not those its issuer may vouch for",
    62: "it is for another host",
    64: "it is for another IP address",
    66: "its key is too weak",
    67: "a key of its chain is too weak",
    68: "a signature of its chain is too weak",
    79: "it was issued by one that is no certificate authority",
}
# By OpenSSL's own words, see `_words`.
_HANDSHAKE_REASONS = {
    "unsupported protocol": "the peer offers no TLS version that is allowed here",
    "no ciphers available": "no cipher suite is allowed here",
    "tlsv1 alert protocol version": "the peer allows none of our TLS versions",
    "sslv3 alert handshake failure": "the peer found no common cipher, or wants a certificate",
    "tlsv1 unrecognized name": "the peer does not know this host name",
}
# In TLS 1.3 a server judges the client's certificate after the client's handshake is over.
_REASONS = {
    "tlsv13 alert certificate required": "the peer wants a client certificate",
    "sslv3 alert bad certificate": "the peer refused our client certificate",
    "tlsv1 alert unknown ca": "the peer does not trust our client certificate",
}
# What OpenSSL says of bytes that are no TLS record.
_NOT_TLS = frozenset(
    {"wrong version number", "http request", "packet length too long", "record layer failure"}
)
_NO_COMMON_ALPN = "tlsv1 alert no application protocol"  # RFC 7301 §3.2
_DECORATION = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")


def handshake_error(
    exc: ssl.SSLError, host: str, alpn: tuple[str, ...], opening: bytes
) -> TransportError:
    """The error for a failed handshake; the caller raises it from `exc`.

    Args:
        exc: what OpenSSL raised.
        host: whom we wanted to talk to.
        alpn: what we offered.
        opening: the first bytes of the peer.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        problem = problem_text(exc.verify_code, exc.verify_message)
        return CertificateError(f"the certificate of {host} was refused: {problem}")
    if opening.startswith(b"HTTP/"):
        return TlsError(f"{host} speaks plain HTTP on this port, not TLS: use http://")
    if _words(exc) in _NOT_TLS:
        return TlsError(f"{host} does not speak TLS on this port")
    if _words(exc) == _NO_COMMON_ALPN:
        return ProtocolUnavailable(f"{host} speaks none of {', '.join(alpn)} (ALPN)")
    if isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return closed_in_handshake(host)
    reason = _HANDSHAKE_REASONS.get(_words(exc)) or tls_reason(exc)
    return TlsError(f"TLS handshake with {host} failed: {reason}")


def problem_text(code: int, words: str) -> str:
    """What is wrong with a certificate, by OpenSSL's number and its own words."""
    problem = _CERTIFICATE_PROBLEMS.get(code, "it did not pass verification")
    return f"{problem} ({words.rstrip('.')})"


def closed_in_handshake(host: str) -> TlsError:
    """The error for a peer that hangs up in the middle of the handshake."""
    return TlsError(f"{host} closed the connection during the TLS handshake")


def tls_reason(exc: ssl.SSLError) -> str:
    """Why OpenSSL gave up, in words."""
    words = _words(exc)
    return _REASONS.get(words, words)


def _words(exc: ssl.SSLError) -> str:
    # Python knows names for most reasons only; the rest has OpenSSL's text, decorated.
    if exc.reason:
        return str(exc.reason).replace("_", " ").lower()
    return _DECORATION.sub("", exc.strerror or str(exc)).lower()
