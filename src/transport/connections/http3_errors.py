"""Why an HTTP/3 connection ended, as errors: while it was being made, and afterwards."""

from __future__ import annotations

from ..errors import (
    CertificateError,
    ClientClosed,
    ConnectError,
    ConnectionLost,
    Phase,
    ProtocolUnavailable,
    RemoteProtocolError,
    TlsError,
    TransportError,
)
from ..net.datagram import Address
from ..net.reasons import address_text
from ..protocols.http3_close import CloseCause, CloseKind


def handshake_error(cause: CloseCause, host: str, address: Address) -> TransportError:
    """The error of a connection that could not be made."""
    match cause.kind:
        case CloseKind.CERTIFICATE:
            return CertificateError(f"the certificate of {host} was refused: {cause.reason}")
        case CloseKind.TLS:
            return TlsError(f"TLS handshake with {host} over QUIC failed: {cause.reason}")
        case CloseKind.UNAVAILABLE:
            return ProtocolUnavailable(f"{host} cannot be spoken to by HTTP/3: {cause.reason}")
        case CloseKind.VIOLATION:
            return RemoteProtocolError(f"{host}: {cause.reason}", phase=Phase.CONNECT)
    reason = "no answer to QUIC" if cause.kind is CloseKind.IDLE else cause.reason
    error = ConnectError(f"cannot connect to {address_text(address)} by QUIC: {reason}")
    error.refused = cause.kind is CloseKind.REFUSED
    return error


def connection_error(cause: CloseCause, address: Address) -> TransportError:
    """The error of requests on an established connection."""
    text = f"connection to {address_text(address)}: {cause.reason}"
    if cause.kind is CloseKind.LOCAL:
        return ClientClosed("the client was closed")
    if cause.kind is CloseKind.VIOLATION:
        return RemoteProtocolError(text)
    error = ConnectionLost(text)
    error.cut_off = cause.cut_off
    return error
