"""What `success` and the header listeners get: text, header and cookies, on three protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.api.diary import Diary
from tests.peers.servers import Endpoints
from trilane import uploadFile


@pytest.fixture
def options(options: Mapping[str, Any], hypercorn: Endpoints) -> Mapping[str, Any]:
    """To the server that answers as it is told."""
    return {**options, "url": hypercorn.url("https"), "verify": str(hypercorn.ca)}


def answering(options: Mapping[str, Any], **switches: str | int) -> dict[str, Any]:
    return {**options, "url": f"{options['url']}?{urlencode(switches)}"}


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("文件".encode(), "application/json", "文件"),
        ("文件".encode("gbk"), "text/plain; charset=gbk", "文件"),
        (b'\xef\xbb\xbf{"a": 1}', "application/json", '{"a": 1}'),
        (b"\xef\xbb\xbf\xef\xbb\xbfa", "text/plain", "\ufeffa"),
        (b"a\xff", "text/plain", "a\ufffd"),
        (b"", "text/plain", ""),
    ],
)
async def test_data_is_text(
    options: Mapping[str, Any], body: bytes, content_type: str, text: str
) -> None:
    res = await uploadFile(answering(options, body_hex=body.hex(), type=content_type))

    assert res["data"] == text


@pytest.mark.parametrize("status", [200, 201, 299, 304, 404, 500, 599])
async def test_every_status_is_a_success(options: Mapping[str, Any], status: int) -> None:
    diary = Diary()
    task = uploadFile(answering(options, status=status, body_hex=""), **diary.callbacks())
    res = await task

    assert (res["statusCode"], res["errMsg"]) == (status, "uploadFile:ok")
    assert diary.entries == [("success", res), ("complete", res)]


async def test_header_and_cookies(options: Mapping[str, Any]) -> None:
    diary = Diary()
    task = uploadFile(answering(options, type="text/plain", cookies="a=1; Path=/|b=2"))
    diary.listen_to(task)
    res = await task

    header = {name.lower(): value for name, value in res["header"].items()}
    assert header["content-type"] == "text/plain"
    assert res["cookies"] == ["a=1; Path=/", "b=2"]
    assert diary.told("headers") == [{"header": res["header"]}]
