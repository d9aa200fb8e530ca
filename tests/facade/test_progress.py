"""The last progress event is 100 % before every success, on all three protocols."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest

import trilane
from tests.api.diary import Diary
from trilane import uploadFile

#: More than any buffer between us and the receiver holds.
HUGE_BYTES = 64 << 20


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(HUGE_BYTES)
    return path


async def uploaded(options: Mapping[str, Any], **changes: Any) -> tuple[dict[str, Any], Diary]:
    """The result, and what was told on the way to it."""
    diary = Diary()
    task = uploadFile(options, **changes, **diary.callbacks())
    diary.listen_to(task)
    return await task, diary


def events(diary: Diary) -> list[dict[str, Any]]:
    """The progress events, checked for what always holds."""
    told = diary.told("progress")
    for event in told:
        assert set(event) == {"progress", "totalBytesSent", "totalBytesExpectedToSend"}
        assert type(event["progress"]) is int
        assert 0 <= event["totalBytesSent"] <= event["totalBytesExpectedToSend"]
    assert told[-1]["progress"] == 100
    return told


async def test_all_of_it_was_sent(options: Mapping[str, Any]) -> None:
    res, diary = await uploaded(options, formData={"user": "test"})

    told = events(diary)
    size = (await anyio.Path(options["filePath"]).stat()).st_size
    percents = [event["progress"] for event in told]
    assert percents == sorted(set(percents))
    last = told[-1]
    assert last["totalBytesSent"] == last["totalBytesExpectedToSend"] > size
    assert res["profile"]["sendBytesCount"] > last["totalBytesSent"]
    # Everything was sent, and told, before the server could answer.
    assert diary.names()[-3:] == ["headers", "success", "complete"]


async def test_the_server_refused_the_rest(options: Mapping[str, Any], huge: Path) -> None:
    url = f"{options['url']}?status=413"
    res, diary = await uploaded(options, url=url, filePath=str(huge))

    assert res["statusCode"] == 413
    told = events(diary)
    percents = [event["progress"] for event in told]
    assert percents == sorted(set(percents))
    # There is nothing left to be sent, and how much was is no secret.
    assert told[-1]["totalBytesSent"] < HUGE_BYTES < told[-1]["totalBytesExpectedToSend"]
    assert diary.names()[-2:] == ["success", "complete"]


async def test_a_redirect_took_the_body_away(options: Mapping[str, Any], huge: Path) -> None:
    url = f"{options['url']}?redirect={quote(options['url'])}&code=303&early=1"
    res, diary = await uploaded(options, url=url, filePath=str(huge))

    assert res["statusCode"] == 200
    assert '"method": "GET"' in res["data"]
    assert events(diary)[-1]["totalBytesSent"] < HUGE_BYTES


async def test_a_redirect_begins_anew(options: Mapping[str, Any]) -> None:
    await anyio.Path(options["filePath"]).write_bytes(bytes(4 << 20))
    url = f"{options['url']}?redirect={quote(options['url'])}&code=307"
    res, diary = await uploaded(options, url=url)

    assert '"method": "POST"' in res["data"]
    percents = [event["progress"] for event in events(diary)]
    # Once at most: a listener is told the newest state, so the new beginning may have been missed.
    assert sum(later < earlier for earlier, later in pairwise(percents)) <= 1
    assert res["profile"]["redirectStart"] > 0


async def test_a_failure_does_not_pretend(options: Mapping[str, Any], huge: Path) -> None:
    diary = Diary()
    slowly = f"{options['url']}?throttle=1000000"
    task = uploadFile(options, url=slowly, filePath=str(huge), **diary.callbacks())
    diary.listen_to(task)
    task.onProgressUpdate(lambda _: task.abort())
    with pytest.raises(trilane.Aborted):
        await task

    percents = [event["progress"] for event in diary.told("progress")]
    assert percents
    assert 100 not in percents
    assert diary.names()[-2:] == ["fail", "complete"]
