"""When an HTTP/3 connection looks for larger datagrams (`path_mtu.py`), and the packet for it."""

from __future__ import annotations

from collections.abc import Iterable

from aioquic.quic.connection import QuicConnection

from . import aioquic_private as private
from . import aioquic_trains as trains
from .http3_stream import RequestStream
from .machine import Address
from .path_mtu import PathMtu

#: What makes it worth finding out what datagrams the path takes: a body of this length on its way,
#: or as much sent already, in requests that are likely to be followed by more.
_WORTH_PROBING_BYTES = 64 * 1024


def wants_probe(quic: QuicConnection, path: PathMtu, streams: Iterable[RequestStream]) -> bool:
    """Whether there is a size that was not probed, and enough to win by it."""
    return path.searching and _is_worthwhile(quic, streams)


def path_probe(
    quic: QuicConnection, path: PathMtu, streams: Iterable[RequestStream], now_s: float
) -> list[tuple[bytes, Address]]:
    """A probe for larger datagrams, when there is one to send and enough to win by it."""
    if not (trains.may_probe(quic) and _is_worthwhile(quic, streams)):
        return []
    size = path.next_probe(now_s)
    if size is None:
        return []
    datagram = trains.probe_datagram(quic, path, size, now_s)
    return [(datagram, trains.destination(quic)[0])]


def _is_worthwhile(quic: QuicConnection, streams: Iterable[RequestStream]) -> bool:
    if private.sent_bytes(quic) >= _WORTH_PROBING_BYTES:
        return True
    lengths = (stream.body_length for stream in streams)
    return any(length is None or length >= _WORTH_PROBING_BYTES for length in lengths)
