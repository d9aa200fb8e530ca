"""Every parameter of the seed's table: its type, default and meaning, on three protocols.

The names, types and defaults are the document's own; what is here is one check for each.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import trilane
from tests.api.diary import Diary
from tests.facade import seed_document
from tests.facade.seed_document import Row
from tests.peers.receipt import Receipt
from tests.peers.servers import Endpoints
from trilane import uploadFile
from trilane.api.dialects import dialect_named
from trilane.api.upload_plan import read_plan

Options = Mapping[str, Any]
Check = Callable[[Options], Awaitable[None]]

#: One that fits, one that does not.
VALUES: Mapping[str, tuple[object, object]] = {
    "string": ("text", 1),
    "number": (1, "1"),
    "boolean": (True, 1),
    "Object": ({}, []),
    "function": (print, "print"),
}


@pytest.fixture
def options(row: Row, request: pytest.FixtureRequest, protocol: str, tmp_path: Path) -> Options:
    """What is required, and how to reach a server that tells what it got."""
    # Requests that are given up are for our own receiver: hypercorn's HTTP/3 does not survive them.
    name = "receiver" if row.name in {"timeout", "fail", "complete"} else "hypercorn"
    server: Endpoints = request.getfixturevalue(name)
    path = tmp_path / "photo.bin"
    path.write_bytes(bytes(range(256)) * 16)
    return {
        "url": server.url("https"),
        "filePath": str(path),
        "name": "picture",
        "verify": str(server.ca),
        "protocol": protocol,
    }


async def receipt(options: Options, **changes: Any) -> Receipt:
    return Receipt.from_json((await uploadFile(options, **changes))["data"])


def slow(options: Options) -> str:
    """Where an answer takes longer than anybody here waits."""
    return f"{options['url']}?delay=5000"


def default_of(name: str) -> bool:
    [default] = [row.default for row in seed_document.parameters() if row.name == name]
    return {"true": True, "false": False}[default]


# --- one check for each row ---------------------------------------------------------------------


async def url(options: Options) -> None:
    got = await receipt(options, url=f"{options['url']}/there")

    assert (got.method, got.target) == ("POST", "/upload/there")
    assert dict(got.headers)["content-type"].startswith("multipart/form-data; boundary=")


async def file_path(options: Options) -> None:
    [part] = (await receipt(options)).parts or ()

    content = bytes(range(256)) * 16
    assert (part.size, part.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert part.filename == "photo.bin"


async def name(options: Options) -> None:
    [part] = (await receipt(options, name="其他")).parts or ()

    assert part.name == "其他"


async def header(options: Options) -> None:
    got = await receipt(options, header={"X-Token": "t", "x-other": "o"})

    assert {("x-token", "t"), ("x-other", "o")} <= {(k.lower(), v) for k, v in got.headers}
    with pytest.raises(trilane.InvalidHeader, match="Referer"):
        await uploadFile(options, header={"Referer": "https://example.org/"})


async def form_data(options: Options) -> None:
    fields = {"user": "test", "名": "值", "n": 1.5, "yes": True}
    *got, _ = (await receipt(options, formData=fields)).parts or ()

    expected = {"user": b"test", "名": "值".encode(), "n": b"1.5", "yes": b"true"}
    assert {part.name: part.sha256 for part in got} == {
        key: hashlib.sha256(value).hexdigest() for key, value in expected.items()
    }
    assert all(part.filename is None for part in got)


async def timeout(options: Options) -> None:
    diary = Diary()
    with pytest.raises(trilane.TotalTimeout):
        await uploadFile(options, url=slow(options), timeout=150, **diary.callbacks())

    # Had it been taken for seconds, there would have been an answer.
    assert diary.told("fail") == [{"errMsg": "uploadFile:fail timeout", "errno": 5}]


async def enable_profile(options: Options) -> None:
    assert default_of("enableProfile") is True
    assert "profile" in await uploadFile(options)
    assert "profile" in await uploadFile(options, enableProfile=True)
    assert "profile" not in await uploadFile(options, enableProfile=False)


async def enable_http2(options: Options) -> None:
    assert default_of("enableHttp2") is False
    assert await chosen(options) == "http1.1"
    assert await chosen(options, enableHttp2=True) == "h2"


async def enable_quic(options: Options) -> None:
    assert default_of("enableQuic") is False
    # With a QUIC connection at hand there is no race for TCP to win.
    await uploadFile(options, protocol="h3")
    assert await chosen(options) == "http1.1"
    assert await chosen(options, enableQuic=True) == "quic"


async def chosen(options: Options, **flags: bool) -> str:
    """The protocol that is used when none is asked for by name."""
    res = await uploadFile({**options, "protocol": "auto"}, **flags)
    name: str = res["profile"]["protocol"]
    return name


async def success(options: Options) -> None:
    diary = Diary()
    refused = f"{options['url']}?status=500"
    res = await uploadFile(options, url=refused, success=diary.note("success"))

    assert res["statusCode"] == 500
    assert diary.entries == [("success", res)]


async def fail(options: Options) -> None:
    diary = Diary()
    callbacks = {"success": diary.note("success"), "fail": diary.note("fail")}
    task = uploadFile(options, url=slow(options), **callbacks)
    task.abort()
    with pytest.raises(trilane.Aborted):
        await task

    assert diary.entries == [("fail", {"errMsg": "uploadFile:fail abort", "errno": 1})]


async def complete(options: Options) -> None:
    diary = Diary()
    res = await uploadFile(options, **diary.callbacks())
    aborted = uploadFile(options, url=slow(options), **diary.callbacks())
    aborted.abort()
    with pytest.raises(trilane.Aborted):
        await aborted

    assert diary.names() == ["success", "complete", "fail", "complete"]
    assert diary.told("complete") == [res, *diary.told("fail")]


CHECKS: Mapping[str, Check] = {
    "url": url,
    "filePath": file_path,
    "name": name,
    "header": header,
    "formData": form_data,
    "timeout": timeout,
    "enableProfile": enable_profile,
    "enableHttp2": enable_http2,
    "enableQuic": enable_quic,
    "success": success,
    "fail": fail,
    "complete": complete,
}

every_row = pytest.mark.parametrize("row", seed_document.parameters(), ids=lambda row: row.name)


def test_every_row_has_a_check_and_every_check_a_row() -> None:
    assert set(CHECKS) == {row.name for row in seed_document.parameters()}


@every_row
async def test_meaning(options: Options, row: Row) -> None:
    await CHECKS[row.name](options)


@every_row
def test_type(row: Row) -> None:
    right, wrong = VALUES[row.type]
    complaint = f"parameter.{row.name} should be {row.type.capitalize()} instead of "
    fine = {"url": "https://127.0.0.1/", "filePath": "x", "name": "x", row.name: right}
    with pytest.raises(trilane.UsageError, match=re.escape(complaint)):
        uploadFile(fine | {row.name: wrong}).result()

    assert read_plan(fine)
    assert callable(right) is (row.type == "function")


@every_row
def test_what_is_required(row: Row) -> None:
    given = {"url": "https://127.0.0.1/", "filePath": "x", "name": "x"}
    given.pop(row.name, None)
    if not row.required:
        assert read_plan(given)
        return
    with pytest.raises(trilane.UsageError, match=f"{row.name} should be String instead of Undef"):
        uploadFile(given).result()


@every_row
def test_what_alipay_has_is_understood_in_its_dialect(row: Row) -> None:
    if row.on_alipay:
        alipay = dialect_named("alipay")
        assert row.name in alipay.known_options()
        assert alipay.seed_options({row.name: row}) == {row.name: row}


def test_the_result_has_what_alipay_has() -> None:
    promised = {row.name for row in seed_document.callback_fields() if row.on_alipay}

    assert promised == {"data", "statusCode"}
    assert promised <= dialect_named("alipay").result_keys
