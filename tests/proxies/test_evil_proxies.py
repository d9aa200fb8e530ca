"""Proxies that break their protocol, stall or end: clear errors, in time, and nothing left open."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Literal

import anyio
import pytest

import trilane
from tests.peers.certificates import Certificates
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.scripted import Peer, Script, full_backlog, scripted_server
from trilane.transport.net import resolve
from trilane.transport.profile.invariants import order_violations

TARGET = "https://target.example:8443/upload"
METHODS, CONSENT = b"\x05\x00", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"
GREETING_BYTES, REQUEST_BYTES = 3, 4 + 1 + len("target.example") + 2


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


def says(*answers: bytes, then: str = "close") -> Script:
    """A SOCKS5 proxy that answers each message in turn, whatever it says."""

    def script(peer: Peer) -> None:
        for size, answer in zip((GREETING_BYTES, REQUEST_BYTES), answers, strict=False):
            peer.read_body(size)
            peer.send(answer)
        if then == "hold":
            peer.hold()
        elif then == "drain":
            peer.drain()

    return script


def answers(data: bytes, *, then: str = "close") -> Script:
    """An HTTP proxy that answers CONNECT with these bytes."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(data)
        if then == "hold":
            peer.hold()
        elif then == "drain":
            peer.drain()

    return script


def endless(peer: Peer) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.send(b"X-More: " + b"x" * 1000 + b"\r\n")


def silent(peer: Peer) -> None:
    peer.hold()


async def failure(
    scheme: str, port: int, *, connect_s: float | None = None, protocol: str = "http/1.1"
) -> trilane.TransportError:
    timeout = trilane.Timeouts(total_s=10, connect_s=connect_s)
    async with trilane.AsyncClient(
        proxy=f"{scheme}://127.0.0.1:{port}", timeout=timeout, verify=False
    ) as client:
        with pytest.raises(trilane.TransportError) as raised:
            await client.upload(TARGET, b"content", filename="a", protocol=protocol)  # type: ignore[arg-type]
    profile = raised.value.profile
    assert profile is not None
    assert order_violations(profile) == []
    assert profile.request_start is None
    assert profile.dns_start is None
    return raised.value


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (answers(b""), "ended the connection in the middle"),
        (answers(b"HTTP/1.1 200 O"), "ended the connection in the middle"),
        (answers(b"SSH-2.0-OpenSSH_9\r\n"), "does not speak HTTP: b'S'"),
        (answers(b"\x00" * 100), "does not speak HTTP"),
        (answers(b"HTTP/1.1 banana\r\n\r\n"), "broke HTTP"),
        (answers(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"), "broke HTTP"),
        (answers(b"HTTP/1.1 100 Continue\r\n\r\n" * 700), "head is larger than 16384 bytes"),
        (endless, "head is larger than 16384 bytes"),
        (answers(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "refused to connect: 403 Forbidden"),
        (answers(b"HTTP/1.1 502 \r\nContent-Length: 5\r\n\r\nhello"), "refused to connect: 502"),
        (
            answers(b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\n\r\n"),
            "wants NTLM; only Basic is supported",
        ),
    ],
)
async def test_http(script: Script, message: str) -> None:
    with scripted_server(script) as server:
        error = await failure("http", server.port)

    assert isinstance(error, trilane.ProxyError)
    assert message in str(error)


async def test_bytes_after_the_consent_are_the_tunnels_and_no_tls() -> None:
    with scripted_server(answers(b"HTTP/1.1 200 OK\r\n\r\nHello, this is not TLS")) as server:
        error = await failure("http", server.port)

    assert isinstance(error, trilane.TlsError)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (says(b""), "ended the connection in the middle"),
        (says(b"\x05"), "ended the connection in the middle"),
        (says(b"HTTP/1.1 400 Bad\r\n\r\n"), "does not speak SOCKS5"),
        (says(b"\x05\xff"), "wants a user name and password"),
        (says(b"\x05\x02"), "a way it was not offered"),
        (says(b"\x05\x07"), "broke SOCKS5: a malformed message"),
        (says(METHODS, b""), "ended the connection in the middle"),
        (says(METHODS, CONSENT[:-1]), "ended the connection in the middle"),
        (says(METHODS, b"\x05\x00\x00\x09\x01\x00\x00"), "an unknown type of address, 9"),
        (says(METHODS, b"\x05\x00\x00\x03\x02\xff\xff\x00\x01"), "a malformed message"),
        (says(METHODS, b"\x05\x02"), "not allowed by its rules"),
        (says(METHODS, b"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"), "host unreachable"),
        (says(METHODS, b"\x05\x63\x00\x01\x00\x00\x00\x00\x00\x00"), "reply 99"),
    ],
)
async def test_socks5(script: Script, message: str) -> None:
    with scripted_server(script) as server:
        error = await failure("socks5h", server.port)

    assert isinstance(error, trilane.ProxyError)
    assert message in str(error)


