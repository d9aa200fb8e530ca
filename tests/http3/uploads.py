"""Uploads over a real `Http3Connection`: bodies from memory, and connections with their tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from tests.http3.pair import ServerSide
from tests.http3.udp_server import background
from tests.peers.certificates import Certificates, Identity
from tests.peers.plain_names import SYSTEM_NAMES
from trilane.transport.body import Body
from trilane.transport.config import (
    AddressRule,
    EngineOptions,
    Limits,
    QuicOptions,
    Timeouts,
    TlsOptions,
)
from trilane.transport.connections.exchange import Exchange, Progress
from trilane.transport.connections.http3 import Http3Connection
from trilane.transport.connections.http3_dialer import QuicDialer
from trilane.transport.message import Headers, RequestHead, parse_url
from trilane.transport.net.dial_log import DialLog
from trilane.transport.profile.recorder import Recorder
from trilane.transport.sessions import SessionStore

PATIENCE_S = 10.0
"""Far more than anything here takes; less than a test's own limit."""


@dataclass(slots=True)
class BytesBody:
    """A body from memory; `length` None stands for a source that cannot tell."""

    data: bytes
    known_length: bool = True
    stall_at: int | None = None
    """Reading waits forever from this offset on."""

    @property
    def length(self) -> int | None:
        return len(self.data) if self.known_length else None

    @property
    def rewindable(self) -> bool:
        return True

    def in_memory(self) -> None:
        return None

    async def open(self) -> BytesReader:
        return BytesReader(self)


@dataclass(slots=True)
class BytesReader:
    body: BytesBody
    position: int = 0

    async def readinto(self, buffer: memoryview) -> int:
        if self.body.stall_at is not None and self.position >= self.body.stall_at:
            await anyio.sleep_forever()
        piece = self.body.data[self.position : self.position + len(buffer)]
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)

    async def aclose(self) -> None:
        pass


def make_exchange(
    url: str,
    body: Body | None = None,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    high_performance: bool = True,
) -> Exchange:
    recorder = Recorder()
    recorder.begin_leg(url)
    return Exchange(
        head=RequestHead(
            method=method,
            url=parse_url(url),
            headers=Headers(headers or {}),
            content_length=0 if body is None else body.length,
        ),
        body=body,
        recorder=recorder,
        timeouts=timeouts or Timeouts(),
        limits=limits or Limits(),
        on_progress=on_progress,
        high_performance=high_performance,
    )


@dataclass(slots=True)
class Dialling:
    """How the tests make connections to one server."""

    certificates: Certificates
    quic: QuicOptions = field(default_factory=QuicOptions)
    tls: TlsOptions | None = None
    log: DialLog = field(default_factory=DialLog)
    early_data: bool = False
    sessions: SessionStore = field(default_factory=SessionStore)
    allow: AddressRule | None = None
    dialer: QuicDialer | None = None
    """Made at the first dial, and used again, tickets and all."""

    async def dial(self, url: str) -> Http3Connection:
        tls = self.tls or TlsOptions(verify=str(self.certificates.ca))
        if self.dialer is None:
            options = EngineOptions(tls=tls, quic=self.quic, allow_address=self.allow)
            self.dialer = QuicDialer(options, self.sessions)
        origin = parse_url(url).origin
        self.log = replace(DialLog())
        return await self.dialer.dial(
            origin,
            (origin.host, origin.port),
            self.log,
            names=SYSTEM_NAMES,
            early_data=self.early_data,
        )

    @asynccontextmanager
    async def connection(self, url: str) -> AsyncIterator[Http3Connection]:
        """A running connection, closed in the end."""
        connection = await self.dial(url)
        async with background(connection.run):
            try:
                yield connection
            finally:
                await connection.aclose()


def serve_with(identity: Identity, **changes: object) -> Callable[[], ServerSide]:
    return lambda: ServerSide(identity, **changes)  # type: ignore[arg-type]


async def answers(connection: Http3Connection, url: str, *, early_data: bool = False) -> bool:
    exchange = make_exchange(url, BytesBody(b"body"))
    exchange.early_data = early_data
    exchange.recorder.use_connection(connection.facts, reused=False)
    return (await connection.exchange(exchange)).head.status == 200
