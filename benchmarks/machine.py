"""What a figure depends on beside the code: machine, kernel, versions, commit, windows."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import trilane
from trilane.transport.protocols.ipsec_mb import installed

from .loopback import system_congestion_control
from .peers import PEERS
from .receiver_process import Receiver

#: The receiver's libraries' own, stated because they bound what any client can send.
_RECEIVER_WINDOWS = {
    "h2 stream and connection bytes (Go net/http)": "1 MiB",
    "h3 stream bytes (quic-go 0.29)": "512 KiB growing to 6 MiB",
}


def machine(receiver: Receiver) -> dict[str, object]:
    """Everything a reader needs to judge the figures."""
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 - 3.11's too
        "cpu": _first(r"model name\s*:\s*(.+)", "/proc/cpuinfo"),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": _openssl(),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "src")),
        "versions": {k: v for peer in PEERS.values() for k, v in peer.versions().items()},
        "libcurl": _libcurl(),
        "libipsec_mb": library.version if (library := installed()) else "not installed",
        "receiver": receiver.compiler,
        "receiver_windows": _RECEIVER_WINDOWS,
        "tcp_congestion_control": system_congestion_control(),
        "socket_send_buffer": _sysctl("net/ipv4/tcp_wmem"),
        "trilane_quic": {
            "congestion_control": trilane.QuicOptions().congestion_control,
            "max_datagram_bytes": trilane.QuicOptions().max_datagram_bytes,
        },
    }


def _first(pattern: str, path: str) -> str:
    found = re.search(pattern, Path(path).read_text())
    return found[1] if found else "unknown"


def _sysctl(name: str) -> str:
    return Path("/proc/sys", name).read_text().strip()


def _openssl() -> str:
    import ssl  # noqa: PLC0415 - for its version only

    return ssl.OPENSSL_VERSION


def _libcurl() -> str:
    try:
        import pycurl  # noqa: PLC0415 - may be missing
    except ImportError:
        return "not installed"
    return str(pycurl.version)


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
