"""Our machine and aioquic's server side, joined by the virtual link: virtual time, no sockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from aioquic._buffer import Buffer
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import pull_quic_header
from aioquic.tls import SessionTicket

from tests.apart import apart
from tests.peers.certificates import Certificates, Identity
from trilane.transport.config import TlsOptions
from trilane.transport.message import Headers, RequestHead, parse_url
from trilane.transport.net.chain import chain_verifier
from trilane.transport.net.memory_datagram import LinkConditions, VirtualLink
from trilane.transport.protocols.aioquic_private import COUNTING_CONTROLLERS
from trilane.transport.protocols.events import Event
from trilane.transport.protocols.http3 import Http3Machine

T = TypeVar("T")

CLIENT = ("192.0.2.1", 40000)
SERVER = ("192.0.2.2", 443)

OK = [(b":status", b"200")]
#: RFC 9000 §18.2: the parameter's id, and that it is empty.
DISABLE_ACTIVE_MIGRATION = b"\x0c\x00"
CLOCK_STEP_S = 1e-9


def upload_head(length: int | None, *, method: str = "POST", path: str = "/upload") -> RequestHead:
    return RequestHead(
        method=method,
        url=parse_url(f"https://localhost{path}"),
        headers=Headers([("X-Test", "yes"), ("Connection", "keep-alive")]),
        content_length=length,
    )


@dataclass(slots=True)
class Received:
    """One request as the server saw it."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset_code: int | None = None


