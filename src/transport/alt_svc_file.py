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
from collections.abc import Iterable
from pathlib import Path

from .errors import InvalidUrl
from .hosts import ascii_host
from .message import parse_url
from .origins import KnownAlternative


def load_alternatives(path: Path) -> list[KnownAlternative]:
    """Read what is still fresh. Blocks; call it off the event loop."""
    try:
        entries = json.loads(path.read_text("utf-8"))["alternatives"]
        now_s = time.time()
        known = [
            KnownAlternative(
                parse_url(entry["origin"]).origin,
                (ascii_host(str(entry["host"])), int(entry["port"])),
                float(entry["expires_s"]) - now_s,
            )
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError, InvalidUrl):
        return []
    return [each for each in known if each.fresh_s > 0]


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
