"""Every error has its errMsg and errno, in both vocabularies, from one table each."""

from __future__ import annotations

import inspect

import pytest

from tests.api.documents import names, table_of
from trilane.api.dialects import ALIPAY_CODES, DIALECTS
from trilane.api.error_table import ROWS, seed_failure
from trilane.transport import errors
from trilane.transport.errors import TransportError

TREE = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, TransportError)
]
# WeChat's public errno table, as far as it concerns uploads.
PUBLIC_ERRNOS = {0, 1, 3, 4, 5, 1001, *range(600000, 600012), 602000, 602001, 602300}


def error_of(kind: type[TransportError]) -> TransportError:
    match kind:
        case errors.SourceSizeChanged:
            return errors.SourceSizeChanged("why", declared_bytes=2, actual_bytes=1)
        case errors.StreamResetError:
            return errors.StreamResetError("why", error_code=8)
    if issubclass(kind, errors.ProxyError):
        return kind("why", proxy="http://proxy.example:80")
    return kind("why")


def test_the_tree_is_not_empty() -> None:
    assert len(TREE) > 25


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_class_has_a_row_of_its_own(kind: type[TransportError]) -> None:
    assert kind in ROWS


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_the_numbers_are_the_originals(kind: type[TransportError]) -> None:
    failure = seed_failure(error_of(kind))

    assert failure["errno"] in PUBLIC_ERRNOS
    assert failure["errMsg"].startswith("uploadFile:fail ")


def test_the_table_holds_nothing_else() -> None:
    assert set(ROWS) == set(TREE)


@pytest.mark.parametrize(
    ("error", "message", "errno"),
    [
        (errors.Aborted("by the user"), "uploadFile:fail abort", 1),
        (errors.TotalTimeout("60 s"), "uploadFile:fail timeout", 5),
        (errors.ReadTimeout("1 s"), "uploadFile:fail timeout", 5),
        (errors.InvalidUrl("no host"), "uploadFile:fail invalid URL: no host", 600009),
        (errors.SourceUnavailable("a.jpg"), "uploadFile:fail file not found: a.jpg", 1001),
        (errors.RedirectError("21"), "uploadFile:fail redirect cannot be followed: 21", 600008),
        (
            errors.ResolveError("x.invalid"),
            "uploadFile:fail upload fail:-105:net::ERR_NAME_NOT_RESOLVED: x.invalid",
            600001,
        ),
        (errors.ClientClosed(""), "uploadFile:fail fail:network interrupted error", 600003),
    ],
)
def test_texts_programs_compare(error: TransportError, message: str, errno: int) -> None:
    assert seed_failure(error) == {"errMsg": message, "errno": errno}


def test_a_subclass_of_the_users_takes_the_nearest_row() -> None:
    class Mine(errors.ConnectTimeout):
        pass

    assert seed_failure(Mine("x")) == seed_failure(errors.ConnectTimeout("x"))


def test_what_is_no_transport_error_is_an_internal_one() -> None:
    assert seed_failure(KeyError("x"))["errno"] == 4


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Aborted("x"), 9),
        (errors.SourceUnavailable("x"), 11),
        (errors.InvalidFormValue("x"), 11),
        (errors.InvalidUrl("x"), 20),
        (errors.TotalTimeout("x"), 12),
        (errors.ConnectError("x"), 12),
        (ZeroDivisionError("x"), 12),
    ],
)
def test_alipay_has_numbers_of_its_own(error: Exception, code: int) -> None:
    failure = DIALECTS["alipay"].failure(error)

    assert failure == {"error": code, "errorMessage": seed_failure(error)["errMsg"]}


def test_alipays_numbers_are_its_documented_ones() -> None:
    assert set(ALIPAY_CODES.values()) <= {4, 9, 11, 12, 20}


def test_the_documented_table_is_this_one() -> None:
    _, *rows = table_of("docs/errors.md", "error")

    assert [names(row[0]) for row in rows] == [[kind.__name__] for kind in ROWS]
    for kind, (_, errno, text, alipay) in zip(ROWS, rows, strict=True):
        assert (ROWS[kind].errno, ROWS[kind].reason) == (int(errno), *names(text))
        assert DIALECTS["alipay"].failure(error_of(kind))["error"] == int(alipay)
