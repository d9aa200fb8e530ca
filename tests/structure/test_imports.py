"""Imports point downward, protocol machines do no I/O, and the package has one name."""

from __future__ import annotations

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.structure.modules import Import, Module, all_modules

LAYERS = (
    ("api.cli",),
    ("api",),
    ("transport.engine",),
    ("transport.pool",),
    ("transport.connector", "transport.doh_exchange", "transport.quality_meter"),
    ("transport.call", "transport.alt_svc_file", "transport.session_file", "transport.slots"),
    ("transport.origins",),
    ("transport.connections",),
    ("transport.net",),
    ("transport.protocols",),
    ("transport.policy",),
    (
        "transport.body",
        "transport.buffers",
        "transport.config",
        "transport.errors",
        "transport.facts",
        "transport.form",
        "transport.hosts",
        "transport.message",
        "transport.multipart",
        "transport.pins",
        "transport.profile",
        "transport.quality",
        "transport.sessions",
        "transport.sources",
    ),
)
"""From the faces down to the leaves. A module imports its own room and the layers below it;
leaves know each other, rooms that share any other layer do not."""

FREESTANDING = "api.receiver"
"""The built-in receiver judges the engine, so it shares no code with it."""

PACKAGE_MARKERS = ("", "transport")

NO_IO = ("transport.protocols", "transport.policy", "transport.quality")
IO_MODULES = {
    "anyio",
    "asyncio",
    "random",
    "select",
    "selectors",
    "sniffio",
    "socket",
    "ssl",
    "threading",
    "time",
    "trio",
}


def room_of(name: str) -> str | None:
    """The most specific entry of LAYERS a module belongs to."""
    rooms = [room for layer in LAYERS for room in (*layer, FREESTANDING) if is_within(name, room)]
    return max(rooms, key=len, default=None)


def is_within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def depth_of(room: str) -> int:
    return next(depth for depth, layer in enumerate(LAYERS) if room in layer)


def may_import(importer: str, target: str) -> bool:
    importer_room, target_room = room_of(importer), room_of(target)
    if importer_room == target_room or importer in PACKAGE_MARKERS:
        return True
    if importer_room is None or target_room is None or importer_room == FREESTANDING:
        return False
    if target_room == FREESTANDING:
        return importer_room == "api.cli"
    importer_depth, target_depth = depth_of(importer_room), depth_of(target_room)
    return importer_depth < target_depth or importer_depth == target_depth == len(LAYERS) - 1


@pytest.mark.parametrize(
    ("importer", "target", "allowed"),
    [
        ("api.client", "transport.engine", True),
        ("transport.engine", "api.client", False),
        ("transport.protocols.http2", "transport.connections.http2", False),
        ("transport.protocols.http1", "transport.net.tcp", False),
        ("transport.net.tls", "transport.protocols.tls_records", True),
        ("transport.net.dial", "transport.policy.eyeballs", True),
        ("transport.message", "transport.errors", True),
        ("transport.errors", "transport.protocols.events", False),
        ("api.receiver.app", "transport.errors", False),
        ("api.client", "api.receiver.app", False),
        ("api.cli.serve", "api.receiver.app", True),
    ],
)
def test_rule_tells_down_from_up(importer: str, target: str, allowed: bool) -> None:
    assert may_import(importer, target) is allowed


def test_every_module_has_a_room() -> None:
    homeless = [
        module.name
        for module in all_modules()
        if room_of(module.name) is None and module.name not in PACKAGE_MARKERS
    ]

    assert homeless == []


def test_imports_point_downward() -> None:
    wrong = [
        f"{module.name}:{found.line} imports {found.target}"
        for module, found in own_imports()
        if not may_import(module.name, found.target)
    ]

    assert wrong == []


def test_imports_make_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, found in own_imports():
        if found.at_import_time and found.target != module.name:
            graph.setdefault(module.name, set()).add(found.target)

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(f"import circle: {' -> '.join(exc.args[1])}")


def test_protocols_policy_and_quality_do_no_io() -> None:
    wrong = [
        f"{module.name}:{found.line} imports {found.target}"
        for module in all_modules()
        if any(is_within(module.name, room) for room in NO_IO)
        for found in module.imports()
        if not found.relative and found.target.split(".")[0] in IO_MODULES
    ]

    assert wrong == []


def test_own_modules_are_imported_relatively() -> None:
    wrong = [
        f"{module.name}:{found.line} imports {found.target}"
        for module in all_modules()
        for found in module.imports()
        if not found.relative and found.target.split(".")[0] in {"trilane", "src"}
    ]

    assert wrong == []


def test_package_is_never_called_src() -> None:
    # The whole suite has been collected by now, so every test module has been imported.
    assert [name for name in sys.modules if name.split(".")[0] == "src"] == []


def test_every_module_can_be_imported() -> None:
    # Also those that `import trilane` does not reach.
    script = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
assert not any(key.split(".")[0] == "src" for key in sys.modules)
"""
    names = [
        f"trilane.{module.name}" if module.name else "trilane"
        for module in all_modules()
        if not module.name.endswith("__main__")
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *names],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr


def own_imports() -> list[tuple[Module, Import]]:
    return [
        (module, found) for module in all_modules() for found in module.imports() if found.relative
    ]
