"""AES-GCM for many messages in one call of Intel's Multi-Buffer Crypto library, if that is there.

Of the 1.6 us that cryptography takes for a packet, a fifth is the cipher; the rest is spent on the
way into OpenSSL and back, for each packet anew. This library takes lists of messages. It is loaded
by its name as Debian and others install it (libipsec-mb1); nothing depends on it.

Used are functions that it exports, and the fields of IMB_MGR and IMB_JOB that its public header
declares. They lie where they do from version 1.3 to 2.0 (https://github.com/intel/intel-ipsec-mb,
lib/intel-ipsec-mb.h); how large a job is differs, and is observed. Tried are 1.3, 1.5 and 2.0.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from weakref import finalize

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .sealing import NONCE_BYTES, TAG_BYTES, AeadKey, OneByOne, Places, Row, Sealer

_NAMES = ("libIPSec_MB.so.2", "libIPSec_MB.so.1")
#: IMB_VERSION(1, 3, 0), and the first whose header has not been read: 2.1.
_OLDEST, _TOO_NEW = 0x10300, 0x20100
# Functions of IMB_MGR, by the size of the key where that matters.
_EXPAND_KEY = {16: 448, 32: 464}
_GET_NEXT_BURST, _SUBMIT_BURST = 952, 960
#: IMB_MAX_BURST_SIZE.
_MOST_JOBS = 128
# What of IMB_JOB is set, in words of eight bytes; what is not named stays zero.
_WORD_BYTES = 8
_ENC_KEYS, _DEC_KEYS, _KEY_BYTES = 0, 1, 2
_SRC, _DST, _CIPHER_BYTES, _HASH_BYTES = 3, 4, 6, 8
_IV, _IV_BYTES, _TAG, _TAG_SIZE = 9, 10, 11, 12
_AAD, _AAD_BYTES = 13, 14
# Pairs of four bytes: status and cipher mode (GCM), direction (encrypt) and hash (GMAC), order.
_STATUS_AND_MODE, _DIRECTION_AND_HASH, _ORDER = 16, 17, 18
_GCM, _ENCRYPT, _GMAC, _CIPHER_THEN_HASH = 5, 1, 9, 1
#: struct gcm_key_data has 1280 bytes at the most, and is aligned.
_KEY_ROOM_BYTES, _ALIGNMENT = 2048, 64


class _Manager:
    """An IMB_MGR and the key it has expanded; used by one connection at a time."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        """Make one.

        Raises:
            OSError: there is no memory, or the processor lacks what is needed.
        """
        self.address = address = library.alloc_mb_mgr(0)
        if not address:
            raise OSError("no memory for a multi-buffer manager")
        _when_gone(self, library.free_mb_mgr, address)
        # Which tries its own known answers.
        library.init_mb_mgr_auto(address, None)
        if library.imb_get_errno(address):
            raise OSError("the multi-buffer library does not work on this processor")
        self._jobs = (ctypes.c_void_p * _MOST_JOBS)()
        """Where the next jobs are to be written."""
        self._expand = {
            size: _function(address, at, None, ctypes.c_void_p, ctypes.c_void_p)
            for size, at in _EXPAND_KEY.items()
        }
        burst = ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p
        self._get = _function(address, _GET_NEXT_BURST, *burst)
        self._submit = _function(address, _SUBMIT_BURST, *burst)
        # From 1.4 on, jobs say to what they have been found to belong.
        self._set_session = getattr(library, "imb_set_session", None)
        self._get(address, 2, self._jobs)
        self.job_bytes = (self._jobs[1] or 0) - (self._jobs[0] or 0)
        self.broken = False
        """It has refused jobs, and may not be rid of them."""
        self._key_room = memoryview(bytearray(_KEY_ROOM_BYTES))
        start = _address(self._key_room)
        self.key = start + -start % _ALIGNMENT
        """Where the expanded key lies."""

    def expand(self, key: bytes) -> None:
        """Expand an AES key of 16 or 32 bytes."""
        self._expand[len(key)](key, self.key)

    def recognise(self, job: int) -> None:
        """Have the library note what kind of job lies at this address, to be copied with it."""
        if self._set_session is not None:
            self._set_session(self.address, job)

    def run(self, jobs: int, count: int) -> None:
        """Carry out jobs which lie, one after the other, at an address.

        Raises:
            RuntimeError: the library did not.
        """
        address, size, places = self.address, self.job_bytes, self._jobs
        got = self._get(address, count, places)
        first, last = places[0] or 0, places[count - 1] or 0
        if got == count and last - first == (count - 1) * size:
            ctypes.memmove(first, jobs, count * size)
            if self._submit(address, count, places) == count:
                return
        self.broken = True
        raise RuntimeError("libIPSec_MB has refused messages")

    def forget(self) -> None:
        """Overwrite the key."""
        self._key_room[:] = bytes(_KEY_ROOM_BYTES)


class IpsecMb:
    """The library, and managers that are not in use."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        """Check it.

        Raises:
            OSError: it cannot be used here.
        """
        number = library.imb_get_version()
        if not _OLDEST <= number < _TOO_NEW:
            raise OSError(f"libIPSec_MB of an unknown version: {number:#x}")
        self.version = f"{number >> 16}.{number >> 8 & 0xFF}.{number & 0xFF}"
        self._library = library
        library.alloc_mb_mgr.restype = ctypes.c_void_p
        library.alloc_mb_mgr.argtypes = [ctypes.c_uint64]
        for function in (library.free_mb_mgr, library.imb_get_errno):
            function.argtypes = [ctypes.c_void_p]
        library.init_mb_mgr_auto.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        if hasattr(library, "imb_set_session"):
            library.imb_set_session.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        # To make one takes as long as 150 packets.
        self._idle = [_Manager(library)]

    def take(self) -> _Manager:
        """A manager that nobody else uses."""
        return self._idle.pop() if self._idle else _Manager(self._library)

    def give_back(self, manager: _Manager) -> None:
        """Keep one for others, if it works."""
        manager.forget()
        if not manager.broken:
            self._idle.append(manager)


@cache
def installed() -> IpsecMb | None:
    """The library, if it is there and seals as cryptography does."""
    for name in _NAMES:
        with suppress(OSError, AttributeError, RuntimeError):
            # Its calls take microseconds, so they keep the interpreter's lock.
            library = IpsecMb(ctypes.PyDLL(name))
            if _agrees(library):
                return library
    return None


def sealer_for(places: Places, library: IpsecMb | None) -> Sealer:
    """What seals the messages at these places; without the library, not in place."""
    return OneByOne(places) if library is None else InBursts(library, places)


class InBursts:
    """Seals the messages at their places in as few calls as they take; see `sealing.Sealer`."""

    def __init__(self, library: IpsecMb, places: Places) -> None:
        self._manager = manager = library.take()
        _when_gone(self, library.give_back, manager)
        self._places = places
        rows = places.plain, places.sealed, places.nonces, places.headers
        # What is viewed can neither move nor go.
        self._rooms = [memoryview(row.room) for row in rows]
        self._key: AeadKey | None = None
        self._words = manager.job_bytes // _WORD_BYTES
        """Of a job."""
        self._jobs = array("Q")
        """One for each of the messages; they are written anew for each key."""

    def seal(self, key: AeadKey, count: int, last_bytes: int) -> None:
        """See `Sealer.seal`.

        Raises:
            ValueError: there are not so many places, or they are smaller; or another cipher's key.
            RuntimeError: the library has refused.
        """
        manager, size = self._manager, self._places.size_bytes
        if not (0 < count <= self._places.count and 0 < last_bytes <= size):
            raise ValueError("messages beyond their places")
        if key is not self._key:
            self._take_key(key)
        if last_bytes != size:
            self._put_size(count - 1, last_bytes)
        try:
            address, step = self._jobs.buffer_info()[0], manager.job_bytes
            for start in range(0, count, _MOST_JOBS):
                manager.run(address + start * step, min(count - start, _MOST_JOBS))
        finally:
            if last_bytes != size:
                self._put_size(count - 1, size)

    def _take_key(self, key: AeadKey) -> None:
        if not key.is_aes_gcm:
            raise ValueError("a key of another cipher")
        self._key = None
        self._manager.expand(key.data)
        self._jobs = _jobs(self._manager, self._places, len(key.data))
        self._key = key

    def _put_size(self, index: int, size_bytes: int) -> None:
        jobs, job = self._jobs, index * self._words
        jobs[job + _CIPHER_BYTES] = jobs[job + _HASH_BYTES] = size_bytes
        jobs[job + _TAG] = jobs[job + _DST] + size_bytes


def _jobs(manager: _Manager, places: Places, key_bytes: int) -> array[int]:
    """A job for each of the messages."""
    words = manager.job_bytes // _WORD_BYTES
    one = array("Q", bytes(manager.job_bytes))
    one[_ENC_KEYS] = one[_DEC_KEYS] = manager.key
    one[_KEY_BYTES] = key_bytes
    one[_CIPHER_BYTES] = one[_HASH_BYTES] = places.size_bytes
    one[_IV_BYTES], one[_TAG_SIZE], one[_AAD_BYTES] = NONCE_BYTES, TAG_BYTES, places.header_bytes
    one[_STATUS_AND_MODE] = _GCM << 32
    one[_DIRECTION_AND_HASH] = _GMAC << 32 | _ENCRYPT
    one[_ORDER] = _CIPHER_THEN_HASH
    manager.recognise(one.buffer_info()[0])
    jobs = one * places.count
    columns = (_SRC, places.plain), (_DST, places.sealed), (_IV, places.nonces)
    for word, row in (*columns, (_AAD, places.headers)):
        jobs[word::words] = _addresses(row, places.count)
    tags = places.sealed.further(places.size_bytes)
    jobs[_TAG::words] = _addresses(tags, places.count)
    return jobs


def _addresses(row: Row, count: int) -> array[int]:
    first = _address(row.room) + row.first
    return array("Q", range(first, first + count * row.step, row.step))


def _address(room: bytearray | memoryview) -> int:
    """Where it lies: as long as it is not resized, which views of it prevent."""
    return ctypes.addressof(ctypes.c_char.from_buffer(room))


def _function(manager: int, at: int, result: type | None, *arguments: type) -> Callable[..., int]:
    """A function of IMB_MGR."""
    address = ctypes.c_void_p.from_address(manager + at).value or 0
    return ctypes.PYFUNCTYPE(result, *arguments)(address)


def _when_gone(user: object, callback: Callable[..., object], argument: object) -> None:
    """Call when nobody uses it any more; not at exit, when a thread may still send with it."""
    finalize(user, callback, argument).atexit = False


def _agrees(library: IpsecMb) -> bool:
    """Whether it seals as cryptography does."""
    key, nonce, header = bytes(range(16)), bytes(range(12)), b"header"
    plain = b"of more than one block"
    room = bytearray(nonce + header + plain + bytes(TAG_BYTES))
    at = len(nonce) + len(header)
    row = Row(room, at, len(plain) + TAG_BYTES)
    nonces, headers = Row(room, 0, len(nonce)), Row(room, len(nonce), len(header))
    places = Places(1, len(plain), row, row, nonces, headers, len(header))
    cipher = AESGCM(key)
    InBursts(library, places).seal(AeadKey(cipher, key), 1, len(plain))
    return room[at:] == cipher.encrypt(nonce, plain, header)
