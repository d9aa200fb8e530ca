"""Paths and aioquic: to begin anew on another one, as a client whose address has changed.

Part of `aioquic_private`: more private names of aioquic, with the same canary test. aioquic knows
a path by the server's address alone. It answers challenges and moves to the server's preferred
address by itself; that this host's own address may change is left to us.
"""

# ruff: noqa: SLF001  -- private names are what this module is for

from __future__ import annotations

from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicConnection, QuicNetworkPath
from aioquic.quic.packet import QuicTransportParameters, pull_quic_transport_parameters
from aioquic.tls import ExtensionType

from .machine import Address

#: RFC 9000 §8.2.4: three times the probe timeout of a path of which nothing is known, at least.
_VALIDATION_S = 3.0
#: The server's address was validated by the handshake, so what is sent to it need not be limited
#: (RFC 9000 §9.2); aioquic limits it by what came from there.
_NO_LIMIT_BYTES = 1 << 62


def peer_parameters(quic: QuicConnection) -> QuicTransportParameters:
    """The peer's transport parameters, some of which the library leaves unread."""
    for kind, data in quic.tls.received_extensions or ():
        if kind == ExtensionType.QUIC_TRANSPORT_PARAMETERS:
            return pull_quic_transport_parameters(Buffer(data=data))
    return QuicTransportParameters()


def peer_address(quic: QuicConnection) -> Address | None:
    """Where packets go now."""
    return quic._network_paths[0].addr if quic._network_paths else None


def preferred_address(quic: QuicConnection) -> Address | None:
    """The address the server would rather be spoken to at (RFC 9000 §9.6), if we could go there."""
    if quic._remote_preferred_address is None:
        return None
    address: Address | None = quic._find_preferred_address()
    return address


def refuse_preferred_address(quic: QuicConnection) -> None:
    """Stay with the address of the handshake; before that is confirmed."""
    quic._remote_preferred_address = None


def hindrance(quic: QuicConnection, *, preferred: bool) -> str | None:
    """What keeps the connection from going on from another address of this host; None for nothing.

    Args:
        quic: the connection.
        preferred: the server has been followed to its preferred address, where
            disable_active_migration does not hold (RFC 9000 §18.2).
    """
    if not quic._handshake_confirmed:
        return "the handshake was not confirmed yet"
    if peer_parameters(quic).disable_active_migration and not preferred:
        return "the server does not let connections move"
    if not quic._peer_cid_available:
        return "the server gave no connection id for another address"
    return None


def move(quic: QuicConnection, now_s: float) -> None:
    """Go on from another address of this host: with an id of its own, and validating the path."""
    patience_s = 3 * quic._loss.get_probe_timeout()
    for other in quic._network_paths[1:]:
        # It was being probed, or left behind, from where we no longer are.
        if other.peer_cid is not None:
            quic._retire_peer_cid(other.peer_cid)
    quic.change_connection_id()
    path = QuicNetworkPath(quic._network_paths[0].addr)
    path.bytes_received = _NO_LIMIT_BYTES
    path.validation_deadline = now_s + max(patience_s, _VALIDATION_S)
    quic._network_paths[:] = [path]
