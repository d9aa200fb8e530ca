"""A name server over HTTPS that is not ours: dnsdist (RFC 8484 over h2) in front of dnsmasq.

dnsmasq has the records; dnsdist adds what dnsmasq cannot say: that a name does not exist, with the
SOA record that limits how long this holds (RFC 2308), and SERVFAIL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from tests.peers.certificates import Certificates
from tests.peers.process import find_program, free_port, running, tcp_ready, udp_ready
from tests.peers.servers import HOST, Endpoints

ADDRESS_TTL_S = 30
NEGATIVE_TTL_S = 7


@contextmanager
def dnsdist(
    folder: Path, certificates: Certificates, records: Sequence[str]
) -> Iterator[Endpoints]:
    """A DoH server for the zone trilane.test; at its `http_port` it speaks plain DNS.

    Args:
        folder: where it keeps its configuration and logs.
        certificates: the server's own is used.
        records: lines of dnsmasq's configuration.

    Raises:
        ProgramMissing: dnsdist or dnsmasq is not installed.
    """
    front, back = find_program("dnsdist", "dnsdist"), find_program("dnsmasq", "dnsmasq-base")
    back_port, front_port, https_port = free_port(), free_port(), free_port()
    back_config, front_config = folder / "dnsmasq.conf", folder / "dnsdist.conf"
    back_config.write_text(
        _DNSMASQ_CONF.format(port=back_port, records="\n".join(records)), encoding="utf-8"
    )
    identity = certificates.server
    front_config.write_text(
        _DNSDIST_CONF.format(
            back_port=back_port,
            front_port=front_port,
            https_port=https_port,
            cert=identity.cert,
            key=identity.key,
            negative_s=NEGATIVE_TTL_S,
        ),
        encoding="utf-8",
    )
    with (
        running(
            [back, "--keep-in-foreground", f"--conf-file={back_config}", "--log-facility=-"],
            log=folder / "dnsmasq.log",
            ready=lambda _: udp_ready(back_port),
        ),
        running(
            [front, "--supervised", "--disable-syslog", "-C", str(front_config)],
            log=folder / "dnsdist.log",
            ready=lambda _: tcp_ready(https_port),
        ) as server,
    ):
        yield Endpoints(
            "dnsdist", server, certificates.ca, https_port=https_port, http_port=front_port
        )


def https_record(owner: str, priority: int, target: str, parameters: dict[int, bytes]) -> str:
    """A line of dnsmasq's configuration with an HTTPS record (RFC 9460 §2.2)."""
    data = struct.pack("!H", priority) + wire_name(target)
    for key, value in sorted(parameters.items()):
        data += struct.pack("!HH", key, len(value)) + value
    return f"dns-rr={owner},65,{data.hex()}"


def wire_name(name: str) -> bytes:
    """A name in wire format; empty for the root."""
    labels = [label.encode("ascii") for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def alpn(*protocols: str) -> dict[int, bytes]:
    return {1: b"".join(bytes([len(each)]) + each.encode("ascii") for each in protocols)}


def port(number: int) -> dict[int, bytes]:
    return {3: struct.pack("!H", number)}


def hint(address: str) -> dict[int, bytes]:
    return {4: IPv4Address(address).packed}


def host_record(name: str, address: str = HOST) -> str:
    return f"host-record={name},{address},{ADDRESS_TTL_S}"


_DNSMASQ_CONF = """\
port={port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
pid-file=
local-ttl=30
user=
local=/trilane.test/
{records}
"""

_DNSDIST_CONF = """\
setACL("127.0.0.0/8")
setLocal("127.0.0.1:{front_port}")
newServer({{address="127.0.0.1:{back_port}", healthCheckMode="up"}})
addDOHLocal("127.0.0.1:{https_port}", "{cert}", "{key}", "/dns-query", {{}})
addAction(
    "gone.trilane.test.",
    SetNegativeAndSOAAction(
        true, "trilane.test.", 60, "ns.trilane.test.", "root.trilane.test.",
        1, 2, 3, 4, {negative_s}
    )
)
addAction("broken.trilane.test.", RCodeAction(DNSRCode.SERVFAIL))
"""
