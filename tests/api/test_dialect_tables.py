"""What the README says of the dialects is what their tables say."""

from __future__ import annotations

import pytest

from tests.api.documents import names, table_of
from trilane.api.dialects import DIALECTS
from trilane.api.progress_meter import Percentage
from trilane.transport import errors


@pytest.mark.parametrize("name", DIALECTS)
def test_the_dialects_of_the_readme(name: str) -> None:
    dialect = DIALECTS[name]
    head, *rows = table_of("README.md", "dialect")
    [column] = [n for n, cell in enumerate(head) if f"`{name}`" in cell]
    told = {row[0]: names(row[column]) for row in rows}

    pairs = [pair for alias in sorted(dialect.aliases.items()) for pair in alias]
    assert list(told["other names for options"]) == pairs
    assert set(told["accepted, without effect"]) == dialect.ignored
    assert set(told["`success` gets"]) == dialect.result_keys
    assert list(told["`fail` gets"]) == list(dialect.failure(errors.Aborted("x")))
    assert list(told["progress listeners get"]) == list(dialect.progress(Percentage(1, 1, 100)))
