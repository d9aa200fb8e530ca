"""Why an HTTP/3 connection ended, in words and in kinds that errors are made from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from aioquic.h3.connection import ErrorCode
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import AlertDescription

from .aioquic_private import QuicClose
from .http3_frames import H3_NO_ERROR


class CloseKind(Enum):
    """Who or what ended a connection."""

    #: This side closed it.
    LOCAL = "local"
    #: The peer closed it without complaint (H3_NO_ERROR, NO_ERROR).
    PEER = "peer"
    #: The peer closed it with an error code.
    PEER_ERROR = "peer error"
    #: The peer broke the rules of QUIC or HTTP/3.
    VIOLATION = "violation"
    #: The server takes no connections (CONNECTION_REFUSED, RFC 9000 §20.1).
    REFUSED = "refused"
    #: The server's certificate was not accepted.
    CERTIFICATE = "certificate"
    #: The TLS handshake failed otherwise, on either side.
    TLS = "tls"
    #: No common application protocol (RFC 9001 §8.1) or no common QUIC version (RFC 9000 §6).
    UNAVAILABLE = "unavailable"
    #: Silence for longer than the idle timeout (RFC 9000 §10.1).
    IDLE = "idle"
    #: The peer lost its state (stateless reset, RFC 9000 §10.3).
    FORGOTTEN = "forgotten"
    #: The path, or this host, says that nothing gets through to the server.
    UNREACHABLE = "unreachable"
    #: This host has another address now, from which the connection cannot go on.
    MOVED = "moved"
    #: aioquic failed; a bug there or here.
    INTERNAL = "internal"


_CUT_OFF = frozenset({CloseKind.IDLE, CloseKind.FORGOTTEN, CloseKind.UNREACHABLE, CloseKind.MOVED})


@dataclass(frozen=True, slots=True)
class CloseCause:
    """The end of a connection."""

    kind: CloseKind
    reason: str
    """One sentence without a final stop."""
    error_code: int | None = None
    by_peer: bool = False

    @property
    def cut_off(self) -> bool:
        """Neither side ended it: the network between them did, or the server has forgotten it."""
        return self.kind in _CUT_OFF

    @property
    def clean(self) -> bool:
        """Nothing was violated."""
        return self.kind in (CloseKind.LOCAL, CloseKind.PEER, CloseKind.IDLE)


FORGOTTEN = CloseCause(
    CloseKind.FORGOTTEN, "the server has lost the connection (stateless reset)", by_peer=True
)

_CERTIFICATE_ALERTS = frozenset(
    {
        AlertDescription.bad_certificate,
        AlertDescription.unsupported_certificate,
        AlertDescription.certificate_revoked,
        AlertDescription.certificate_expired,
        AlertDescription.certificate_unknown,
        AlertDescription.unknown_ca,
    }
)
#: Reasons that aioquic gives in words.
_REASONS = {
    "Idle timeout": CloseCause(CloseKind.IDLE, "nothing was heard for the idle timeout"),
    "Could not find a common protocol version": CloseCause(
        CloseKind.UNAVAILABLE, "the server speaks no QUIC version we know"
    ),
    "No validated network path": CloseCause(
        CloseKind.MOVED, "the server does not answer at this host's new address"
    ),
}


def explain(close: QuicClose) -> CloseCause:
    """Turn the library's account of a close into ours."""
    if close.by_peer:
        return _by_peer(close)
    if close.reason in _REASONS:
        return _REASONS[close.reason]
    alert = _alert(close)
    if alert is not None:
        return _local_alert(close, alert)
    if close.error_code == (H3_NO_ERROR if close.application else QuicErrorCode.NO_ERROR):
        return CloseCause(CloseKind.LOCAL, "this side closed the connection", close.error_code)
    return CloseCause(
        CloseKind.VIOLATION,
        f"the server broke the protocol: {_with_reason(_code_name(close), close.reason)}",
        close.error_code,
    )


def _by_peer(close: QuicClose) -> CloseCause:
    name = _with_reason(_code_name(close), close.reason)
    code, alert = close.error_code, _alert(close)
    if alert is AlertDescription.no_application_protocol:
        kind, reason = CloseKind.UNAVAILABLE, "the server does not offer h3"
    elif alert is not None:
        kind, reason = CloseKind.TLS, f"the server ended the TLS handshake: {name}"
    elif not close.application and code == QuicErrorCode.CONNECTION_REFUSED:
        kind, reason = CloseKind.REFUSED, "the server refused the connection"
    elif code == (H3_NO_ERROR if close.application else QuicErrorCode.NO_ERROR):
        kind, reason = CloseKind.PEER, "the server closed the connection"
    else:
        kind, reason = CloseKind.PEER_ERROR, f"the server closed the connection: {name}"
    return CloseCause(kind, reason, code, by_peer=True)


def _local_alert(close: QuicClose, alert: AlertDescription) -> CloseCause:
    if alert is AlertDescription.no_application_protocol:
        kind, reason = CloseKind.UNAVAILABLE, "the server did not agree to h3"
    elif alert in _CERTIFICATE_ALERTS:
        kind, reason = CloseKind.CERTIFICATE, close.reason or alert.name
    else:
        kind, reason = CloseKind.TLS, _with_reason(f"TLS alert {alert.name}", close.reason)
    return CloseCause(kind, reason, close.error_code)


def _alert(close: QuicClose) -> AlertDescription | None:
    """The TLS alert in a code of the range 0x0100-0x01ff (RFC 9001 §4.8)."""
    if close.application:
        return None
    try:
        return AlertDescription(close.error_code - QuicErrorCode.CRYPTO_ERROR)
    except ValueError:
        return None


def _code_name(close: QuicClose) -> str:
    alert = _alert(close)
    if alert is not None:
        return f"TLS alert {alert.name}"
    names = ErrorCode if close.application else QuicErrorCode
    try:
        return names(close.error_code).name
    except ValueError:
        return f"error {close.error_code:#x}"


def _with_reason(name: str, reason: str) -> str:
    return f"{name} ({reason})" if reason else name
