"""Two hosts joined by an emulated link: namespaces, TUN devices and the forwarder between them."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from tests.link.namespaces import TUN_DEVICE, Namespace, namespace
from tests.link.shaper import Counts, Shape
from tests.peers.process import REPO_ROOT

CLIENT_ADDRESS, SERVER_ADDRESS = "10.55.0.1", "10.55.0.2"
CLIENT_ADDRESS_V6, SERVER_ADDRESS_V6 = "fd55::1", "fd55::2"
MTU_BYTES = 1500

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_INTERFACE_REQUEST = struct.Struct("=16sH22x")
_STOP_GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class LinkCounts:
    """What the link has carried and dropped so far."""

    up: Counts
    down: Counts
    unbound_packets: int
    """Sent to a NAT binding that is no more."""
    swallowed_packets: int
    """Sent into a black hole."""


class Link:
    """A client's and a server's host, and the wire between them."""

    def __init__(
        self,
        client: Namespace,
        server: Namespace,
        forwarder: subprocess.Popen[str],
        log: Path,
    ) -> None:
        self.client = client
        self.server = server
        self._forwarder = forwarder
        self._log = log

    def shape(self, up: Shape, down: Shape | None = None) -> LinkCounts:
        """Make the wire like this from now on; `down` is like `up` unless it is given.

        Losses of the two directions do not fall together: the second one has another seed.
        """
        down = down or replace(up, seed=up.seed + 1)
        return self._order({"do": "shape", "up": asdict(up), "down": asdict(down)})

    def rebind(self, address: str | None = None) -> LinkCounts:
        """Let the NAT forget the client's bindings; see `translation.Translation.rebind`."""
        return self._order({"do": "rebind", "address": address})

    def end_translation(self) -> LinkCounts:
        """Take the NAT away: packets cross as they are."""
        return self._order({"do": "end_translation"})

    def black_hole(self, *addresses: str) -> LinkCounts:
        """Let the client's packets to these addresses vanish, and only those."""
        return self._order({"do": "black_hole", "addresses": addresses})

    def counts(self) -> LinkCounts:
        """What crossed so far."""
        return self._order({"do": "counts"})

    def _order(self, command: Mapping[str, object]) -> LinkCounts:
        process = self._forwarder
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the forwarder was started without pipes")
        process.stdin.write(json.dumps(command) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the forwarder has died: {self._log.read_text(encoding='utf-8')}"
        answer = json.loads(line)
        return LinkCounts(
            _counts(answer["up"]),
            _counts(answer["down"]),
            answer["unbound_packets"],
            answer["swallowed_packets"],
        )


@contextmanager
def emulated_link(folder: Path, *, congestion_control: str = "reno") -> Iterator[Link]:
    """Two hosts with a perfect wire between them; `Link.shape` makes it worse.

    Args:
        folder: where the forwarder's log goes.
        congestion_control: of TCP on both hosts. The kernel's default differs between machines.
            Reno is built into every kernel and allowed in every namespace; like CUBIC, and unlike
            BBR, it fills the queue until it overflows.
    """
    with ExitStack() as stack:
        client = stack.enter_context(namespace("client"))
        server = stack.enter_context(namespace("server"))
        client_fd = _attach(stack, client, CLIENT_ADDRESS, CLIENT_ADDRESS_V6)
        server_fd = _attach(stack, server, SERVER_ADDRESS, SERVER_ADDRESS_V6)
        for host in (client, server):
            host.set_sysctl("net.ipv4.tcp_congestion_control", congestion_control)
            # What one test has learnt of the path must not speed up, or slow down, the next one.
            host.set_sysctl("net.ipv4.tcp_no_metrics_save", "1")
            # Linux refuses a client's QUIC once a second only; tests come back sooner.
            host.set_sysctl("net.ipv6.icmp.ratelimit", "0")
            host.set_sysctl("net.ipv4.icmp_ratelimit", "0")
        log = folder / "forwarder.log"
        forwarder = stack.enter_context(_forwarding(client_fd, server_fd, log))
        yield Link(client, server, forwarder, log)


def _attach(stack: ExitStack, host: Namespace, address: str, address_v6: str) -> int:
    """Give a host its end of the wire; returns the TUN device's descriptor, which stays here."""
    name = f"tl{os.getpid()}"
    fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    request = _INTERFACE_REQUEST.pack(name.encode(), _IFF_TUN | _IFF_NO_PI)
    fcntl.ioctl(fd, _TUNSETIFF, request)
    host.adopt(name)
    # No link-local address: its neighbour discovery would be counted as traffic.
    host.ip(f"link set {name} name link0 addrgenmode none mtu {MTU_BYTES} up")
    host.ip(f"address add {address}/24 dev link0")
    host.ip(f"-6 address add {address_v6}/64 dev link0 nodad")
    host.ip("route add default dev link0")
    host.ip("-6 route add default dev link0")
    return fd


@contextmanager
def _forwarding(client_fd: int, server_fd: int, log: Path) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "tests.link.forwarder", str(client_fd), str(server_fd)]
    with log.open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            pass_fds=(client_fd, server_fd),
            cwd=REPO_ROOT,
            start_new_session=True,
        )
    # It ends when its input does: with this process too, however that ends.
    with process:
        try:
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _counts(answer: Mapping[str, int]) -> Counts:
    return Counts(**{field.name: answer[field.name] for field in fields(Counts)})
