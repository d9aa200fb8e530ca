"""TLS over any byte stream, sans-IO: an `ssl.SSLObject` between two memory buffers.

Only `send` and the handshake wait for the network to take bytes. What falls due while receiving
(alerts, refused renegotiations; answers to KeyUpdate, which OpenSSL 3.0 writes with the next data
anyway) goes out at once if the network takes it, otherwise with the next `send`: RFC 8446 §4.6.3
asks no more, and a receiver that waits to write can deadlock with its peer.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress

from ..buffers import Buffer
from ..errors import CertificateError, ConnectionLost, Phase, TlsError
from ..facts import TlsFacts
from ..pins import pin_problem
from ..protocols.tls_handover import RecordFollower
from ..protocols.tls_keys import CIPHER_SUITES
from ..protocols.tls_records import UnreadableRecord
from ..sessions import SessionSlot
from .reasons import lost
from .stream import Fill, LayerableStream, Take, WireCounters
from .tls_bulk import BulkSealer
from .tls_context import TlsSetup
from .tls_errors import handshake_error, tls_reason
from .tls_secrets import client_random
from .tls_sessions import SessionKeeper

#: Plaintext encrypted and sent in one go. Measured on loopback: 64 KiB 1.1-1.4 GB/s, 256 KiB
#: 1.0-1.2, 1 MiB 1.0; 16 KiB, one record per system call, 0.8.
_STEP_BYTES = 64 * 1024
#: Plaintext handed out at a time.
_LONGEST_READ_BYTES = 64 * 1024
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
        self._follower: RecordFollower | None = None
        self._bulk: BulkSealer | None = None
        """What seals all that is sent, once `begin_bulk` has taken that over from OpenSSL."""
        self._may_answer = True
        """OpenSSL has read something since it was last given an occasion to answer."""
        self.prompt_bytes = _STEP_BYTES
        if inner.stamps is not None or isinstance(inner, TlsStream):
            self.prompt_bytes = 0
        self._prompt_rest = 0
        """Plaintext bytes that `send_whole` has not sent, or not to the end."""
        self._prompt_begun = False
        """Whether it has sent a part of them."""
        self._flushing = False
        self._drained = False
        """Nothing can be decrypted before more arrives; asking OpenSSL costs an exception."""
        self._failure: ConnectionLost | None = None
        """What came of decrypting after what was handed out last."""
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
        random = b""
        if self._setup.secrets is not None:
            self._setup.secrets.begin()
        try:
            while not self._step_handshake():
                if not random:
                    random = self._expect_secret()
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
        finally:
            secret = self._take_secret(random)
        self.tls = facts = self._facts()
        problem = pin_problem(self._setup.pins, self._host, facts.peer_certificate_der)
        if problem is not None:
            self.tls = None
            raise CertificateError(f"the certificate of {self._host} was refused: {problem}")
        suite = CIPHER_SUITES.get(facts.cipher)
        if suite is not None and secret is not None:
            self._follower = RecordFollower(suite, secret)

    def send(self, data: Buffer) -> Coroutine[object, object, None]:
        """Encrypt and give everything to the operating system; see `ByteStream.send`."""
        return self.send_each((data,))

    async def send_each(self, pieces: Iterable[Buffer]) -> None:
        """The same for several pieces; see `LayerableStream.send_each`."""
        self._check_sendable()
        first = True
        for piece in pieces:
            rest = memoryview(piece).cast("B")
            while rest:
                count = self._encrypt(rest)
                await self._deliver(count, first=first)
                first = False
                rest = rest[count:]

    def begin_bulk(self) -> bool:
        """Seal what is sent from now on without OpenSSL, if possible; see `BulkStream`.

        That is faster for long bodies, and stays so for whatever follows on the connection.
        """
        if self._follower is not None and not self.broken:
            translator = self._follower.hand_over()
            if translator is not None:
                self._bulk = BulkSealer(translator)
                self._follower = None
        return self._bulk is not None

    async def send_file(self, fd: int, offset: int, count: int) -> int:
        """Seal and send a range of a file, read where it is sealed from; see `BulkStream`.

        Raises:
            ConnectionLost: the connection broke.
            SourceError: the file cannot be read; nothing of what was not read was sent.
        """
        self._check_sendable()
        if self._bulk is None:
            raise RuntimeError("send_file needs begin_bulk")
        sent = 0
        while sent < count:
            sent += await self._send_cached(fd, offset + sent, count - sent, first=sent == 0)
            if sent == count:
                break
            taken = await self._bulk.read(fd, offset + sent, count - sent)
            if taken == 0:
                break
            self._seal(self._bulk, taken)
            await self._deliver(taken, first=sent == 0)
            sent += taken
        return sent

    async def send_filled(self, byte_count: int, fill: Fill) -> None:
        """Send plaintext that is written where it is sealed from; see `FilledStream`."""
        self._check_sendable()
        if self._bulk is None:
            raise RuntimeError("send_filled needs begin_bulk")
        fill(self._bulk.room)
        self._seal(self._bulk, byte_count)
        await self._deliver(byte_count, first=True)

    def send_whole(self, data: Buffer) -> bool:
        """Encrypt and send without waiting; see `PromptStream`."""
        self._check_sendable()
        rest = memoryview(data).cast("B")
        count = len(rest)
        if not (count and self.prompt_bytes):
            raise ValueError(f"{count} bytes cannot be sent promptly")
        if count <= _STEP_BYTES and self._bulk is None:
            self._write(rest)
        else:
            while rest := rest[self._encrypt(rest) :]:
                self._unsent = bytes(self._unsent)  # the room is used again
        return self._send_promptly(count)

    async def send_rest(self) -> None:
        """Send what the network did not take; see `PromptStream`."""
        self._check_sendable()
        count, self._prompt_rest = self._prompt_rest, 0
        await self._deliver(count, first=not self._prompt_begun)

    async def receive(self, max_bytes: int = _LONGEST_READ_BYTES) -> bytes:
        """Return at least one byte of plaintext, or `b""` at end; see `ByteStream.receive`."""
        self._check_open()
        while (data := self._decrypt_all(max_bytes)) is None:
            self._feed(await self._inner.receive())
            self._check_open()
        return data

    async def receive_until(self, until_s: float) -> bytes | None:
        """The same up to a time; see `ByteStream.receive_until`."""
        self._check_open()
        while (data := self._decrypt_all(_LONGEST_READ_BYTES)) is None:
            encrypted = await self._inner.receive_until(until_s)
            if encrypted is None:
                return None
            self._feed(encrypted)
            self._check_open()
        return data

    async def receive_each(self, take: Take) -> None:
        """Give all plaintext that arrives to `take`; see `ByteStream.receive_each`."""
        self._check_open()
        wants_more = True

        def take_encrypted(encrypted: bytes) -> bool:
            self._feed(encrypted)
            return take_decrypted()

        def take_decrypted() -> bool:
            nonlocal wants_more
            while wants_more and not self._drained:
                data = self._decrypt_all(_LONGEST_READ_BYTES)
                if data is not None:
                    wants_more = take(data) and bool(data)
            return wants_more

        if take_decrypted():
            await self._inner.receive_each(take_encrypted)
            if wants_more:
                self._check_open()

    def send_promptly(self, data: Buffer) -> int:
        """`send_nowait`: through several layers of TLS, nobody can tell what has left."""
        return self.send_nowait(data)

    def send_nowait(self, data: Buffer) -> int:
        """Encrypt it all; what the network does not take now leaves with the next write."""
        self._check_sendable()
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self._encrypt(rest) :]
            self._unsent = bytes(self._unsent)  # the room is used again
        self._flush_nowait()
        return memoryview(data).nbytes

    def receive_nowait(self, max_bytes: int = _LONGEST_READ_BYTES) -> bytes | None:
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
        if self._drained and self._inner.is_idle_and_alive():
            return True
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

    def tcp_info(self) -> bytes | None:
        """The kernel's view of the connection below."""
        return self._inner.tcp_info()

    # --- between plaintext and the buffers ----------------------------------------------------

    def _step_handshake(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            if self._setup.secrets is not None:
                self._setup.secrets.collect()
        return True

    def _expect_secret(self) -> bytes:
        """Have the secret kept of the connection whose ClientHello has been made; its random."""
        self._unsent = first_flight = self._outgoing.read()
        random = client_random(first_flight)
        if self._setup.secrets is not None:
            self._setup.secrets.expect(random)
        return random

    def _take_secret(self, random: bytes) -> bytes | None:
        return None if self._setup.secrets is None else self._setup.secrets.end(random)

    def _encrypt(self, plaintext: memoryview) -> int:
        """Encrypt a step's worth from the front of it; return how many bytes that was."""
        if self._bulk is None:
            return self._write(plaintext[:_STEP_BYTES])
        step = plaintext[: self._bulk.room.byte_count]
        self._bulk.room.put(0, step)
        self._seal(self._bulk, len(step))
        return len(step)

    def _write(self, plaintext: Buffer) -> int:
        try:
            return self._ssl.write(plaintext)
        except ssl.SSLWantReadError as exc:
            # Only a user's context without OP_NO_RENEGOTIATION gets here.
            self.broken = True
            raise self._lost("the peer asks to renegotiate TLS 1.2", Phase.SEND) from exc
        except ssl.SSLError as exc:
            self.broken = True
            raise self._lost(tls_reason(exc), Phase.SEND) from exc

    def _seal(self, bulk: BulkSealer, byte_count: int) -> None:
        """Seal the first bytes of the room, behind all that is to be sent before them."""
        if self._may_answer:
            self._may_answer = False
            self._write(b"")  # OpenSSL 3.0 answers a KeyUpdate no earlier than with a write
        before = (self._unsent, self._take_output())
        refreshed, sealed = bulk.seal(byte_count)
        self._unsent = (
            b"".join((*before, refreshed, sealed)) if refreshed or any(before) else sealed
        )

    def _is_other_due(self) -> bool:
        """Whether anything may have to be sent before what is sealed next."""
        return bool(self._may_answer or self._unsent or self._outgoing.pending)

    def _decrypt_all(self, max_bytes: int) -> bytes | None:
        """`_decrypt` of all records that are there: a peer that says much at once uses many."""
        if self._failure is not None:
            raise self._failure
        data = self._decrypt(max_bytes)
        if not data or self._drained:
            return data
        records, left = [data], max_bytes - len(data)
        try:
            while left and not self._drained and (data := self._decrypt(left)):
                records.append(data)
                left -= len(data)
        except ConnectionLost as error:
            self._failure = error
        return b"".join(records)

    def _decrypt(self, max_bytes: int) -> bytes | None:
        """Plaintext of one record; `b""` at the end, None when more must arrive."""
        if self.truncated:
            return b""
        if self._drained:
            return None
        self._may_answer = True
        data: bytes | None = None
        try:
            data = decrypted = self._ssl.read(max_bytes)
        except ssl.SSLWantReadError:
            self._drained = True
        except ssl.SSLError as exc:
            self._flush_nowait()  # our alert
            self.broken = True
            raise self._lost(tls_reason(exc)) from exc
        else:
            self.read_ns = self._inner.read_ns
            # At the end it is asked again, and says so again. What it could have given more of, was
            # all of a record.
            emptied = len(decrypted) < max_bytes or not self._ssl.pending()
            self._drained = bool(decrypted) and emptied and not self._incoming.pending
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
        self._drained = False
        if data:
            self._incoming.write(data)
        else:
            # All that came before has been decrypted, and no close_notify was in it. OpenSSL is not
            # asked: Debian's CPython 3.11.2 has it take such an end for an orderly one.
            self._incoming.write_eof()
            self.truncated = True

    # --- between the buffers and the network --------------------------------------------------

    async def _send_cached(self, fd: int, offset: int, count: int, *, first: bool) -> int:
        """Seal and send what can be read of a file without waiting; how much that was."""
        if self._bulk is None or self._is_other_due():
            return 0
        pieces = self._bulk.pieces(fd, offset, count, self._is_other_due)
        before_ns = self._inner.write_started_ns
        self._flushing, done = True, False
        try:
            await self._inner.send_each(pieces)
            done = True
        finally:
            self._flushing = False
            self.broken = self.broken or not done
            self.accepted_bytes += self._bulk.taken_bytes
            if self._inner.write_started_ns != before_ns:
                if first:
                    self.write_started_ns = self._inner.write_started_ns
                self.write_ended_ns = self._inner.write_ended_ns
        return self._bulk.taken_bytes

    async def _deliver(self, count: int, *, first: bool) -> None:
        """Send what was encrypted of the caller's bytes, the `first` ones of a call or others."""
        before_ns = self._inner.write_started_ns
        try:
            await self._flush()
        finally:
            # Cut short, the first bytes may have left or not: the moment below tells.
            if first and (not self.broken or self._inner.write_started_ns != before_ns):
                self.write_started_ns = self._inner.write_started_ns
                self.write_ended_ns = self._inner.write_ended_ns
        self.write_ended_ns = self._inner.write_ended_ns
        self.accepted_bytes += count

    def _send_promptly(self, count: int) -> bool:
        """Send what was encrypted of the caller's bytes; False when the network took a part."""
        inner, first = self._inner, True
        try:
            while data := self._unsent or (self._outgoing.pending and self._take_output()):
                taken = inner.send_promptly(data)
                if taken:
                    self.write_ended_ns = inner.write_ended_ns
                    if first:
                        self.write_started_ns, first = inner.write_started_ns, False
                if taken < len(data):
                    self._unsent = memoryview(data)[taken:]
                    self._prompt_rest, self._prompt_begun = count, not first
                    return False
                self._unsent = b""
        except ConnectionLost:
            self.broken = True
            raise
        self.accepted_bytes += count
        return True

    def _take_output(self) -> bytes:
        """What OpenSSL wants sent, as it is to be sent."""
        data = self._outgoing.read()
        if not data:
            return b""
        if self._bulk is None:
            if self._follower is not None:
                self._follower.follow(data)
            return data
        try:
            return self._bulk.translate(data)
        except UnreadableRecord as exc:
            self.broken = True
            raise self._lost("OpenSSL's records are not those that were expected") from exc

    async def _flush(self) -> None:
        """Send all that is encrypted. Nobody else takes from the buffer meanwhile."""
        self._flushing = True
        done = False
        try:
            while data := self._unsent or self._take_output():
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
            while data := self._unsent or self._take_output():
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
