"""The private aioquic names we rely on: when one of these fails, read aioquic's changes."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Sequence

import pytest
from aioquic.h3.connection import H3Connection, H3Stream
from aioquic.quic import connection, recovery
from aioquic.quic.congestion.base import QuicRttMonitor
from aioquic.quic.congestion.cubic import CubicCongestionControl
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.connection import QuicConnection, QuicConnectionId, QuicNetworkPath
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketSpace
from aioquic.quic.stream import QuicStream, QuicStreamSender
from aioquic.tls import Context, Epoch, Group
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509 import Certificate

from tests.http3.conftest import MakePair
from tests.http3.pair import SERVER, Pair, ServerSide, client_configuration, make_machine
from tests.peers.certificates import Certificates
from trilane.transport.protocols import aioquic_private as private
from trilane.transport.protocols.aioquic_h3 import RequestOnlyH3Connection
from trilane.transport.protocols.aioquic_trains import TrainRun
from trilane.transport.protocols.aioquic_window import Pacer

CONNECTION = (
    "_ack_delay",
    "_ack_eliciting_sent_since_receipt",
    "_close_at",
    "_close_event",
    "_close_pending",
    "_crypto_streams",
    "_cryptos",
    "_datagrams_pending",
    "_events",
    "_find_preferred_address",
    "_handshake_confirmed",
    "_host_cids",
    "_idle_timeout",
    "_local_ack_delay_exponent",
    "_local_max_data",
    "_local_max_streams_bidi",
    "_local_max_streams_uni",
    "_loss",
    "_loss_at",
    "_max_datagram_size",
    "_network_paths",
    "_on_ack_delivery",
    "_pacing_at",
    "_packet_number",
    "_path_validation_deadline",
    "_peer_cid",
    "_peer_cid_available",
    "_ping_pending",
    "_probe_pending",
    "_quic_logger",
    "_remote_ack_delay_exponent",
    "_remote_max_data",
    "_remote_max_data_used",
    "_remote_max_stream_data_bidi_remote",
    "_remote_max_streams_bidi",
    "_remote_preferred_address",
    "_retire_connection_ids",
    "_retire_peer_cid",
    "_spaces",
    "_spin_bit",
    "_spin_highest_pn",
    "_state",
    "_streams",
    "_streams_blocked_bidi",
    "_streams_blocked_pending",
    "_streams_queue",
    "_version",
)
SENDER = (
    "_acked",
    "buffer_is_empty",
    "_buffer",
    "_buffer_fin",
    "_buffer_start",
    "_buffer_stop",
    "_pending",
    "_pending_eof",
    "_reset_error_code",
    "highest_offset",
    "is_finished",
)
LOSS = (
    "_cc",
    "_detect_loss",
    "_on_packets_lost",
    "_pacer",
    "_pto_count",
    "_rtt_first_sample_time",
    "_rtt_initialized",
    "_rtt_latest",
    "_rtt_min",
    "_rtt_smoothed",
    "_rtt_variance",
    "_time_of_last_sent_ack_eliciting_packet",
)
#: Where aioquic's loss recovery looks at what was sent.
SENT_PACKETS_USES = 9


@pytest.fixture
def quic(certificates: Certificates) -> QuicConnection:
    return make_machine(client_configuration(certificates)).quic


@pytest.mark.parametrize("name", CONNECTION)
def test_connection(quic: QuicConnection, name: str) -> None:
    assert hasattr(quic, name)


@pytest.mark.parametrize("name", SENDER)
def test_sender(name: str) -> None:
    assert hasattr(QuicStream().sender, name)


@pytest.mark.parametrize("name", ["_buffer", "_final_size", "highest_offset", "is_finished"])
def test_receiver(name: str) -> None:
    assert hasattr(QuicStream().receiver, name)


@pytest.mark.parametrize("name", LOSS)
def test_loss_recovery(quic: QuicConnection, name: str) -> None:
    assert hasattr(quic._loss, name)


@pytest.mark.parametrize(
    "name",
    [
        "_peer_certificate",
        "_peer_certificate_chain",
        "alpn_negotiated",
        "early_data_accepted",
        "key_schedule",
        "received_extensions",
        "session_resumed",
    ],
)
def test_tls(certificates: Certificates, name: str) -> None:
    machine = make_machine(client_configuration(certificates))
    machine.connect(SERVER, 1.0)
    assert hasattr(machine.quic.tls, name)


def test_groups(certificates: Certificates) -> None:
    machine = make_machine(client_configuration(certificates))
    machine.connect(SERVER, 1.0)

    assert Group.X448 in Context(is_client=True)._supported_groups
    assert machine.quic.tls._supported_groups == [Group.SECP256R1, Group.SECP384R1, Group.X25519]
    assert machine.quic.tls._x448_private_key is None


@pytest.mark.parametrize("name", ["cadata", "certificate", "certificate_chain", "private_key"])
def test_configuration(certificates: Certificates, name: str) -> None:
    assert hasattr(client_configuration(certificates), name)


@pytest.mark.parametrize(
    "name",
    [
        "_W_est",
        "_congestion_recovery_start_time",
        "_rtt_monitor",
        "_t_epoch",
        "congestion_window",
        "ssthresh",
    ],
)
def test_congestion_control(quic: QuicConnection, name: str) -> None:
    assert isinstance(quic._loss._cc, CubicCongestionControl)
    assert hasattr(quic._loss._cc, name)


def test_slow_start_asks_our_monitor_of_round_trips() -> None:
    for kind in (CubicCongestionControl, RenoCongestionControl):
        assert "self._rtt_monitor.is_rtt_increasing(" in inspect.getsource(kind)
    assert {"_filtered_min", "_sample_min"} <= set(vars(QuicRttMonitor()))


def test_the_buffer_has_a_private_home_only() -> None:
    buffer = importlib.import_module("aioquic._buffer")
    assert issubclass(buffer.BufferReadError, ValueError)
    reader = buffer.Buffer(data=b"\x40\x25\x01")
    assert (reader.pull_uint_var(), reader.tell(), reader.eof()) == (0x25, 2, False)


def test_values_and_signatures(quic: QuicConnection) -> None:
    assert QuicConnectionId(b"", 0).stateless_reset_token == b""
    assert QuicPacketPacer(max_datagram_size=1200)._max_datagram_size == 1200
    assert {"bucket_max", "bucket_time", "evaluation_time", "packet_time"} <= set(
        vars(QuicPacketPacer(max_datagram_size=1200))
    )
    assert "self._loss._pacer.next_send_time(now=now)" in inspect.getsource(QuicConnection)
    assert "self._loss._pacer.update_after_send(now=now)" in inspect.getsource(QuicConnection)
    assert isinstance(quic._loss._pacer, Pacer)
    space = QuicPacketSpace()
    assert space.ack_at is None
    assert space.sent_packets == {}
    assert space.largest_acked_packet == 0
    lost = inspect.signature(recovery.QuicPacketRecovery._on_packets_lost)
    assert {"congestion_event", "now", "packets", "space"} <= set(lost.parameters)
    assert isinstance(quic._loss._cc, private._Counting)


def test_a_timer_means_what_we_know_or_nothing() -> None:
    source = inspect.getsource(QuicConnection.handle_timer)
    assert re.findall(r"if .*now >= (.*):", source) == [
        "self._close_at",
        "self._loss_at",
        "deadline",
    ]
    assert "deadline = self._path_validation_deadline()" in source


def test_a_client_validates_a_path_as_we_have_it_do() -> None:
    path = QuicNetworkPath(SERVER)
    assert not path.is_validated
    assert not path.local_challenge_sent
    assert path.peer_cid is None
    assert path.bytes_received == 0
    assert path.validation_deadline is None
    assert QuicNetworkPath.can_send(path, 1) is False
    source = inspect.getsource(QuicConnection)
    assert "if network_path.validation_deadline is None:" in source
    assert 'reason_phrase="No validated network path"' in source


def test_loss_recovery_tells_us_of_acknowledgements() -> None:
    acked = inspect.signature(recovery.QuicPacketRecovery.on_ack_received)
    assert list(acked.parameters) == ["self", "ack_rangeset", "ack_delay", "now", "space"]
    source = inspect.getsource(recovery.QuicPacketRecovery.on_ack_received)
    # Once per sample, with the whole time since the packet was built.
    assert source.count("self._cc.on_rtt_measurement(now=now, rtt=latest_rtt)") == 1
    assert "latest_rtt = now - largest_sent_time" in source
    assert "if largest_acked == largest_newly_acked and is_ack_eliciting:" in source


def test_loss_recovery_looks_at_single_packets_where_we_make_them() -> None:
    detect = inspect.signature(recovery.QuicPacketRecovery._detect_loss)
    assert list(detect.parameters) == ["self", "now", "space"]
    source = inspect.getsource(recovery.QuicPacketRecovery._detect_loss)
    assert source.index("if packet_number > space.largest_acked_packet:") < source.index("append(")
    again = inspect.signature(recovery.QuicPacketRecovery.reschedule_data)
    assert list(again.parameters) == ["self", "now", "speed_up_handshake"]
    # Whoever else walks over sent packets of 1-RTT has to be shown single ones, too.
    whole = inspect.getsource(recovery)
    assert whole.count("space.sent_packets") == SENT_PACKETS_USES
    assert "sent_packets" not in inspect.getsource(connection)


def test_a_sender_uses_its_buffer_as_ours_can_be_used() -> None:
    source = inspect.getsource(QuicStreamSender)
    uses = {line.strip() for line in source.splitlines() if re.search(r"self\._buffer\b", line)}
    assert uses == {
        "self._buffer = bytearray()",
        "self._buffer[start - self._buffer_start : stop - self._buffer_start]",
        "del self._buffer[:size]",
        "self._buffer += data",
    }


def test_a_stream_that_is_blocked_sends_no_data_but_its_reset() -> None:
    source = inspect.getsource(QuicConnection._write_application)
    blocked = source.index("elif not stream.is_blocked and not stream.sender.buffer_is_empty:")
    assert source.index("if stream.sender.reset_pending:") < blocked


@pytest.mark.parametrize(
    "place",
    [
        recovery.QuicPacketRecovery,
        CubicCongestionControl,
        RenoCongestionControl,
        private._Counting,
    ],
)
def test_what_is_looked_at_in_a_sent_packet(place: type) -> None:
    # One that looks at more needs more of the records of trains.
    known = {name for kind in TrainRun.__mro__[:2] for name in vars(kind)}
    looked_at = set(re.findall(r"\bpacket\.(\w+)", inspect.getsource(place)))
    assert looked_at
    assert looked_at <= known


def test_keys_are_where_we_look(make_pair: MakePair) -> None:
    crypto = make_pair().machine.quic._cryptos[Epoch.ONE_RTT]
    aead, protection = crypto.send.aead, crypto.send.hp
    assert crypto._update_key_requested is False
    assert "trigger" in inspect.signature(crypto._update_key).parameters
    assert aead is not None
    assert isinstance(aead._aead, AESGCM)
    assert isinstance(aead._iv, int)
    assert protection is not None
    assert len(protection._encryptor.update(bytes(32))) == 32


def test_what_follows_from_a_packet_that_acknowledges() -> None:
    # `aioquic_receiving` does the same; what aioquic comes to do besides, it must do, too.
    source = inspect.getsource(QuicConnection.receive_datagram)
    start = source.index("# raise expected packet number")
    states = set(re.findall(r"\b((?:self|space)\.\w+)(?: = |\.add\()", source[start:]))
    assert states == {
        "self._ack_eliciting_sent_since_receipt",
        "self._close_at",
        "self._remote_initial_source_connection_id",  # the first packet of all
        "self._spin_bit",
        "self._spin_highest_pn",
        "self.host_cid",  # a server's
        "space.ack_at",  # something that asks for an acknowledgement
        "space.ack_queue",
        "space.expected_packet_number",
        "space.largest_received_packet",
        "space.largest_received_time",
        "space.received_packets",
    }
    handled = inspect.getsource(QuicConnection._handle_ack_frame)
    assert set(re.findall(r"(self\.[\w.]+) =", handled)) == {
        "self._loss.peer_completed_address_validation"
    }


def test_what_follows_from_a_larger_limit() -> None:
    # The same: `aioquic_receiving` does this much.
    handlers = (
        QuicConnection._handle_max_data_frame,
        QuicConnection._handle_max_stream_data_frame,
    )
    source = "".join(map(inspect.getsource, handlers))
    assert set(re.findall(r"([\w.]+) = ", source)) == {
        "max_data",
        "max_stream_data",
        "self._remote_max_data",
        "stream",
        "stream.max_stream_data_remote",
        "stream_id",
    }


def test_what_follows_from_a_piece_of_a_response() -> None:
    # The same once more.
    source = inspect.getsource(QuicConnection._handle_stream_frame)
    assert set(re.findall(r"((?:self|stream)\.[\w.]+)(?: = | \+= |\()", source)) == {
        "self._assert_stream_can_receive",
        "self._events.append",
        "self._get_or_create_stream",
        "self._local_max_data.used",
        "self._quic_logger.encode_stream_frame",
        "stream.receiver.handle_frame",
    }


def test_what_else_aioquic_may_have_to_send() -> None:
    # `aioquic_sending` looks whether there is any of this.
    source = inspect.getsource(QuicConnection._write_application)
    assert set(re.findall(r"self\.(_write_\w+)\(", source)) == {
        "_write_ack_frame",
        "_write_connection_limits",
        "_write_crypto_frame",
        "_write_datagram_frame",
        "_write_handshake_done_frame",  # a server's
        "_write_new_connection_id_frame",
        "_write_path_challenge_frame",
        "_write_path_response_frame",
        "_write_ping_frame",
        "_write_reset_stream_frame",
        "_write_retire_connection_id_frame",
        "_write_stop_sending_frame",
        "_write_stream_frame",
        "_write_stream_limits",
        "_write_streams_blocked_frame",
    }
    source = inspect.getsource(QuicConnection.datagrams_to_send)
    assert set(re.findall(r"self\.(_\w+)\(", source)) == {
        "_close_begin",
        "_flush_builder",
        "_handshake_data_stranded",  # before the handshake is confirmed
        "_probe_preferred_address",
        "_send_probing_frames",  # on other paths
        "_write_application",
        "_write_connection_close_frame",
        "_write_handshake",
    }


def test_what_follows_from_a_packet_that_is_sent() -> None:
    source = inspect.getsource(QuicConnection._flush_builder)
    found = re.findall(r"((?:self|network_path|packet)\.[\w.]+)(?: = | \+= |\()", source)
    assert set(found) == {
        "network_path.bytes_sent",
        "packet.sent_time",
        "self._ack_eliciting_sent_since_receipt",
        "self._close_at",
        "self._discard_epoch",  # after the handshake's
        "self._idle_timeout",
        "self._loss.on_packet_sent",
        "self._packet_number",
        "self._quic_logger.log_event",
        "self._quic_logger.packet_type",
    }


def test_the_http3_layer_calls_what_we_override() -> None:
    source = inspect.getsource(H3Connection)
    assert "self._init_connection()" in source
    assert "self._get_local_settings()" in source
    assert "self._check_content_length(stream)" in source
    assert "return self._receive_stream_data(event)" in source
    assert set(RequestOnlyH3Connection.__dict__) & set(H3Connection.__dict__) >= {
        "_check_content_length",
        "_get_local_settings",
        "_init_connection",
        "_receive_stream_data",
    }
    assert H3Stream(0).buffer == b""


def test_the_http3_layer_has_no_dynamic_table(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.run(lambda: pair.server.started and pair.server.h3.received_settings is not None)
    settings = pair.server.h3.received_settings
    assert settings is not None
    assert settings[0x1] == 0
    assert settings[0x7] == 0
    assert settings[0x6] == 64 * 1024


@pytest.mark.parametrize(
    "name", ["_stream", "_decoder", "_max_table_capacity", "_blocked_streams", "_max_push_id"]
)
def test_http3_attributes(quic: QuicConnection, name: str) -> None:
    assert hasattr(H3Connection(quic), name)


def test_the_handshake_asks_us_about_the_certificate(certificates: Certificates) -> None:
    asked: list[int] = []

    def check(chain: Sequence[Certificate]) -> str | None:
        asked.append(len(chain))
        return "no reason"

    configuration = client_configuration(certificates)
    pair = Pair(
        make_machine(configuration, check_certificate=check), ServerSide(certificates.server)
    )
    pair.connect()
    pair.run(lambda: pair.machine.close_cause is not None)
    assert asked == [1]
    assert pair.machine.close_cause is not None
    assert pair.machine.close_cause.reason == "no reason"
    # Were it not asked, aioquic would verify, and trust nobody.
    assert (configuration.cadata, configuration.cafile) == (b"", None)
    assert list(inspect.signature(QuicConnection._initialize).parameters) == ["self", "peer_cid"]
    assert "self._verify_mode" in inspect.getsource(Context._client_handle_certificate_verify)
