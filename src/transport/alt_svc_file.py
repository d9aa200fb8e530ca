"""Alternative services in a file, so that the next process knows them.

JSON, one object per origin; expiry in epoch seconds. A file that is missing or cannot be understood
counts as empty: it is a cache. It is replaced as a whole, readable by its owner only, because it
tells where somebody has been.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path

from .hosts import ascii_host
from .message import parse_url
from .origins import KnownAlternative

#: What reading something else raises; JSON that is nested too deeply is a RecursionError.
_NOT_OURS = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)


def load_alternatives(path: Path) -> list[KnownAlternative]:
    """Read what is still fresh. Blocks; call it off the event loop."""
    try:
        entries = json.loads(path.read_text("utf-8"))["alternatives"]
        known = [_known(entry, time.time()) for entry in entries]
    except _NOT_OURS:
        return []
    return [each for each in known if 0 < each.fresh_s < inf]


def save_alternatives(path: Path, known: Iterable[KnownAlternative]) -> None:
    """Replace the file. Blocks; call it off the event loop.

    Raises:
        OSError: the folder cannot be written.
    """
    now_s = time.time()
    entries = [
        {
            "origin": str(each.origin),
            "host": each.address[0],
            "port": each.address[1],
            "expires_s": round(now_s + each.fresh_s),
        }
        for each in known
    ]
    # mkstemp makes the file readable by its owner only.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump({"version": 1, "alternatives": entries}, out, indent=1)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _known(entry: Mapping[str, object], now_s: float) -> KnownAlternative:
    host, port, expires_s = str(entry["host"]), entry["port"], entry["expires_s"]
    if not isinstance(port, int) or not 0 < port < 1 << 16:
        raise ValueError(f"port {port!r}")
    if not isinstance(expires_s, int | float):
        raise TypeError(f"expires_s {expires_s!r}")
    origin = parse_url(str(entry["origin"])).origin
    return KnownAlternative(origin, (ascii_host(host), port), float(expires_s) - now_s)
