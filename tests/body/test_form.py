"""Form values are written as JavaScript writes them, or refused by name."""

from __future__ import annotations

import enum
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilane.transport.errors import InvalidFormValue, UsageError
from trilane.transport.form import form_fields

# Each right-hand side was printed by `String(...)` of V8.
AS_JAVASCRIPT_WRITES = [
    (True, "true"),
    (False, "false"),
    (0, "0"),
    (-7, "-7"),
    (1.0, "1"),
    (1.5, "1.5"),
    (-1.5, "-1.5"),
    (0.0, "0"),
    (-0.0, "0"),
    (0.1 + 0.2, "0.30000000000000004"),
    (100.0, "100"),
    (123456.789, "123456.789"),
    (1e20, "100000000000000000000"),
    (123456789012345680000.0, "123456789012345680000"),
    (1e21, "1e+21"),
    (1.25e21, "1.25e+21"),
    (1e-6, "0.000001"),
    (1.5e-6, "0.0000015"),
    (1e-7, "1e-7"),
    (1.5e-7, "1.5e-7"),
    (-1e-7, "-1e-7"),
    (5e-324, "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (float("nan"), "NaN"),
    (float("inf"), "Infinity"),
    (float("-inf"), "-Infinity"),
]


@pytest.mark.parametrize(("value", "text"), AS_JAVASCRIPT_WRITES)
def test_numbers_and_bools_are_written_as_javascript_writes_them(value: float, text: str) -> None:
    assert form_fields({"k": value}) == (("k", text),)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_reads_back_and_has_the_layout_of_ecma_262(value: float) -> None:
    ((_, text),) = form_fields({"k": value})

    assert float(text) == value
    assert re.fullmatch(r"-?(0|[1-9]\d{0,20})(\.\d*[1-9])?|-?[1-9](\.\d*[1-9])?e[+-]\d+", text)


@given(st.integers())
def test_an_int_keeps_all_its_digits(value: int) -> None:
    assert form_fields({"k": value}) == (("k", str(value)),)


@given(st.lists(st.tuples(st.text(), st.text())))
def test_text_and_order_are_kept_and_keys_may_repeat(pairs: list[tuple[str, str]]) -> None:
    assert form_fields(pairs) == tuple(pairs)
    assert form_fields(iter(pairs)) == tuple(pairs)


def test_values_of_enumerations_are_written_not_their_names() -> None:
    class Colour(str, enum.Enum):  # noqa: UP042 -- the kind whose str() is not its value
        RED = "red"

    class Level(enum.IntEnum):
        HIGH = 3

    assert form_fields([("c", Colour.RED), ("l", Level.HIGH)]) == (("c", "red"), ("l", "3"))


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"bytes",
        [1],
        {"a": 1},
        Decimal(1),
        1j,
        object(),
        "\ud800",
        pytest.param(10**5000, id="more digits than int allows"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_its_key(value: Any) -> None:
    with pytest.raises(InvalidFormValue, match="'the key'"):
        form_fields([("fine", "x"), ("the key", value)])


@pytest.mark.parametrize("key", [1, None, b"k", "\udfff"])
def test_a_key_must_be_text(key: Any) -> None:
    with pytest.raises(InvalidFormValue, match=re.escape(repr(key))):
        form_fields([(key, "x")])


@pytest.mark.parametrize("form", ['{"a": 1}', b"a=1", 5, None, ["ab"], [("a", "b", "c")], [7]])
def test_what_is_neither_a_mapping_nor_pairs_is_refused(form: Any) -> None:
    with pytest.raises(UsageError, match="form data"):
        form_fields(form)
