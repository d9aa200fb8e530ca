"""Runs the receiver in this process: hypercorn for TCP, our own endpoint for QUIC."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
from aioquic.quic.configuration import QuicConfiguration
from anyio.abc import TaskStatus
from hypercorn.asyncio import serve as serve_on_asyncio
from hypercorn.config import Config
from hypercorn.trio import serve as serve_on_trio

from .address import ReceiverAddress
from .app import app
from .certificate import CertificateFiles, write_certificates
from .hypercorn_repairs import ignore_cancelled_connections, install
from .quic_endpoint import QuicEndpoint, quic_configuration
from .sockets import PortSockets, open_port

Backend = Literal["asyncio", "trio"]

_STOP_GRACE_S = 0.5
# hypercorn's own tasks may wait for clients that never speak again: end them after this.
_STOP_LIMIT_S = 2.0
_KEEP_ALIVE_S = 75.0
_KEEP_ALIVE_REQUESTS = 1_000_000


def run_receiver(
    ready: Callable[[ReceiverAddress], None],
    *,
    port: int = 0,
    cleartext_port: int | None = None,
    backend: Backend = "asyncio",
    stop_with_stdin: bool = False,
) -> None:
    """Serve on loopback until SIGINT or SIGTERM (or the end of standard input).

    Args:
        ready: called once, when connections are being accepted.
        port: the https port, TCP and UDP; 0 for a free one.
        cleartext_port: the http port; 0 for a free one, None for none.
        backend: the event loop.
        stop_with_stdin: stop when standard input ends too: with the process at its other end.

    Raises:
        OSError: a port is taken.
    """
    install()
    with (
        tempfile.TemporaryDirectory(prefix="trilane-receiver-") as folder,
        contextlib.closing(open_port(port, udp=True)) as secure,
        _cleartext(cleartext_port) as cleartext,
    ):
        files = write_certificates(Path(folder))
        address = ReceiverAddress(
            port=secure.port,
            cleartext_port=cleartext.port if cleartext else None,
            ca_path=str(files.ca),
        )
        server = _Server(
            config=_config(files, secure, cleartext),
            quic=quic_configuration(files),
            datagram_sockets=secure.udp,
            backend=backend,
            ready=partial(ready, address),
            stop_with_stdin=stop_with_stdin,
        )
        anyio.run(server.run, backend=backend)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    config: Config
    quic: QuicConfiguration
    datagram_sockets: tuple[socket.socket, ...]
    backend: Backend
    ready: Callable[[], None]
    stop_with_stdin: bool

    async def run(self) -> None:
        stop = anyio.Event()
        serve: Callable[..., Awaitable[None]] = serve_on_trio
        if self.backend == "asyncio":
            serve = serve_on_asyncio
            asyncio.get_running_loop().set_exception_handler(ignore_cancelled_connections)
        async with anyio.create_task_group() as tasks:
            await tasks.start(_stop_on_signal, stop)
            if self.stop_with_stdin:
                tasks.start_soon(_stop_on_stdin_end, stop)
            for sock in self.datagram_sockets:
                tasks.start_soon(QuicEndpoint(sock, self.quic, app, tasks).serve)
            tasks.start_soon(_cancel_when_overdue, stop, tasks.cancel_scope)
            self.ready()
            await serve(app, self.config, shutdown_trigger=stop.wait)
            tasks.cancel_scope.cancel()


@contextlib.contextmanager
def _cleartext(port: int | None) -> Iterator[PortSockets | None]:
    if port is None:
        yield None
        return
    with contextlib.closing(open_port(port, udp=False)) as sockets:
        yield sockets


def _config(files: CertificateFiles, secure: PortSockets, cleartext: PortSockets | None) -> Config:
    config = Config()
    config.certfile, config.keyfile = str(files.certificate), str(files.key)
    config.bind = _descriptors(secure.tcp)
    config.insecure_bind = _descriptors(cleartext.tcp if cleartext else ())
    config.alt_svc_headers = [f'h3=":{secure.port}"; ma=3600']
    config.loglevel = "ERROR"
    config.graceful_timeout = _STOP_GRACE_S
    config.keep_alive_timeout = _KEEP_ALIVE_S
    config.keep_alive_max_requests = _KEEP_ALIVE_REQUESTS
    return config


def _descriptors(sockets: Iterable[socket.socket]) -> list[str]:
    """Hand sockets over to hypercorn, which closes them from now on."""
    return [f"fd://{sock.detach()}" for sock in sockets]


async def _stop_on_signal(stop: anyio.Event, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            stop.set()


async def _stop_on_stdin_end(stop: anyio.Event) -> None:
    fd = sys.stdin.fileno()
    await anyio.wait_readable(fd)
    while os.read(fd, 4096):
        await anyio.wait_readable(fd)
    stop.set()


async def _cancel_when_overdue(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    await stop.wait()
    await anyio.sleep(_STOP_LIMIT_S)
    scope.cancel()
