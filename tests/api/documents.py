"""Tables of the documents in Markdown, to be compared with the ones in the code."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.peers.process import REPO_ROOT


def table_of(name: str, head: str) -> list[list[str]]:
    """The rows of the Markdown table that begins with this cell."""
    lines = (REPO_ROOT / name).read_text(encoding="utf-8").splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"| {head} |"))
    rows = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def names(cell: str) -> Sequence[str]:
    return re.findall("`(.*?)`", cell)
