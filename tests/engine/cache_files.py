"""Takes part in the use of one session file by several processes, and prints what it was given.

python -m tests.engine.cache_files PATH NAME ROUNDS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from trilane.transport.session_file import put_sessions, take_sessions
from trilane.transport.sessions import SessionKey, SessionStore

KEY = SessionKey("shared")


def main(path: Path, name: str, rounds: int) -> list[str]:
    """In each round, take what there is, and put a token of one's own there."""
    taken: list[str] = []
    for number in range(rounds):
        store = SessionStore()
        take_sessions(path, store)
        taken += [token.decode() for key, kept in store if key == KEY for token in kept.tokens]
        mine = SessionStore()
        mine.of(KEY).tokens.append(f"{name}-{number}".encode())
        put_sessions(path, mine)
    return taken


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))  # noqa: T201
