"""A name server in clear: over UDP, or over TCP when an answer does not fit (RFC 1035, 7766)."""

from __future__ import annotations

import secrets
import socket

import anyio
from anyio.lowlevel import checkpoint

from ..config import DnsServer, SocketOptions
from ..errors import ConnectError, ConnectionLost, ResolveError, ResolveReason
from ..policy.dns_message import is_reply, is_truncated, query_message, read_answer
from ..policy.dns_records import Answer, Kind, Question
from .reasons import reason_of
from .socket_options import bind_local, prepare
from .stream import ByteStream
from .tcp import connect_tcp

#: Datagrams get lost: how often a question is sent, and for how long each is waited for.
_TRIES_S = (1.0, 2.0, 3.0)
#: Over TCP, from its handshake to the whole answer.
_TCP_S = 5.0
_LARGEST_BYTES = 65535


class DnsServerSource:
    """Asks one name server; see `flights.AnswerSource`."""

    # AAAA first (RFC 8305 §3).
    kinds = (Kind.AAAA, Kind.A)
    offers_services = True
    over_https = False

    def __init__(self, server: DnsServer, options: SocketOptions) -> None:
        """Of a server.

        Args:
            server: whom to ask.
            options: where sockets leave from; a fixed port is for uploads.
        """
        self._server = server
        self._options = options

    async def answer(self, question: Question) -> Answer:
        """Find out; number and port cannot be guessed (RFC 5452)."""
        number = secrets.randbelow(1 << 16)
        query = query_message(question, number)
        whom = f"cannot resolve {question.name!r}: {self._server}"
        try:
            reply = await self._over_udp(query)
            if is_truncated(reply):
                with anyio.fail_after(_TCP_S):
                    reply = await self._over_tcp(query)
        except TimeoutError:
            text = f"{whom} does not answer"
            raise ResolveError(text, reason=ResolveReason.UNREACHABLE) from None
        except (OSError, ConnectError, ConnectionLost) as exc:
            why = reason_of(exc) if isinstance(exc, OSError) else str(exc)
            text = f"{whom} could not be asked: {why}"
            raise ResolveError(text, reason=ResolveReason.UNREACHABLE) from exc
        return read_answer(question, reply, number)

    async def _over_udp(self, query: bytes) -> bytes:
        family = socket.AF_INET6 if ":" in self._server.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            prepare(sock, self._options)
            bind_local(sock, self._any_port())
            # What comes from anywhere else is not received then.
            sock.connect((self._server.address, self._server.port))
            for wait_s in _TRIES_S:
                sock.send(query)
                with anyio.move_on_after(wait_s):
                    return await _reply(sock, query)
        raise TimeoutError

    async def _over_tcp(self, query: bytes) -> bytes:
        address, port = self._server.address, self._server.port
        stream = await connect_tcp(address, port, options=self._any_port())
        try:
            await stream.send(len(query).to_bytes(2) + query)
            length = int.from_bytes(await _exactly(stream, 2))
            return await _exactly(stream, length)
        finally:
            stream.close()

    def _any_port(self) -> SocketOptions:
        local = self._options.local_address
        address = None if local is None else (local[0], 0)
        return SocketOptions(
            local_address=address, interface=self._options.interface, dscp=self._options.dscp
        )


async def _reply(sock: socket.socket, query: bytes) -> bytes:
    while True:
        try:
            message = sock.recv(_LARGEST_BYTES)
        except BlockingIOError:
            await anyio.wait_readable(sock)
            continue
        if is_reply(query, message):
            return message
        await checkpoint()  # guesses may come without end


async def _exactly(stream: ByteStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = await stream.receive(count - len(data))
        if not piece:
            raise ConnectionLost("it hung up in the middle of its answer")
        data += piece
    return bytes(data)
