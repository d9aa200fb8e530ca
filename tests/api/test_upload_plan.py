from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trilane.api.dialects import DIALECTS, dialect_named
from trilane.api.progress_meter import Percentage
from trilane.api.upload_plan import check_keys, read_callbacks, read_plan
from trilane.transport.config import HttpVersion, Preference, Timeouts
from trilane.transport.errors import UsageError

GOOD: dict[str, Any] = {"url": "http://127.0.0.1/", "filePath": "a.jpg", "name": "file"}


def test_defaults() -> None:
    plan = read_plan(GOOD)

    assert (plan.url, plan.file) == (GOOD["url"], "a.jpg")
    assert plan.connect == {
        "verify": True,
        "cert": None,
        "proxy": None,
        "resolver": None,
        "resolve": None,
    }
    assert plan.options == {
        "name": "file",
        "form": {},
        "headers": {},
        "filename": None,
        "content_type": None,
        "protocol": Preference(),
        "timeout": Timeouts(total_s=60.0),
        "high_performance": True,
        "profile": True,
    }


@pytest.mark.parametrize(
    ("option", "value", "key", "meaning"),
    [
        ("timeout", 1500, "timeout", Timeouts(total_s=1.5)),
        ("enableProfile", False, "profile", False),
        ("enableHttp2", True, "protocol", Preference(http2=True)),
        ("enableQuic", True, "protocol", Preference(http3=True)),
        ("protocol", "h3", "protocol", Preference(exactly=HttpVersion.HTTP3)),
        ("fileName", "b.jpg", "filename", "b.jpg"),
        ("fileType", "image/webp", "content_type", "image/webp"),
        ("header", {"X": "1"}, "headers", {"X": "1"}),
        ("formData", {"n": 1}, "form", {"n": 1}),
        ("useHighPerformanceMode", False, "high_performance", False),
    ],
)
def test_what_options_mean(option: str, value: object, key: str, meaning: object) -> None:
    options: dict[str, object] = {**read_plan(GOOD | {option: value}).options}

    assert options[key] == meaning


def test_a_path_object_is_a_path() -> None:
    assert read_plan(GOOD | {"filePath": Path("a.jpg")}).file == Path("a.jpg")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filePath": None}, "parameter.filePath should be String instead of Undefined;"),
        ({"url": 5}, "parameter.url should be String instead of Number;"),
        ({"name": True}, "parameter.name should be String instead of Boolean;"),
        ({"formData": '{"a": 1}'}, "parameter.formData should be Object instead of String;"),
        ({"header": [("a", "b")]}, "parameter.header should be Object instead of Array;"),
        ({"timeout": "60"}, "parameter.timeout should be Number instead of String;"),
        ({"timeout": True}, "parameter.timeout should be Number instead of Boolean;"),
        ({"timeout": -1}, "parameter.timeout should be greater than 0 instead of -1;"),
        ({"enableQuic": 1}, "parameter.enableQuic should be Boolean instead of Number;"),
        ({"formData": {1}}, "parameter.formData should be Object instead of set;"),
        ({"fileName": print}, "parameter.fileName should be String instead of Function;"),
        ({"protocol": "spdy"}, "protocol 'spdy' is none of"),
        ({"proxy": "ftp://user:secret@p"}, "proxy: its scheme is none of"),
        ({"proxy": 1}, "proxy must be a str or None"),
        ({"enableHttpDNS": True}, "enableHttpDNS needs a name server"),
        (
            {"enableHttpDNS": True, "resolver": "dns://127.0.0.1"},
            "enableHttpDNS needs a name server",
        ),
    ],
)
def test_wrong_values(changes: dict[str, object], message: str) -> None:
    given = {key: value for key, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(UsageError, match=re.escape(message)):
        read_plan(given)


def test_all_complaints_are_told_at_once() -> None:
    with pytest.raises(UsageError, match=r"url .*filePath .*name .*timeout "):
        read_plan({"timeout": []})


def test_an_unknown_key_is_refused_with_a_guess() -> None:
    with pytest.raises(UsageError, match=r"'sucess'; did you mean 'success'\?"):
        check_keys({"sucess": print}, DIALECTS["wx"].known_options())
    with pytest.raises(UsageError, match=r"no option 'zzz'$"):
        check_keys({"zzz": 1}, DIALECTS["wx"].known_options())


@pytest.mark.parametrize("key", ["success", "fail", "complete"])
def test_a_callback_must_be_callable(key: str) -> None:
    with pytest.raises(UsageError, match=f"parameter.{key} should be Function instead of String"):
        read_callbacks({key: "print"})


@pytest.mark.parametrize("key", ["success", "fail", "complete"])
def test_a_callback_that_would_have_to_be_awaited_is_refused(key: str) -> None:
    async def later(_: object) -> None: ...

    with pytest.raises(UsageError, match="it is async"):
        read_callbacks({key: later})


@pytest.mark.parametrize(
    ("dialect", "given", "seed"),
    [
        ("wx", {"fileName": "x", "header": None}, {"fileName": "x"}),
        ("mpx", {"usePromise": False, "name": "x"}, {"name": "x"}),
        ("alipay", {"fileName": "x"}, {"name": "x"}),
        ("alipay", {"fileName": "x", "name": "y"}, {"name": "y"}),
        ("alipay", {"name": "y", "fileName": "x"}, {"name": "y"}),
        (
            "alipay",
            {"headers": {"a": "b"}, "fileType": "image", "hideLoading": True},
            {"header": {"a": "b"}},
        ),
    ],
)
def test_dialects_rename(dialect: str, given: dict[str, object], seed: dict[str, object]) -> None:
    chosen = dialect_named(dialect)
    check_keys(given, chosen.known_options())

    assert chosen.seed_options(given) == seed


def test_dialects_name_the_progress() -> None:
    at = Percentage(50, 1, 2)

    assert DIALECTS["wx"].progress(at) == DIALECTS["mpx"].progress(at)
    assert DIALECTS["wx"].progress(at) == {
        "progress": 50,
        "totalBytesSent": 1,
        "totalBytesExpectedToSend": 2,
    }
    assert DIALECTS["alipay"].progress(at) == {
        "progress": 50,
        "totalBytesWritten": 1,
        "totalBytesExpectedToWrite": 2,
    }


@pytest.mark.parametrize("name", ["taro", "", 5])
def test_an_unknown_dialect_is_refused(name: object) -> None:
    with pytest.raises(UsageError, match="none of 'wx', 'mpx', 'alipay'"):
        dialect_named(name)
