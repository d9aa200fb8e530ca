"""The scripted peers do what their names say, seen from a plain socket."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from functools import partial

import pytest

from tests.peers.certificates import Certificates
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.scripted import Peer, Script, full_backlog, refused_port, scripted_server

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_script_reads_a_request_and_answers() -> None:
    seen: list[bytes] = []

    def answer(peer: Peer) -> None:
        seen.append(peer.read_request())
        peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    with (
        no_leaked_descriptors(),
        scripted_server(answer) as server,
        connect(server.port) as client,
        client.makefile("rb") as reader,
    ):
        client.sendall(REQUEST)
        reply = reader.read()

    assert seen == [b"abc"]
    assert reply == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert server.accepted == 1


def test_reset_reaches_the_client() -> None:
    with (
        scripted_server(Peer.reset) as server,
        connect(server.port) as client,
        pytest.raises(ConnectionResetError),
    ):
        client.recv(1)


def test_reset_under_tls_reaches_the_client(certificates: Certificates) -> None:
    def reset_after_head(peer: Peer) -> None:
        peer.read_head()
        peer.reset()

    context = certificates.server.server_context()
    with (
        scripted_server(reset_after_head, tls=context) as server,
        connect(server.port) as raw,
        certificates.client_context().wrap_socket(raw, server_hostname="localhost") as client,
    ):
        client.sendall(REQUEST)
        # SSLSocket calls a reset an end of file; the socket below it tells the truth.
        with pytest.raises(ConnectionResetError):
            list(iter(partial(socket.socket.recv, client, 65536), b""))


def test_each_connection_follows_its_own_script() -> None:
    def say(text: bytes) -> Script:
        def script(peer: Peer) -> None:
            peer.send(text)

        return script

    replies: list[bytes] = []
    with scripted_server(say(b"first"), say(b"later")) as server:
        for _ in range(3):
            with connect(server.port) as client, client.makefile("rb") as reader:
                replies.append(reader.read())

    assert replies == [b"first", b"later", b"later"]


def test_leaving_ends_scripts_that_wait() -> None:
    def greet_and_hold(peer: Peer) -> None:
        peer.send(b"!")
        peer.hold()

    def greet_and_read(peer: Peer) -> None:
        peer.send(b"!")
        peer.read_head()

    with no_leaked_descriptors(), ExitStack() as clients:
        with scripted_server(greet_and_hold, greet_and_read) as server:
            first, second = (clients.enter_context(connect(server.port)) for _ in range(2))
            # A greeting proves that the connection was accepted and its script runs.
            assert first.recv(1) == second.recv(1) == b"!"

        assert first.recv(1) == second.recv(1) == b""


def test_failing_script_fails_the_test() -> None:
    def fail(peer: Peer) -> None:
        raise AssertionError("wrong request")

    with (
        pytest.raises(AssertionError, match="wrong request"),
        scripted_server(fail) as server,
        connect(server.port) as client,
    ):
        client.recv(1)


def test_client_that_refuses_the_certificate_does_not_fail_the_test(
    certificates: Certificates,
) -> None:
    context = certificates.unknown_ca.server_context()
    with (
        scripted_server(Peer.hold, tls=context) as server,
        connect(server.port) as raw,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        certificates.client_context().wrap_socket(raw, server_hostname="localhost")


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        ("expired", "certificate has expired"),
        ("wrong_host", "Hostname mismatch"),
        ("unknown_ca", "unable to get local issuer|self-signed"),
    ],
)
def test_bad_certificates_are_bad_in_their_own_way(
    certificates: Certificates, identity: str, reason: str
) -> None:
    context = getattr(certificates, identity).server_context()
    with (
        scripted_server(Peer.hold, tls=context) as server,
        connect(server.port) as raw,
        pytest.raises(ssl.SSLCertVerificationError, match=reason),
    ):
        certificates.client_context().wrap_socket(raw, server_hostname="localhost")


def test_full_backlog_does_not_answer() -> None:
    with full_backlog() as port, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), timeout=0.2)


def test_refused_port_refuses() -> None:
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        connect(port)


def test_leaked_descriptor_is_found() -> None:
    kept: list[socket.socket] = []
    with pytest.raises(AssertionError, match="left open"), no_leaked_descriptors(settle_s=0):
        kept.append(socket.socket())

    kept.pop().close()
