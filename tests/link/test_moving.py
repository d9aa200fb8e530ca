"""A host gets another address in the middle of an upload, and for a moment has none at all."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.link.conftest import MakeLink
from tests.link.emulation import CLIENT_ADDRESS, SERVER_ADDRESS, Link
from tests.link.namespaces import require_programs
from tests.link.servers import make_identity
from tests.peers.process import find_program
from tests.peers.receivers import LogFollower, requests_in_gtlsserver_log

pytestmark = [pytest.mark.interop, pytest.mark.timeout(100)]

PORT = 4433
NEW_ADDRESS = "10.55.0.7"
DATA = random.Random(5).randbytes(2 << 20)
POLL_S = 0.02


def give(link: Link, address: str) -> None:
    link.client.ip(f"address add {address}/24 dev link0")
    link.client.ip("route add default dev link0")


@contextmanager
def back_home(link: Link) -> Iterator[None]:
    """Afterwards the client's host has its own address again."""
    try:
        yield
    finally:
        # With a host's last IPv4 address go its routes.
        link.client.ip("-4 address flush dev link0")
        give(link, CLIENT_ADDRESS)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_upload_goes_on_from_the_new_address(
    link: MakeLink, tmp_path: Path, backend: str
) -> None:
    require_programs(gtlsserver="ngtcp2-server", stdbuf="coreutils")
    wire = link(rtt_ms=20, rate_mbit=16)
    ca, identity = make_identity(tmp_path, SERVER_ADDRESS)
    (tmp_path / "upload").write_bytes(b"received\n")
    file = tmp_path / "file"
    file.write_bytes(DATA)
    program = [
        find_program("stdbuf", "coreutils"),
        "-eL",
        find_program("gtlsserver", "ngtcp2-server"),
    ]
    flags = ["--htdocs", str(tmp_path), "--no-quic-dump", SERVER_ADDRESS, str(PORT)]
    log = tmp_path / "gtlsserver.log"
    with (
        wire.server.serving(
            [*program, *flags, str(identity.key), str(identity.cert)], log=log, udp_ports=[PORT]
        ),
        back_home(wire),
        ThreadPoolExecutor(1) as threads,
    ):
        follower = LogFollower(log)
        url = f"https://{SERVER_ADDRESS}:{PORT}/upload"
        module = "tests.link.moving_upload"
        before = wire.counts().up.carried_bytes
        upload = threads.submit(wire.client.python, module, url, str(ca), str(file), backend)
        while wire.counts().up.carried_bytes - before < len(DATA) / 3 and not upload.done():
            time.sleep(POLL_S)
        wire.client.ip(f"address del {CLIENT_ADDRESS}/24 dev link0")
        # Long enough for the sender to find out that there is no way out.
        time.sleep(0.5)
        assert not upload.done()
        give(wire, NEW_ADDRESS)
        answer = json.loads(upload.result())
        [request] = requests_in_gtlsserver_log(follower)

    assert answer["status"] == 200
    assert answer["high_performance"]
    assert (answer["first"][0], answer["last"][0]) == (CLIENT_ADDRESS, NEW_ADDRESS)
    assert answer["first"][1] == answer["last"][1]
    assert hashlib.sha256(request.body).digest() == hashlib.sha256(DATA).digest()
