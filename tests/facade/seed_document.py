"""What the `uploadFile` documentation promises, read from its own tables (`docs/uploadFile.md`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser

from tests.peers.process import REPO_ROOT

_PATH = REPO_ROOT / "docs" / "uploadFile.md"
_CALLBACK_COLUMNS, _PROFILE_COLUMNS = 5, 4
_YES = "是"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table."""

    name: str
    type: str
    """`string`, `number`, `boolean`, `function` or `Object`."""
    meaning: str
    default: str = ""
    required: bool = False
    on_alipay: bool = False


@cache
def text() -> str:
    """The document."""
    return _PATH.read_text(encoding="utf-8")


@cache
def parameters() -> Sequence[Row]:
    """The options of `uploadFile`: the Markdown table."""
    return tuple(_parameters())


@cache
def callback_fields() -> Sequence[Row]:
    """What `success` gets: the outer HTML table."""
    return tuple(
        Row(name=name, type=kind, meaning=meaning, on_alipay="✓" in alipay)
        for name, kind, meaning, _, alipay in _html_rows(_CALLBACK_COLUMNS)
    )


@cache
def profile_fields() -> Sequence[Row]:
    """What `res.profile` has: the HTML table inside."""
    return tuple(
        Row(name=name, type=kind, meaning=meaning)
        for name, kind, meaning, _ in _html_rows(_PROFILE_COLUMNS)
    )


def _parameters() -> Iterator[Row]:
    for line in text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        # Neither the head of the table nor the line below it begins with a name.
        if line.startswith("|") and re.fullmatch(r"[A-Za-z]\w*", cells[0]):
            name, kind, default, required, meaning, _, alipay = cells
            yield Row(
                name=name,
                type=kind,
                meaning=meaning,
                default=default,
                required=required == _YES,
                on_alipay="✓" in alipay,
            )


def _html_rows(columns: int) -> Iterator[Sequence[str]]:
    parser = _Tables()
    parser.feed(text())
    return (row for row in parser.rows if len(row) == columns)


class _Tables(HTMLParser):
    """The body rows of all tables, as the texts of their own cells; tables may be nested."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._open_rows: list[list[str]] = []
        self._open_cells: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self._open_rows.append([])
            self._open_cells.append(None)
        elif tag == "td":
            self._open_cells[-1] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._open_rows[-1].append((self._open_cells[-1] or "").strip())
            self._open_cells[-1] = None
        elif tag == "tr":
            self.rows.append(self._open_rows.pop())
            self._open_cells.pop()

    def handle_data(self, data: str) -> None:
        if self._open_cells and self._open_cells[-1] is not None:
            self._open_cells[-1] += data
