"""Form fields: what values they may have, and how those are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal

from .errors import InvalidFormValue, UsageError

FormValue = str | bool | int | float
FormInput = Mapping[str, FormValue] | Iterable[tuple[str, FormValue]]
"""Fields in order; pairs may repeat a key."""


def form_fields(form: FormInput) -> tuple[tuple[str, str], ...]:
    """Turn form data into pairs of text, in their order.

    A str stays as it is. Numbers and bools are written as JavaScript's `String()` writes them:
    `true`, `1.5`, `1` (also for 1.0), `1e+21`, `NaN`; an int has all its digits, as a BigInt has.

    Raises:
        InvalidFormValue: a key is not a str, or a value none of str, bool, int and float; the
            message names the key.
        UsageError: it is neither a mapping nor made of pairs.
    """
    if form == ():
        return ()
    pairs: object = form.items() if isinstance(form, Mapping) else form
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise UsageError(
            f"form data is {_a(form)}; give a mapping or pairs, and JSON as the value of a field"
        )
    return tuple(_field(pair) for pair in pairs)


def form_text(key: str, value: object) -> str:
    """How one value is written.

    Raises:
        InvalidFormValue: it cannot be.
    """
    match value:
        case str():
            return _encodable(key, str.__str__(value))
        case bool():
            return "true" if value else "false"
        case int():
            return _int_text(key, value)
        case float():
            return _float_text(value)
    raise InvalidFormValue(
        f"form value {key!r} is {_a(value)}; only str, bool, int and float"
        " can be sent: convert it first (json.dumps, isoformat ...)"
    )


def _field(pair: object) -> tuple[str, str]:
    match pair:
        case (str() as key, value):
            return _encodable(key, str.__str__(key)), form_text(key, value)
        case (key, _):
            raise InvalidFormValue(f"form key {key!r} is {_a(key)}, not a str")
    raise UsageError(f"form data must be pairs of key and value, not {pair!r}")


def _encodable(key: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidFormValue(
            f"form field {key!r} has a lone surrogate, which UTF-8 cannot carry"
        ) from None
    return text


def _int_text(key: str, value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError as exc:
        raise InvalidFormValue(f"form value {key!r}: {exc}") from None


def _float_text(value: float) -> str:
    """ECMA-262, Number::toString with radix 10."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    # Python's repr has the same shortest digits, in another layout.
    sign, digits, exponent = Decimal(float.__repr__(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    return "-" * sign + _laid_out(text, len(text) + int(exponent))


def _laid_out(digits: str, point: int) -> str:
    """Place the decimal point before digit number `point`, as the ECMA-262 steps say."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _a(value: object) -> str:
    kind = type(value).__name__
    return f"an {kind}" if kind[0] in "aeiouAEIOU" else f"a {kind}"
