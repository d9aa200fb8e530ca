"""TLS over any byte stream, sans-IO: an `ssl.SSLObject` between two memory buffers.

Only `send` and the handshake wait for the network to take bytes. What falls due while receiving
(alerts, refused renegotiations; answers to KeyUpdate, which OpenSSL 3.0 writes with the next data
anyway) goes out at once if the network takes it, otherwise with the next `send`: RFC 8446 §4.6.3
asks no more, and a receiver that waits to write can deadlock with its peer.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress

from ..buffers import Buffer
from ..errors import CertificateError, ConnectionLost, Phase, TlsError
from ..facts import TlsFacts
from ..pins import pin_problem
from ..profile.kernel import TcpInfo
from ..sessions import SessionSlot
from .reasons import lost
from .stream import LayerableStream, WireCounters
from .tls_context import TlsSetup
from .tls_errors import handshake_error, tls_reason
from .tls_sessions import SessionKeeper

#: Plaintext encrypted and sent in one go. Measured on loopback: 64 KiB 1.1-1.4 GB/s, 256 KiB
#: 1.0-1.2, 1 MiB 1.0; 16 KiB, one record per system call, 0.8.
_STEP_BYTES = 64 * 1024
#: Housekeeping that the peer makes us owe it without reading it; an honest one causes 27 bytes.
_LONGEST_DEBT_BYTES = 64 * 1024
#: Reads of one liveness check, or before closing; what a server sends unasked (tickets) fits into
#: one.
_IDLE_READS = 4


class TlsStream:
    """A TLS client connection; implements `LayerableStream`, so that TLS goes through TLS too."""

    def __init__(
        self,
        inner: LayerableStream,
        setup: TlsSetup,
        host: str,
        sessions: SessionSlot | None = None,
    ) -> None:
        """Prepare TLS for `host` over a stream that this object owns from now on.

        `sessions` has a session to resume, and takes those that the peer offers.
        """
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = setup.wrap(self._incoming, self._outgoing, host)
        self._sessions = None if sessions is None else SessionKeeper(self._ssl, sessions)
        self._setup = setup
        self._host = host
        self._unsent: Buffer = b""  # taken out of the outgoing buffer, not by the network yet
        self._flushing = False
        self._closed = False
        self.broken = False
        """A send failed or was cancelled: nothing more can be sent."""
        self.truncated = False
        self.tls: TlsFacts | None = None
        self.wire: WireCounters = inner.wire
        self.stamps = inner.stamps
        self.peer = inner.peer
        self.local = inner.local
        self.write_started_ns = 0
        self.write_ended_ns = 0
        self.read_ns = 0
        self.accepted_bytes = 0

    async def handshake(self, on_start: Callable[[], None] = lambda: None) -> None:
        """Shake hands and learn `tls`; on any error the caller closes the stream.

        Args:
            on_start: called just before the first byte is given to the stream below; making the
                ClientHello takes its time, too, and is no part of what crosses the network.

        Raises:
            CertificateError: the peer's certificate was refused, or its key is not the pinned one.
            TlsError: the handshake failed otherwise.
            ProtocolUnavailable: the peer speaks none of the ALPN protocols.
        """
        opening = b""
        try:
            while not self._step_handshake():
                if not opening:
                    on_start()
                await self._flush()
                data = await self._inner.receive()
                opening = opening or data[:16]
                self._feed(data)
            await self._flush()
        except ssl.SSLError as exc:
            self._flush_nowait()
            raise handshake_error(exc, self._host, self._setup.alpn, opening) from exc
        except ConnectionLost as exc:
            if self._closed:
                raise
            raise TlsError(f"TLS handshake with {self._host} failed: {exc}") from exc
        self.tls = facts = self._facts()
        problem = pin_problem(self._setup.pins, self._host, facts.peer_certificate_der)
        if problem is not None:
            self.tls = None
            raise CertificateError(f"the certificate of {self._host} was refused: {problem}")

    async def send(self, data: Buffer) -> None:
        """Encrypt and give everything to the operating system; see `ByteStream.send`."""
        self._check_sendable()
        rest = memoryview(data).cast("B")
        before_ns = self._inner.write_started_ns
        first = True
        while rest:
            count = self._encrypt(rest[:_STEP_BYTES])
            try:
                await self._flush()
            finally:
                # Cut short, the first bytes may have left or not: the moment below tells.
                if first and (not self.broken or self._inner.write_started_ns != before_ns):
                    self.write_started_ns = self._inner.write_started_ns
                    self.write_ended_ns = self._inner.write_ended_ns
            first = False
            self.write_ended_ns = self._inner.write_ended_ns
            self.accepted_bytes += count
            rest = rest[count:]

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return at least one byte of plaintext, or `b""` at end; see `ByteStream.receive`."""
        self._check_open()
        while (data := self._decrypt(max_bytes)) is None:
            self._feed(await self._inner.receive())
            self._check_open()
        return data

    def send_nowait(self, data: Buffer) -> int:
        """Encrypt it all; what the network does not take now leaves with the next write."""
        self._check_sendable()
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self._encrypt(rest) :]
        self._flush_nowait()
        return memoryview(data).nbytes

    def receive_nowait(self, max_bytes: int = 65536) -> bytes | None:
        """Return what is there, None if nothing; see `LayerableStream.receive_nowait`."""
        self._check_open()
        while (data := self._decrypt(max_bytes)) is None:
            encrypted = self._inner.receive_nowait()
            if encrypted is None:
                return None
            self._feed(encrypted)
        return data

    def close(self) -> None:
        """Close at once, with a close_notify if the network takes it; see `ByteStream.close`.

        What has arrived is thrown away first: a kernel answers closing over unread bytes, such as
        session tickets, with a RST, which may overtake our last bytes at the peer (RFC 1122
        §4.2.2.13).
        """
        if self._closed:
            return
        self._closed = True
        if self._sessions is not None and self.tls is not None:
            self._sessions.keep()
        if not self._flushing and not self.broken:
            with suppress(ssl.SSLError):  # it wants the peer's too: not waited for (RFC 8446 §6.1)
                self._ssl.unwrap()
            self._flush_nowait()
            self._discard_arrived()
        self._inner.close()

    def is_idle_and_alive(self) -> bool:
        """Whether the peer has neither closed nor sent data; takes in tickets that have come."""
        if self._closed or self.broken:
            return False
        try:
            for _ in range(_IDLE_READS):
                if self._decrypt(1) is not None:
                    return False
                encrypted = self._inner.receive_nowait()
                if encrypted is None:
                    return not self.broken
                self._feed(encrypted)
        except ConnectionLost:
            return False
        return False

    def unacked_bytes(self) -> int | None:
        """Wire bytes the peer's transport has not acknowledged; what is not sent yet included."""
        unacked = self._inner.unacked_bytes()
        return None if unacked is None else unacked + len(self._unsent) + self._outgoing.pending

    def tcp_info(self) -> TcpInfo | None:
        """The kernel's view of the connection below."""
        return self._inner.tcp_info()

    # --- between plaintext and the buffers ----------------------------------------------------

    def _step_handshake(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _encrypt(self, plaintext: memoryview) -> int:
        try:
            return self._ssl.write(plaintext)
        except ssl.SSLWantReadError as exc:
            # Only a user's context without OP_NO_RENEGOTIATION gets here.
            self.broken = True
            raise self._lost("the peer asks to renegotiate TLS 1.2", Phase.SEND) from exc
        except ssl.SSLError as exc:
            self.broken = True
            raise self._lost(tls_reason(exc), Phase.SEND) from exc

    def _decrypt(self, max_bytes: int) -> bytes | None:
        """Plaintext of what has arrived; `b""` at the end, None when more must arrive."""
        if self.truncated:
            return b""
        try:
            data: bytes | None = self._ssl.read(max_bytes)
        except ssl.SSLWantReadError:
            data = None
        except ssl.SSLError as exc:
            self._flush_nowait()  # our alert
            self.broken = True
            raise self._lost(tls_reason(exc)) from exc
        else:
            self.read_ns = self._inner.read_ns
            if self._sessions is not None:
                self._sessions.saw_data()
        if self._outgoing.pending:
            self._flush_nowait()
            self._check_debt()
        return data

    def _discard_arrived(self) -> None:
        with suppress(ConnectionLost):
            for _ in range(_IDLE_READS):
                if not self._inner.receive_nowait():
                    return

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            # All that came before has been decrypted, and no close_notify was in it. OpenSSL is not
            # asked: Debian's CPython 3.11.2 has it take such an end for an orderly one.
            self._incoming.write_eof()
            self.truncated = True

    # --- between the buffers and the network --------------------------------------------------

    async def _flush(self) -> None:
        """Send all that is encrypted. Nobody else takes from the buffer meanwhile."""
        self._flushing = True
        done = False
        try:
            while data := self._unsent or self._outgoing.read():
                self._unsent = b""
                await self._inner.send(data)
            done = True
        finally:
            self._flushing = False
            self.broken = self.broken or not done

    def _flush_nowait(self) -> None:
        """Send what the network takes at once. Failing, the stream can only be read from."""
        if self._flushing or self.broken:
            return  # a flush in progress goes on until the buffer is empty
        try:
            while data := self._unsent or self._outgoing.read():
                self._unsent = memoryview(data)[self._inner.send_nowait(data) :]
                if self._unsent:
                    return
        except ConnectionLost:
            self.broken = True

    def _check_debt(self) -> None:
        if self._outgoing.pending > _LONGEST_DEBT_BYTES:
            self.broken = True
            raise self._lost("the peer demands TLS answers faster than it reads them")

    # --- small things -------------------------------------------------------------------------

    def _facts(self) -> TlsFacts:
        cipher = self._ssl.cipher()
        return TlsFacts(
            version=self._ssl.version() or "unknown",
            cipher="unknown" if cipher is None else cipher[0],
            alpn=self._ssl.selected_alpn_protocol(),
            session_resumed=bool(self._ssl.session_reused),
            peer_certificate_der=self._ssl.getpeercert(binary_form=True),
        )

    def _check_open(self) -> None:
        if self._closed:
            raise self._lost("it was closed on this side")

    def _check_sendable(self) -> None:
        self._check_open()
        if self.broken:
            raise self._lost("an earlier write did not complete", Phase.SEND)

    def _lost(self, reason: str, phase: Phase | None = None) -> ConnectionLost:
        return lost(reason, self.peer, phase=phase)


async def start_tls(
    inner: LayerableStream,
    setup: TlsSetup,
    host: str,
    on_start: Callable[[], None] = lambda: None,
    sessions: SessionSlot | None = None,
) -> TlsStream:
    """Lay TLS over a stream and shake hands; failed or cancelled, the stream below is closed.

    `on_start` is called just before the first byte of the handshake leaves.

    Raises:
        CertificateError: the peer's certificate was refused.
        TlsError: the handshake failed otherwise, or `host` cannot be asked for.
        ProtocolUnavailable: the peer speaks none of the ALPN protocols.
        UsageError: the user's context is a server's.
    """
    try:
        stream = TlsStream(inner, setup, host, sessions)
        await stream.handshake(on_start)
    except BaseException:
        inner.close()
        raise
    return stream
