"""Sealing TLS 1.3 records beside OpenSSL: RFC 8448's trace, and a real OpenSSL on both sides."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.net.support import pattern
from tests.peers.certificates import Certificates
from trilane.transport.protocols import tls_records
from trilane.transport.protocols.ipsec_mb import IpsecMb
from trilane.transport.protocols.tls_handover import RecordFollower, RecordTranslator
from trilane.transport.protocols.tls_keys import CIPHER_SUITES, TrafficKeys
from trilane.transport.protocols.tls_records import (
    MAX_CONTENT_BYTES,
    ContentType,
    KeysExhausted,
    RecordOpener,
    RecordRoom,
    RecordSealer,
    UnreadableRecord,
    cut_records,
    is_one_record,
)

AES_128 = CIPHER_SUITES["TLS_AES_128_GCM_SHA256"]
# RFC 8448 §3: {client} derive secret "tls13 c ap traffic", and what is sent with it.
SECRET = bytes.fromhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
DATA_RECORD = bytes.fromhex(
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e"
    "2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"
)
ALERT_RECORD = bytes.fromhex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3")


def test_records_are_those_of_rfc_8448() -> None:
    sealer = RecordSealer(TrafficKeys(AES_128, SECRET), 0)
    assert sealer.seal(ContentType.APPLICATION_DATA, bytes(range(50))) == DATA_RECORD
    assert sealer.seal(ContentType.ALERT, b"\x01\x00") == ALERT_RECORD
    opener = RecordOpener(TrafficKeys(AES_128, SECRET))
    assert opener.open(DATA_RECORD).data == bytes(range(50))
    assert opener.open(ALERT_RECORD).kind == ContentType.ALERT
    with pytest.raises(UnreadableRecord):
        opener.open(ALERT_RECORD)


def test_a_room_is_sealed_as_its_records_would_be_one_by_one(library: IpsecMb | None) -> None:
    room = RecordRoom(3, library)
    in_room, alone = (RecordSealer(TrafficKeys(AES_128, SECRET), 0) for _ in range(2))
    for size in (MAX_CONTENT_BYTES * 2 + 5, 1, MAX_CONTENT_BYTES * 3, MAX_CONTENT_BYTES, 40_000):
        data = pattern(size)
        room.put(0, memoryview(data))
        expected = b"".join(
            alone.seal(ContentType.APPLICATION_DATA, data[at : at + MAX_CONTENT_BYTES])
            for at in range(0, size, MAX_CONTENT_BYTES)
        )
        assert in_room.seal_room(room, size) == expected
    assert not in_room.seal_room(room, 0)


def test_rooms_suit_their_cipher(library: IpsecMb | None) -> None:
    suite = CIPHER_SUITES["TLS_CHACHA20_POLY1305_SHA256"]
    sealer, opener = (
        RecordSealer(TrafficKeys(suite, SECRET), 0),
        RecordOpener(TrafficKeys(suite, SECRET)),
    )
    room = sealer.new_room(2, library)
    room.put(0, memoryview(b"of another cipher"))
    assert opener.open(bytes(sealer.seal_room(room, 17))).data == b"of another cipher"


@given(one=st.integers(0, 3 * MAX_CONTENT_BYTES), other=st.integers(0, 3 * MAX_CONTENT_BYTES))
def test_places_are_the_bytes_they_are_asked_for(
    library: IpsecMb | None, one: int, other: int
) -> None:
    room, (start, stop) = RecordRoom(3, library), sorted((one, other))
    whole = pattern(room.byte_count)
    room.put(0, memoryview(whole))
    assert b"".join(room.places(start, stop)) == whole[start:stop]


@pytest.mark.parametrize("data", [b"\x17\x03\x03", b"\x17\x03\x03\0\x05abc", b"\x16\x03\x03\0\1x"])
def test_what_is_no_whole_record_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        list(cut_records(data))
    follower = RecordFollower(AES_128, SECRET)
    follower.follow(DATA_RECORD)
    follower.follow(data)
    assert follower.hand_over() is None


@given(
    st.binary(max_size=6)
    | st.builds(
        lambda start, size, rest: start + size.to_bytes(2, "big") + rest,
        st.sampled_from([b"\x17\x03\x03", b"\x16\x03\x03", b"\x17\x03\x01"]),
        st.integers(0, 4),
        st.binary(max_size=12),
    )
)
def test_one_record_is_what_would_be_cut_into_one(data: bytes) -> None:
    try:
        records = list(cut_records(data))
    except UnreadableRecord:
        records = []
    assert is_one_record(data) == (records == [data])


def test_records_are_counted_alike_one_by_one_and_together(library: IpsecMb | None) -> None:
    together, one_by_one = (RecordFollower(AES_128, SECRET) for _ in range(2))
    together.follow(DATA_RECORD + ALERT_RECORD)
    one_by_one.follow(DATA_RECORD)
    one_by_one.follow(ALERT_RECORD)
    translators = [together.hand_over(), one_by_one.hand_over()]
    room, sealed = RecordRoom(1, library), []
    for translator in translators:
        assert translator is not None
        room.put(0, memoryview(b"next"))
        sealed.append(bytes(translator.seal(room, 4)))
    assert sealed[0] == sealed[1]


def test_no_handover_without_proof_of_the_number() -> None:
    assert RecordFollower(AES_128, SECRET).hand_over() is None
    ahead = RecordFollower(AES_128, SECRET)
    ahead.follow(ALERT_RECORD)  # the second record in place of the first
    assert ahead.hand_over() is None
    right = RecordFollower(AES_128, SECRET)
    right.follow(DATA_RECORD + ALERT_RECORD)
    assert right.hand_over() is not None
    assert right.hand_over() is None


def test_keys_are_renewed_before_they_are_used_up(
    library: IpsecMb | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_records, "MOST_RECORDS", 10)
    follower = RecordFollower(AES_128, SECRET)
    follower.follow(DATA_RECORD + ALERT_RECORD)
    ours, room = follower.hand_over(), RecordRoom(3, library)
    assert ours is not None
    peer = RecordOpener(TrafficKeys(AES_128, SECRET))
    peer.number = 2
    for _ in range(20):
        if update := ours.refresh(3):
            assert peer.open(update).data == b"\x18\0\0\1\0"
            assert peer.number > 5
            peer.update()
        for record in cut_records(bytes(ours.seal(room, room.byte_count))):
            peer.open(record)
    nearly_used_up = RecordSealer(TrafficKeys(AES_128, SECRET), 8)
    with pytest.raises(KeysExhausted):
        nearly_used_up.seal_room(room, room.byte_count)


def test_keys_that_openssl_has_used_up_are_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, taken in ((2, False), (3, True)):
        monkeypatch.setattr(tls_records, "MOST_RECORDS", most)
        follower = RecordFollower(AES_128, SECRET)
        follower.follow(DATA_RECORD + ALERT_RECORD)
        assert (follower.hand_over() is not None) == taken


def test_no_handover_behind_a_key_update_that_was_not_recognised() -> None:
    padded = RecordSealer(TrafficKeys(AES_128, SECRET), 0).seal(0, b"\x18\0\0\1\0\x16")
    follower = RecordFollower(AES_128, SECRET)
    follower.follow(padded)
    assert follower.hand_over() is None


class OpenSslPair:
    """A client and a server of OpenSSL's, and the client's secret; bytes move when told to."""

    def __init__(self, certificates: Certificates, folder: Path) -> None:
        keys = folder / "keys"
        there = certificates.server.server_context()
        there.num_tickets = 0
        here = ssl.create_default_context(cafile=str(certificates.ca))
        there.keylog_filename = str(keys)
        self.to_client, self.to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.out = ssl.MemoryBIO()
        self.client = here.wrap_bio(self.to_client, self.out, server_hostname="localhost")
        self.server = there.wrap_bio(self.to_server, self.to_client, server_side=True)
        for side in (self.client, self.server, self.client, self.server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
            self.to_server.write(self.out.read())
        suite = self.client.cipher()
        assert suite is not None
        self.suite = CIPHER_SUITES[suite[0]]
        lines = [line.split() for line in keys.read_text().splitlines() if line[:1] != "#"]
        secrets = {label: bytes.fromhex(secret) for label, _, secret in lines}
        self.secret = secrets["CLIENT_TRAFFIC_SECRET_0"]
        self._asking = RecordSealer(TrafficKeys(self.suite, secrets["SERVER_TRAFFIC_SECRET_0"]), 0)

    def ask_for_new_keys(self) -> None:
        """As the server, ask the client for a KeyUpdate; its own OpenSSL never notices."""
        self.to_client.write(self._asking.seal(ContentType.HANDSHAKE, b"\x18\0\0\1\1"))
        self._asking.update()
        with pytest.raises(ssl.SSLWantReadError):
            self.client.read(1)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self.server.read(count - len(data))
        return data


steps = st.lists(
    st.one_of(
        st.just("ask"), st.just("hand over"), st.integers(1, 4 * MAX_CONTENT_BYTES), st.just(5)
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(steps=steps)
def test_openssl_reads_everything_whenever_it_is_handed_over_and_asks_for_keys(
    certificates: Certificates, library: IpsecMb | None, steps: list[str | int]
) -> None:
    with TemporaryDirectory() as folder:
        pair = OpenSslPair(certificates, Path(folder))
        _talk(pair, library, steps)


def _talk(pair: OpenSslPair, library: IpsecMb | None, steps: list[str | int]) -> None:
    follower: RecordFollower = RecordFollower(pair.suite, pair.secret)
    ours: RecordTranslator | None = None
    room = RecordRoom(4, library)

    def flush() -> None:
        data = pair.out.read()
        if ours is None:
            follower.follow(data)
        pair.to_server.write(data if ours is None else ours.translate(data))

    for step in (3, *steps, "hand over", 70_000 % room.byte_count):
        if step == "ask":
            pair.ask_for_new_keys()
        elif isinstance(step, str):
            ours = ours or follower.hand_over()
            assert ours is not None
        else:
            data = pattern(step)
            pair.client.write(b"" if ours else data)
            flush()
            if ours is not None:
                room.put(0, memoryview(data))
                pair.to_server.write(ours.seal(room, step))
            assert pair.read(step) == data
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    flush()
    assert pair.server.read(1) == b""
