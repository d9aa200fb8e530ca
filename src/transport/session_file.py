"""QUIC's tickets and tokens in a file, so that the next process resumes; TLS over TCP cannot.

A ticket is as good as a password for its session, and is to be used once (RFC 8446 §C.4). So the
file is its owner's alone, and who reads it takes it away: a second process that starts meanwhile
finds none. Written are JSON and Base64; CPython cannot write OpenSSL's sessions.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import stat
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path

from aioquic.tls import CipherSuite, SessionTicket

from .errors import UsageError
from .sessions import Kept, SessionKey, SessionStore

logger = logging.getLogger("trilane")

_VERSION = 1
_OWNER_ONLY = 0o077
#: What reading something else raises; JSON that is nested too deeply is a RecursionError.
_NOT_OURS = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, OSError, RecursionError),
)


def check_session_file(path: Path) -> None:
    """Refuse a file that somebody else could read or has made. Blocks.

    Raises:
        UsageError: it is not a regular file, not ours, or others may read it.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot look at the session file {str(path)!r}: {exc}") from exc
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"the session file {str(path)!r} is not a regular file")
    if found.st_uid != os.geteuid():
        raise UsageError(f"the session file {str(path)!r} belongs to somebody else")
    if found.st_mode & _OWNER_ONLY:
        raise UsageError(
            f"the session file {str(path)!r} is open to others (mode {found.st_mode & 0o777:o}): "
            "delete it, or chmod 600"
        )


def take_sessions(path: Path, store: SessionStore) -> None:
    """Move what a file has into a store; one that cannot be understood has nothing. Blocks.

    Raises:
        UsageError: the file is not safe; see `check_session_file`.
    """
    text = _take_away(path)
    if text is None:
        return
    try:
        _read(json.loads(text), store)
    except _NOT_OURS as exc:
        logger.warning("the session file %s cannot be understood: %r", path, exc)


def put_sessions(path: Path, store: SessionStore) -> None:
    """Replace a file by what a store has, and what other processes put there. Blocks.

    Raises:
        OSError: the folder cannot be written.
        UsageError: the file is not safe.
    """
    merged = SessionStore()
    take_sessions(path, merged)
    for key, kept in store:
        if key.context is None and (kept.tickets or kept.tokens):
            mine = merged.of(key)
            mine.tickets.extend(kept.tickets)
            mine.tokens.extend(kept.tokens)
    entries = {key.name: _written(kept) for key, kept in merged}
    if not entries:
        return
    # mkstemp makes the file readable by its owner only.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as out:
            json.dump({"version": _VERSION, "sessions": entries}, out, indent=1)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _take_away(path: Path) -> str | None:
    """Read the file and remove it; by renaming first, so that only one process gets it."""
    check_session_file(path)
    claimed = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(8).hex()}")
    try:
        path.rename(claimed)
    except OSError:
        return None
    try:
        check_session_file(claimed)  # it may have been exchanged meanwhile
        return claimed.read_text("utf-8", errors="replace")
    except OSError as exc:
        logger.warning("the session file %s cannot be read: %s", path, exc)
        return None
    finally:
        claimed.unlink(missing_ok=True)


def _read(document: Mapping[str, object], store: SessionStore) -> None:
    if document["version"] != _VERSION:
        raise ValueError(f"version {document['version']!r}")
    entries = document["sessions"]
    if not isinstance(entries, dict):
        raise TypeError("no sessions")
    for name, entry in entries.items():
        tickets = [_ticket(each) for each in entry["tickets"]]
        tokens = [b64decode(each, validate=True) for each in entry["tokens"]]
        kept = store.of(SessionKey(str(name)))
        kept.tickets.extend(ticket for ticket in tickets if ticket.is_valid)
        kept.tokens.extend(tokens)


def _ticket(entry: Mapping[str, object]) -> SessionTicket:
    """A ticket as `_written_ticket` wrote it; anything else is an error of its type or value."""
    extensions = entry["extensions"]
    size = entry["max_early_data_size"]
    if not isinstance(extensions, list) or not isinstance(size, int | None):
        raise TypeError("not a ticket")
    return SessionTicket(
        age_add=_whole(entry["age_add"]),
        cipher_suite=CipherSuite(_whole(entry["cipher_suite"])),
        not_valid_after=_time(entry["not_valid_after"]),
        not_valid_before=_time(entry["not_valid_before"]),
        resumption_secret=b64decode(str(entry["secret"]), validate=True),
        server_name=str(entry["server_name"]),
        ticket=b64decode(str(entry["ticket"]), validate=True),
        max_early_data_size=size,
        other_extensions=[(_whole(kind), b64decode(data)) for kind, data in extensions],
    )


def _written(kept: Kept) -> dict[str, object]:
    return {
        "tickets": [_written_ticket(ticket) for ticket in kept.tickets if ticket.is_valid],
        "tokens": [_base64(token) for token in kept.tokens],
    }


def _written_ticket(ticket: SessionTicket) -> dict[str, object]:
    return {
        "age_add": ticket.age_add,
        "cipher_suite": int(ticket.cipher_suite),
        "not_valid_after": ticket.not_valid_after.timestamp(),
        "not_valid_before": ticket.not_valid_before.timestamp(),
        "secret": _base64(ticket.resumption_secret),
        "server_name": ticket.server_name,
        "ticket": _base64(ticket.ticket),
        "max_early_data_size": ticket.max_early_data_size,
        "extensions": [[kind, _base64(data)] for kind, data in ticket.other_extensions],
    }


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _time(value: object) -> dt.datetime:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a time")
    return dt.datetime.fromtimestamp(value, dt.UTC)


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