async def test_a_tunnel_that_ends_at_once() -> None:
    with scripted_server(says(METHODS, CONSENT)) as server:
        error = await failure("socks5h", server.port)

    assert isinstance(error, trilane.TlsError)
    assert error.profile is not None
    assert error.profile.proxy_handshake_end is not None


STALLS: list[tuple[str, Script]] = [
    ("http", silent),
    ("http", answers(b"HTTP/1.1 200 OK\r\n", then="hold")),
    ("http", answers(b"HTTP/1.1 200 OK\r\n\r\n", then="hold")),
    ("https", silent),
    ("socks5h", silent),
    ("socks5h", says(METHODS, then="hold")),
    ("socks5h", says(METHODS, CONSENT[:5], then="hold")),
    ("socks5h", says(METHODS, CONSENT, then="hold")),
]


@pytest.mark.parametrize(("scheme", "script"), STALLS)
async def test_each_step_has_to_be_over_in_time(scheme: str, script: Script) -> None:
    with scripted_server(script) as server:
        error = await failure(scheme, server.port, connect_s=0.1)

    assert isinstance(error, trilane.ConnectTimeout)


@pytest.mark.parametrize(("scheme", "script"), [STALLS[0], STALLS[3], STALLS[-1]])
async def test_when_the_whole_time_is_up_the_profile_tells_of_the_proxy(
    scheme: str, script: Script
) -> None:
    with scripted_server(script) as server:
        proxy = f"{scheme}://127.0.0.1:{server.port}"
        async with trilane.AsyncClient(proxy=proxy, timeout=0.5, verify=False) as client:
            with pytest.raises(trilane.TotalTimeout) as raised:
                await client.upload(TARGET, b"content", filename="a", protocol="http/1.1")

    assert raised.value.phase == "connect"
    profile = raised.value.profile
    assert profile is not None
    assert profile.proxy == proxy
    first, *_, last = profile.attempts
    assert (first.protocol, first.outcome) == ("tcp", "won")
    assert (last.outcome, last.error) == ("cancelled", "the time was up")
    assert last.proxy == proxy


@pytest.mark.parametrize(
    ("scheme", "protocol"),
    [("http", "http/1.1"), ("https", "h2"), ("socks5h", "h2"), ("socks5h", "h3")],
)
async def test_a_proxy_of_which_nothing_is_heard(
    scheme: str, protocol: Literal["http/1.1", "h2", "h3"]
) -> None:
    with full_backlog() as port:
        proxy = f"{scheme}://127.0.0.1:{port}"
        async with trilane.AsyncClient(proxy=proxy, timeout=0.5, verify=False) as client:
            with pytest.raises(trilane.TotalTimeout) as raised:
                await client.upload(TARGET, b"content", filename="a", protocol=protocol)

    profile = raised.value.profile
    assert profile is not None
    assert profile.proxy == proxy
    assert {attempt.outcome for attempt in profile.attempts} == {"cancelled"}
    assert ("tcp", ("127.0.0.1", port)) in {
        (attempt.protocol, attempt.address) for attempt in profile.attempts
    }


TWO_ADDRESSES = {"target.example": ["192.0.2.1", "192.0.2.2"]}


@pytest.mark.parametrize(("status", "tries"), [(502, 2), (407, 1)])
async def test_another_address_is_tried_unless_the_password_is_wrong(
    status: int, tries: int
) -> None:
    refusal = f"HTTP/1.1 {status} No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"
    asked: list[bytes] = []

    def script(peer: Peer) -> None:
        asked.append(peer.read_head().split(b"\r\n")[0])
        peer.send(refusal.encode())

    with scripted_server(script) as server:
        async with trilane.AsyncClient(
            proxy=f"http://127.0.0.1:{server.port}",
            resolve=TWO_ADDRESSES,
            allow_address=lambda _: True,
        ) as client:
            with pytest.raises(trilane.ProxyError) as raised:
                await client.upload(TARGET, b"content", filename="a", protocol="http/1.1")

    assert raised.value.status == status
    expected = [b"CONNECT 192.0.2.1:8443 HTTP/1.1", b"CONNECT 192.0.2.2:8443 HTTP/1.1"]
    assert asked == expected[:tries]


