"""The tables are read completely; otherwise what is missing from them would go unchecked."""

from __future__ import annotations

from tests.facade import seed_document

TYPES = {"string", "number", "boolean", "function", "Object"}


def test_no_row_is_overlooked() -> None:
    text = seed_document.text()
    head_and_line = 2

    assert len(seed_document.parameters()) == text.count("\n| ") - head_and_line
    assert len(seed_document.profile_fields()) == text.count("<tr><td>")
    assert len(seed_document.callback_fields()) == text.count("<tr>\n    <td>")


def test_rows_are_read_to_their_last_cell() -> None:
    timeout = next(row for row in seed_document.parameters() if row.name == "timeout")
    profile = next(row for row in seed_document.parameters() if row.name == "enableProfile")
    data = seed_document.callback_fields()[0]

    assert (timeout.type, timeout.required, timeout.on_alipay) == ("number", False, True)
    assert "毫秒" in timeout.meaning
    assert (profile.default, profile.on_alipay) == ("true", False)
    assert (data.name, data.on_alipay) == ("data", True)


def test_every_type_is_known_and_every_name_unique() -> None:
    for table in (
        seed_document.parameters(),
        seed_document.callback_fields(),
        seed_document.profile_fields(),
    ):
        assert {row.type for row in table} <= TYPES
        assert len({row.name for row in table}) == len(table)
