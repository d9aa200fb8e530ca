"""Canary: what the receiver overrides inside hypercorn is still there, and still used."""

from __future__ import annotations

import inspect

import hypercorn.asyncio.run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol

from trilane.api.receiver.hypercorn_repairs import ReceiverH2, ReceiverTcpServer, install


def test_overridden_methods_exist() -> None:
    for base, method, arguments in (
        (H2Protocol, "initiate", ["self", "headers", "settings"]),
        (H2Protocol, "_handle_events", ["self", "events"]),
        (H2Protocol, "_send_data", ["self", "stream_id"]),
        (H2Protocol, "_flush", ["self"]),
        (TCPServer, "_close", ["self"]),
    ):
        function = getattr(base, method)
        assert inspect.iscoroutinefunction(function), method
        assert list(inspect.signature(function).parameters) == arguments


def test_attributes_that_are_replaced_or_read_are_set_by_the_constructor() -> None:
    source = inspect.getsource(H2Protocol.__init__)
    for attribute in ("self.streams", "self.stream_buffers", "self.connection.local_settings"):
        assert attribute in source


def test_hypercorn_makes_its_connections_by_the_names_that_are_replaced() -> None:
    install()
    names = ProtocolWrapper.__init__.__globals__
    assert names["H2Protocol"] is ReceiverH2
    assert "H2Protocol(" in inspect.getsource(ProtocolWrapper)
    worker = hypercorn.asyncio.run.worker_serve
    assert worker.__globals__["TCPServer"] is ReceiverTcpServer
    assert "TCPServer(" in inspect.getsource(worker)
