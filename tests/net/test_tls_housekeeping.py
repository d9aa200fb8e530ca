"""TLS housekeeping in the middle of an upload, as `openssl s_server` asks for it on command."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.peers.certificates import Certificates
from tests.peers.process import ProgramMissing, find_program
from trilane.transport.config import TlsOptions
from trilane.transport.errors import ConnectionLost
from trilane.transport.net.tcp import connect_tcp
from trilane.transport.net.tls import TlsStream, start_tls
from trilane.transport.net.tls_context import tls_setup

pytestmark = pytest.mark.interop

# Bytes s_server does not write of its own accord, so that what it received can be told apart.
ALPHABET = bytes(range(128, 256))
PIECE = ALPHABET * 512


@dataclass
class OpensslServer:
    """`openssl s_server`: what it reads on its standard input it obeys, or sends to the client."""

    process: subprocess.Popen[bytes]
    output: Path
    port: int

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def received(self) -> bytes:
        """The client's bytes, complete once the process has ended."""
        return bytes(byte for byte in self.output.read_bytes() if byte in ALPHABET)


@contextmanager
def openssl_server(
    certificates: Certificates, folder: Path, *options: str
) -> Iterator[OpensslServer]:
    try:
        program = find_program("openssl", "openssl")
    except ProgramMissing as exc:
        if os.environ.get("TRILANE_REQUIRE_INTEROP") == "1":
            pytest.fail(str(exc))
        pytest.skip(str(exc))
    output = folder / "s_server.out"
    identity = certificates.server
    argv = [program, "s_server", "-accept", "127.0.0.1:0", "-naccept", "1", *options]
    argv += ["-cert", str(identity.cert), "-cert_chain", str(identity.cert)]
    argv += ["-key", str(identity.key)]
    with (
        output.open("wb") as sink,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=sink, stderr=sink) as process,
    ):
        try:
            yield OpensslServer(process, output, _port(process, output))
        finally:
            process.kill()


def _port(process: subprocess.Popen[bytes], output: Path) -> int:
    deadline = time.monotonic() + 10
    while b"ACCEPT" not in output.read_bytes():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    line = next(line for line in output.read_text().splitlines() if line.startswith("ACCEPT"))
    return int(line.rpartition(":")[2])


async def connect(certificates: Certificates, server: OpensslServer) -> TlsStream:
    setup = await tls_setup(TlsOptions(verify=str(certificates.ca)), ())
    return await start_tls(await connect_tcp("127.0.0.1", server.port), setup, "localhost")


async def until_grown(count: list[int], stream: TlsStream) -> None:
    """Wait until the stream has received more than before."""
    with anyio.fail_after(10):
        while stream.wire.received_bytes == count[0]:
            await anyio.sleep(0.005)
    count[0] = stream.wire.received_bytes


@pytest.mark.parametrize("bulk", [False, True], ids=["openssl", "bulk"])
async def test_key_updates_in_the_middle_of_an_upload(
    certificates: Certificates, tmp_path: Path, bulk: bool
) -> None:
    answers: list[bytes] = []
    sent = 0

    async def receive(stream: TlsStream) -> None:
        while data := await stream.receive():
            answers.append(data)

    with openssl_server(certificates, tmp_path) as server:
        stream = await connect(certificates, server)
        if bulk:
            await stream.send(PIECE)
            sent += len(PIECE)
            assert stream.begin_bulk()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, stream)
            received = [stream.wire.received_bytes]
            await until_grown(received, stream)  # the session tickets
            for command in "KkKKk":  # K asks for an update of our keys too
                server.say(command)
                await stream.send(PIECE)
                await until_grown(received, stream)  # it takes no command for another one's text
                await stream.send(PIECE)
                sent += 2 * len(PIECE)
            server.say("hello")
            with anyio.fail_after(10):
                while b"".join(answers) != b"hello\n":
                    await anyio.sleep(0.005)
            assert stream.accepted_bytes == sent
            tasks.cancel_scope.cancel()
        stream.close()
        await anyio.to_thread.run_sync(server.process.wait, 10)
        assert server.received() == PIECE * (sent // len(PIECE))


async def test_renegotiation_is_refused(certificates: Certificates, tmp_path: Path) -> None:
    with openssl_server(certificates, tmp_path, "-tls1_2") as server:
        stream = await connect(certificates, server)
        assert stream.tls is not None
        assert stream.tls.version == "TLSv1.2"
        await stream.send(PIECE)
        server.say("r")  # our refusal is an alert, upon which s_server hangs up
        with anyio.fail_after(10), pytest.raises(ConnectionLost, match="handshake failure"):
            await stream.receive()
        stream.close()