class ServerSide:
    """aioquic as the server of one connection; answers each complete request with 200."""

    def __init__(
        self,
        identity: Identity,
        *,
        tickets: dict[bytes, SessionTicket] | None = None,
        alpn: str = "h3",
        max_stream_data: int = 1 << 20,
        max_data: int = 1 << 20,
        ask_certificate: bool = False,
        movable: bool = True,
    ) -> None:
        self.configuration = QuicConfiguration(
            is_client=False,
            alpn_protocols=[alpn],
            max_data=max_data,
            max_stream_data=max_stream_data,
        )
        self.configuration.load_cert_chain(identity.cert, identity.key)
        self.requests: dict[int, Received] = {}
        self.events: list[quic_events.QuicEvent] = []
        self.answer: Callable[[int], None] = self.respond
        """Called when a request is complete."""
        self.on_head: Callable[[int], None] = lambda _stream_id: None
        """Called when a request's head is there."""
        self.tickets = tickets if tickets is not None else {}
        self._ask_certificate = ask_certificate
        self._movable = movable
        self._quic: QuicConnection | None = None
        self._h3: H3Connection | None = None

    @property
    def quic(self) -> QuicConnection:
        assert self._quic is not None
        return self._quic

    @property
    def h3(self) -> H3Connection:
        assert self._h3 is not None
        return self._h3

    @property
    def started(self) -> bool:
        return self._quic is not None

    def receive(self, data: bytes, source: tuple[str, int], now_s: float) -> None:
        if self._quic is None:
            header = pull_quic_header(Buffer(data=data), host_cid_length=8)
            self._quic = QuicConnection(
                configuration=self.configuration,
                original_destination_connection_id=header.destination_cid,
                session_ticket_fetcher=lambda label: self.tickets.pop(label, None),
                session_ticket_handler=self._keep_ticket,
            )
            if not self._movable:
                self._forbid_moving(self._quic)
            if self._ask_certificate:
                self._ask_for_certificate(self._quic)
        self._quic.receive_datagram(data, source, now_s)
        self.drain()

    def drain(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, quic_events.ProtocolNegotiated):
                self._h3 = H3Connection(self.quic)
            elif isinstance(event, quic_events.StreamReset):
                self.requests.setdefault(event.stream_id, Received()).reset_code = event.error_code
            if self._h3 is not None:
                for h3_event in self._h3.handle_event(event):
                    self._take(h3_event)

    def respond(
        self,
        stream_id: int,
        headers: list[tuple[bytes, bytes]] | None = None,
        body: bytes = b"done",
        trailers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.h3.send_headers(stream_id, headers or OK)
        self.h3.send_data(stream_id, body, end_stream=trailers is None)
        if trailers is not None:
            self.h3.send_headers(stream_id, trailers, end_stream=True)

    def _take(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            request = self.requests.setdefault(event.stream_id, Received())
            first = not request.headers
            if first:
                request.headers = event.headers
                self.on_head(event.stream_id)
            else:
                request.trailers = event.headers
        elif isinstance(event, DataReceived):
            request = self.requests[event.stream_id]
            request.body += event.data
        else:
            return
        if event.stream_ended:
            request.ended = True
            self.answer(event.stream_id)

    @staticmethod
    def _ask_for_certificate(quic: QuicConnection) -> None:
        initialize = quic._initialize

        def initialize_asking(peer_cid: bytes) -> None:
            initialize(peer_cid)
            quic.tls._request_client_certificate = True

        quic._initialize = initialize_asking  # type: ignore[method-assign]

    @staticmethod
    def _forbid_moving(quic: QuicConnection) -> None:
        parameters = quic._serialize_transport_parameters
        quic._serialize_transport_parameters = lambda: (  # type: ignore[method-assign]
            parameters() + DISABLE_ACTIVE_MIGRATION
        )

    def _keep_ticket(self, ticket: SessionTicket) -> None:
        self.tickets[ticket.ticket] = ticket


def client_configuration(certificates: Certificates, **changes: object) -> QuicConfiguration:
    settings: dict[str, object] = {
        "is_client": True,
        "alpn_protocols": ["h3"],
        "server_name": "localhost",
        "cafile": str(certificates.ca),
        "idle_timeout": 30.0,
        "congestion_control_algorithm": COUNTING_CONTROLLERS["cubic"],
    } | changes
    return QuicConfiguration(**settings)  # type: ignore[arg-type]


def make_machine(configuration: QuicConfiguration, **changes: object) -> Http3Machine:
    verifier = chain_verifier(TlsOptions(verify=str(configuration.cafile)))
    assert verifier is not None
    host = str(configuration.server_name)
    settings: dict[str, object] = {
        "max_datagram_bytes": 1350,
        "response_head_bytes": 64 * 1024,
        "check_certificate": lambda chain: verifier.problem(chain, host),
    }
    return Http3Machine(configuration, **(settings | changes))  # type: ignore[arg-type]


class Pair:
    """Client and server on a link, driven step by step in virtual time."""

    def __init__(
        self,
        machine: Http3Machine,
        server: ServerSide,
        conditions: LinkConditions | None = None,
        seed: int = 1,
    ) -> None:
        self.machine = machine
        self.server = server
        self.link = VirtualLink(conditions or LinkConditions(), seed)
        self.now_s = 1000.0
        self.client = CLIENT
        """Where the client is now; what was sent to where it was before is lost."""
        self.steps = 0
        self.events: list[Event] = []
        self.datagram_sizes: list[int] = []
        self.trains = 0
        self.each_step: Callable[[], None] = lambda: None
        """Called in every step, before anything is sent."""
        self.alarm_s: float | None = None
        """Time does not jump past this."""

    def connect(self) -> None:
        self.machine.connect(SERVER, self.now_s)

    def of_kind(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def run(self, until: Callable[[], bool], max_steps: int = 20_000) -> None:
        """Step until the condition holds; a test that does not get there fails."""
        limit = self.steps + max_steps
        while not until():
            assert self.steps < limit, "the pair made no progress in time"
            self.step()

    def step(self) -> None:
        self.steps += 1
        self.each_step()
        self._flush()
        next_s = self._next_s()
        assert next_s is not None, "nothing will ever happen again"
        # A clock never stands still: what is due now, but for a rounding, is due then.
        self.now_s = max(self.now_s + CLOCK_STEP_S, next_s)
        for delivery in self.link.deliver(self.now_s):
            if delivery.destination == SERVER:
                self.server.receive(delivery.data, delivery.source, self.now_s)
            elif delivery.destination == self.client:
                events = self.machine.receive_datagram(delivery.data, delivery.source, self.now_s)
                self.events += apart(events)
        self._fire_timers()

    def _flush(self) -> None:
        for datagram in self.machine.transmit(self.now_s):
            self.datagram_sizes.append(len(datagram.data))
            self.link.send(datagram.data, self.client, datagram.address, self.now_s)
        while (train := self.machine.next_train(self.now_s)) is not None:
            self.trains += 1
            for data in train.datagrams():
                self.datagram_sizes.append(len(data))
                self.link.send(data, self.client, train.address, self.now_s)
        self.machine.end_turn(self.now_s)
        if self.server.started:
            for data, address in self.server.quic.datagrams_to_send(self.now_s):
                self.link.send(data, SERVER, address, self.now_s)

    def _next_s(self) -> float | None:
        timers = [
            self.link.next_delivery_s(),
            self.machine.next_timer_s(),
            self._server_timer(),
            self.alarm_s,
        ]
        return min((timer for timer in timers if timer is not None), default=None)

    def _server_timer(self) -> float | None:
        return self.server.quic.get_timer() if self.server.started else None

    def _fire_timers(self) -> None:
        timer = self.machine.next_timer_s()
        if timer is not None and self.now_s >= timer:
            self.events += apart(self.machine.handle_timer(self.now_s))
        timer = self._server_timer()
        if timer is not None and self.now_s >= timer:
            self.server.quic.handle_timer(self.now_s)
            self.server.drain()


class Upload:
    """A body on its way: queues what the budget allows whenever it is asked to."""

    def __init__(self, pair: Pair, body: bytes, *, known_length: bool = True) -> None:
        self.pair = pair
        self.body = body
        head = upload_head(len(body) if known_length else None)
        self.stream_id = pair.machine.send_head(head, end=known_length and not body)
        self.position = 0
        self.ended = known_length and not body
        self.most_buffered = 0

    def feed(self) -> None:
        while not self.ended:
            budget = self.pair.machine.send_budget(self.stream_id)
            if budget <= 0:
                return
            piece = self.body[self.position : self.position + min(budget, 65536)]
            self.position += len(piece)
            self.ended = self.position == len(self.body)
            self.pair.machine.send_body(self.stream_id, memoryview(piece), end=self.ended)
