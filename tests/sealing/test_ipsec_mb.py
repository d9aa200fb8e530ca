"""Intel's library: which versions are used, and that its managers are shared and forget keys."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from types import SimpleNamespace
from typing import cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.peers.multi_buffer import installed_library
from trilane.transport.protocols import ipsec_mb
from trilane.transport.protocols.ipsec_mb import InBursts, IpsecMb
from trilane.transport.protocols.sealing import AeadKey, Places, Row

find = ipsec_mb.installed.__wrapped__
KEY = bytes(range(100, 116))


def places() -> Places:
    message = Row(bytearray(40), 0, 40)
    beside = Row(bytearray(12), 0, 12)
    return Places(1, 20, message, message, beside, beside, 12)


def test_the_library_tells_its_version() -> None:
    version = installed_library().version
    assert (1, 3) <= tuple(map(int, version.split("."))) < (2, 1)


@pytest.mark.parametrize("number", [0x10200, 0x20100, 0x30000])
def test_versions_whose_header_was_not_read_are_not_used(number: int) -> None:
    library = cast("ctypes.PyDLL", SimpleNamespace(imb_get_version=lambda: number))
    with pytest.raises(OSError, match="unknown version"):
        IpsecMb(library)


@pytest.mark.parametrize("name", ["libof-nobody.so.1", "libc.so.6"])
def test_without_it_there_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(ipsec_mb, "_NAMES", (name,))
    assert find() is None


@pytest.mark.parametrize(("name", "value"), [("_GMAC", 10), ("_ENCRYPT", 2)])
def test_one_that_refuses_or_seals_otherwise_is_not_used(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    installed_library()
    assert find() is not None
    monkeypatch.setattr(ipsec_mb, name, value)
    assert find() is None


def test_managers_are_used_again_and_keys_are_not_kept() -> None:
    library = installed_library()
    library.give_back(library.take())
    gc.collect()
    idle = list(library._idle)
    sealer = InBursts(library, places())
    manager = sealer._manager
    assert manager in idle
    assert manager not in library._idle
    sealer.seal(AeadKey(AESGCM(KEY), KEY), 1, 20)
    assert any(manager._key_room)
    del sealer
    gc.collect()
    assert manager in library._idle
    assert not any(manager._key_room)


def test_a_manager_that_has_refused_is_not_used_again() -> None:
    library, laid = installed_library(), places()
    sealer = InBursts(library, laid)
    manager, key = sealer._manager, AeadKey(AESGCM(KEY), KEY)
    sealer.seal(key, 1, 20)
    before = bytes(laid.plain.room)
    sealer._jobs[ipsec_mb._IV] = 0
    with pytest.raises(RuntimeError, match="refused"):
        sealer.seal(key, 1, 20)
    assert laid.plain.room == before
    del sealer
    gc.collect()
    assert manager not in library._idle
    assert not any(manager._key_room)


LAST_WORDS = """
import atexit
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from trilane.transport.protocols.ipsec_mb import InBursts, installed
from trilane.transport.protocols.sealing import AeadKey, Places, Row

def send():
    before = bytes(room)
    sealer.seal(known, 1, 20)
    print(bytes(room[:36]) == AESGCM(key).encrypt(bytes(12), before[:20], bytes(12)))

atexit.register(send)  # before the first finalizer, so it is called after all of them
key, room = bytes(range(16)), bytearray(40)
known = AeadKey(AESGCM(key), key)
row, beside = Row(room, 0, 40), Row(bytearray(12), 0, 12)
sealer = InBursts(installed(), Places(1, 20, row, row, beside, beside, 12))
send()
"""


def test_who_sends_at_exit_sends_nothing_under_a_forgotten_key() -> None:
    installed_library()
    done = subprocess.run(
        [sys.executable, "-c", LAST_WORDS], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]


def test_as_many_managers_as_are_needed_at_once() -> None:
    library = installed_library()
    sealers = [InBursts(library, places()) for _ in range(len(library._idle) + 2)]
    assert len({sealer._manager.address for sealer in sealers}) == len(sealers)
