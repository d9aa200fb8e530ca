"""Aborting at every stage of an upload, on three protocols; the next upload is none the worse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

import trilane
from tests.api.diary import Diary
from trilane import UploadTask, uploadFile

ABORT = {"errMsg": "uploadFile:fail abort", "errno": 1}


def begun(options: Mapping[str, Any], diary: Diary, query: str, **changes: Any) -> UploadTask:
    task = uploadFile({**options, "url": options["url"] + query}, **changes, **diary.callbacks())
    diary.listen_to(task)
    return task


async def check_aborted(task: UploadTask, diary: Diary, options: Mapping[str, Any]) -> None:
    """It ended as aborted, once, whatever was told before, and nothing is left broken."""
    with pytest.raises(trilane.Aborted):
        await task
    task.abort()
    told = [entry for entry in diary.entries if entry[0] not in {"progress", "headers"}]
    assert told == diary.entries[-2:] == [("fail", ABORT), ("complete", ABORT)]
    assert (await uploadFile(options))["statusCode"] == 200


async def test_before_it_has_begun(options: Mapping[str, Any]) -> None:
    diary = Diary()
    task = begun(options, diary, "?delay=5000")
    task.abort()
    task.abort()

    await check_aborted(task, diary, options)


async def test_while_the_body_is_sent(options: Mapping[str, Any], tmp_path: Path) -> None:
    huge = tmp_path / "huge.bin"
    with huge.open("wb") as file:
        file.truncate(64 << 20)
    diary, sending = Diary(), anyio.Event()
    task = begun(options, diary, "?throttle=1000000", filePath=huge)
    task.onProgressUpdate(lambda _: sending.set())
    await sending.wait()
    task.abort()

    await check_aborted(task, diary, options)
    assert 0 < diary.told("progress")[-1]["totalBytesSent"] < 64 << 20


async def test_while_the_answer_is_awaited(options: Mapping[str, Any]) -> None:
    diary, sent = Diary(), anyio.Event()
    task = begun(options, diary, "?delay=5000")
    task.onProgressUpdate(lambda at: sent.set() if at["progress"] == 100 else None)
    await sent.wait()
    task.abort()

    await check_aborted(task, diary, options)
    assert diary.told("progress")[-1]["progress"] == 100


async def test_after_the_end(options: Mapping[str, Any]) -> None:
    diary = Diary()
    task = begun(options, diary, "")
    res = await task
    task.abort()
    task.abort()

    assert await task is res
    assert diary.entries[-2:] == [("success", res), ("complete", res)]


async def test_from_the_listener_that_hears_of_the_answer(options: Mapping[str, Any]) -> None:
    """The answer was faster than the word of its head: either ending is right, once."""
    diary = Diary()
    task = begun(options, diary, "")
    task.onHeadersReceived(lambda _: task.abort())
    with anyio.fail_after(10):
        try:
            await task
        except trilane.Aborted:
            assert diary.names()[-2:] == ["fail", "complete"]
        else:
            assert diary.names()[-2:] == ["success", "complete"]

    assert diary.names().count("complete") == 1