async def test_a_client_certificate_is_for_the_origin_alone(certificates: Certificates) -> None:
    context = certificates.server.server_context("http/1.1")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(certificates.ca)
    shown: list[object] = []

    def script(peer: Peer) -> None:
        shown.append(peer.certificate())
        peer.read_head()

    with scripted_server(script, tls=context) as server:
        proxy = f"https://localhost:{server.port}"
        async with trilane.AsyncClient(
            proxy=proxy,
            verify=str(certificates.ca),
            cert=(certificates.client.cert, certificates.client.key),
        ) as client:
            with pytest.raises(trilane.ProxyError):
                await client.upload(TARGET, b"content", filename="a", protocol="http/1.1")

    assert shown == [None]


@pytest.mark.parametrize(("scheme", "script"), STALLS)
async def test_each_step_can_be_cancelled(scheme: str, script: Script) -> None:
    with scripted_server(script) as server:
        async with trilane.AsyncClient(
            proxy=f"{scheme}://127.0.0.1:{server.port}", verify=False
        ) as client:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.upload, TARGET, b"content")
                    while not server.accepted:
                        await anyio.sleep(0.01)
                    await anyio.sleep(0.05)
                    scope.cancel()
        assert scope.cancelled_caught
        # Nothing half-open is kept: the proxy sees the end of its connection when the test ends.
        assert server.accepted == 1


@pytest.mark.parametrize("protocol", ["http/1.1", "h3"])
async def test_a_name_that_does_not_fit_into_a_message(protocol: Literal["http/1.1", "h3"]) -> None:
    with scripted_server(silent) as server:
        proxy = f"socks5h://127.0.0.1:{server.port}"
        async with trilane.AsyncClient(proxy=proxy, verify=False) as client:
            with pytest.raises(trilane.ResolveError, match="255 bytes"):
                await client.upload(f"https://{'a.' * 128}b/", b"x", protocol=protocol)
        assert server.accepted == 0


async def test_a_literal_is_told_as_it_is_also_by_a_host_that_has_ipv6_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolve, "is_ipv6_only_towards", lambda host: host == "192.0.2.1")
    told = b""

    def script(peer: Peer) -> None:
        nonlocal told
        peer.read_body(GREETING_BYTES)
        peer.send(METHODS)
        told = peer.read_body(10)

    with scripted_server(script) as server:
        async with trilane.AsyncClient(
            proxy=f"socks5://127.0.0.1:{server.port}",
            resolve={"ipv4only.arpa": ["64:ff9b::c000:aa"]},
        ) as client:
            with pytest.raises(trilane.ProxyError):
                await client.upload("https://192.0.2.1/", b"content", filename="a")

    assert told == b"\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb"


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (b"\x01\x7f\0\0\1\0\0", "relays UDP at port 0"),
        (b"\x03\x00\0\0", "relays UDP at port 0"),
        (b"\x03\x01.\0\1", "relays UDP at a name without address"),
        (b"\x03\x05a\0\r\nb\0\1", "relays UDP at a name without address"),
        (b"\x03\x04\xc3\xa9\xc3\xa9\0\1", "relays UDP at a name without address"),
        (b"\x03\x46" + b"a" * 70 + b"\0\1", "relays UDP at a name without address"),
        (b"\x03\xff" + b"a" * 255 + b"\0\1", "a malformed message"),
        (b"\x03\x02\xff\xff\0\1", "a malformed message"),
    ],
)
async def test_a_relay_that_is_nowhere(bound: bytes, message: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_body(GREETING_BYTES)
        peer.send(METHODS)
        peer.read_body(10)
        peer.send(b"\x05\0\0" + bound)
        peer.drain()

    with scripted_server(script) as server:
        error = await failure("socks5h", server.port, protocol="h3")

    assert isinstance(error, trilane.ProxyError)
    assert message in str(error)


async def test_a_relay_ends_with_its_control_connection() -> None:
    """The datagrams go nowhere; that the association is over is what ends the attempt."""

    def script(peer: Peer) -> None:
        peer.read_body(GREETING_BYTES)
        peer.send(METHODS)
        peer.read_body(10)
        # A relay that takes datagrams and never answers: the discard port of nobody.
        peer.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01" + unanswered.to_bytes(2, "big"))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        unanswered = nobody.getsockname()[1]
        with scripted_server(script) as server:
            error = await failure("socks5h", server.port, protocol="h3")

    assert isinstance(error, trilane.ConnectError)
    assert "ended the relay" in str(error)
