"""uploadFile awaited, on asyncio and on trio."""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

import trilane
from tests.api.diary import Diary
from tests.api.receiver import PHOTO, Answer, Receiver
from trilane import UploadTask, uploadFile

ABORT = {"errMsg": "uploadFile:fail abort", "errno": 1}


@pytest.fixture
def options(receiver: Receiver, photo: Path) -> dict[str, Any]:
    return {"url": receiver.url(), "filePath": str(photo), "name": "picture"}


async def test_the_result(receiver: Receiver, options: dict[str, Any]) -> None:
    cookies = (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    receiver.answers["/"] = Answer(500, b"\xef\xbb\xbf\xc2\xb5", cookies)
    options["formData"] = {"user": "test", "n": 2}
    options["header"] = {"X-Token": "t"}
    res = await uploadFile(options)

    assert (res["data"], res["statusCode"], res["errMsg"]) == ("µ", 500, "uploadFile:ok")
    assert res["cookies"] == ["a=1", "b=2"]
    assert res["header"]["Set-Cookie"] == "a=1, b=2"
    assert res["profile"]["protocol"] == "http1.1"
    assert json.loads(json.dumps(res)) == res
    (request,) = receiver.received
    assert request.headers["x-token"] == "t"
    assert request.parts() == {
        "user": (None, b"test"),
        "n": (None, b"2"),
        "picture": ("photo.jpg", PHOTO),
    }


async def test_order_and_payloads(receiver: Receiver, options: dict[str, Any]) -> None:
    diary = Diary()
    task = uploadFile(options, **diary.callbacks())
    diary.listen_to(task)
    res = await task
    diary.entries.append(("awaited", res))

    names = diary.names()
    assert names[0] == "progress"
    assert names[-4:] == ["headers", "success", "complete", "awaited"]
    assert diary.told("success")[0] is diary.told("complete")[0] is res
    size = len(receiver.received[0].body)
    assert diary.told("progress")[-1] == {
        "progress": 100,
        "totalBytesSent": size,
        "totalBytesExpectedToSend": size,
    }
    assert diary.told("headers") == [{"header": res["header"]}]
    assert diary.threads == {threading.current_thread()}


async def test_progress_of_a_large_file(
    receiver: Receiver, options: dict[str, Any], tmp_path: Path
) -> None:
    large = tmp_path / "large"
    await anyio.Path(large).write_bytes(bytes(20_000_000))
    diary = Diary()
    task = uploadFile(options, filePath=large)
    diary.listen_to(task)
    await task

    percents = [event["progress"] for event in diary.told("progress")]
    assert percents == sorted(set(percents))
    assert percents[-1] == 100
    assert all(isinstance(percent, int) for percent in percents)


async def test_an_empty_file_is_done_too(
    receiver: Receiver, options: dict[str, Any], tmp_path: Path
) -> None:
    await anyio.Path(tmp_path / "empty").touch()
    diary = Diary()
    task = uploadFile(options, filePath=tmp_path / "empty")
    diary.listen_to(task)
    await task

    assert [event["progress"] for event in diary.told("progress")][-1] == 100


async def test_the_options_are_not_changed_and_read_once(
    receiver: Receiver, options: dict[str, Any]
) -> None:
    options |= {"formData": {"a": "1"}, "header": {"X-A": "1"}, "success": None}
    before = {**options, "formData": {**options["formData"]}, "header": {**options["header"]}}
    task = uploadFile(options)
    assert options == before
    options["formData"]["a"] = "changed"
    options["header"]["X-A"] = "changed"
    options.clear()
    await task

    assert receiver.received[0].parts()["a"] == (None, b"1")
    assert receiver.received[0].headers["x-a"] == "1"


async def test_a_failure_is_told_and_raised(options: dict[str, Any]) -> None:
    diary = Diary()
    task = uploadFile(options, filePath="missing.jpg", **diary.callbacks())
    with pytest.raises(trilane.SourceUnavailable) as caught:
        await task
    with pytest.raises(trilane.SourceUnavailable):
        await task

    assert diary.names() == ["fail", "complete"]
    assert diary.told("fail")[0]["errno"] == 1001
    assert "missing.jpg" in diary.told("fail")[0]["errMsg"]
    assert caught.value.profile is not None


@pytest.mark.parametrize(
    ("changes", "error", "errno"),
    [
        ({"filePath": None}, trilane.UsageError, 1001),
        ({"url": "nonsense"}, trilane.InvalidUrl, 600009),
        ({"header": {"Referer": "x"}}, trilane.InvalidHeader, 600005),
        ({"header": {"content-type": "x/y"}}, trilane.InvalidHeader, 600005),
        ({"formData": {"a": {}}}, trilane.InvalidFormValue, 600010),
        ({"url": "http://127.0.0.1:1/"}, trilane.ConnectError, 600001),
        ({"verify": 5}, trilane.UsageError, 1001),
    ],
)
async def test_what_goes_wrong_arrives_through_fail(
    options: dict[str, Any], changes: dict[str, Any], error: type[Exception], errno: int
) -> None:
    diary = Diary()
    with pytest.raises(error):
        await uploadFile(options | changes, **diary.callbacks())

    assert diary.names() == ["fail", "complete"]
    assert diary.told("fail")[0]["errno"] == errno


@pytest.mark.parametrize(
    "given", [{"sucess": print}, {"success": "print"}, {"dialect": "taro"}, {"usePromise": True}]
)
async def test_what_could_not_be_told_is_raised(
    options: dict[str, Any], given: dict[str, Any]
) -> None:
    with pytest.raises(trilane.UsageError):
        uploadFile(options | given)


async def test_options_are_a_mapping() -> None:
    with pytest.raises(trilane.UsageError, match="mapping, not str"):
        uploadFile("http://127.0.0.1/")  # type: ignore[arg-type]  # the point


async def test_timeout(receiver: Receiver, options: dict[str, Any]) -> None:
    receiver.hold("/")
    diary = Diary()
    with pytest.raises(trilane.TotalTimeout):
        await uploadFile(options, timeout=50, **diary.callbacks())

    assert diary.told("fail") == [{"errMsg": "uploadFile:fail timeout", "errno": 5}]


async def test_abort_before_it_has_begun(receiver: Receiver, options: dict[str, Any]) -> None:
    # Should this thread not get its turn in time, the upload has begun, but not ended.
    receiver.hold("/")
    diary = Diary()
    task = uploadFile(options, **diary.callbacks())
    task.abort()
    task.abort()
    with pytest.raises(trilane.Aborted):
        await task

    assert diary.entries == [("fail", ABORT), ("complete", ABORT)]


async def test_abort_under_way(receiver: Receiver, options: dict[str, Any]) -> None:
    receiver.hold("/")
    diary = Diary()
    task = uploadFile(options, **diary.callbacks())
    await anyio.to_thread.run_sync(receiver.await_arrival)
    task.abort()
    task.abort()
    with pytest.raises(trilane.Aborted) as caught:
        await task

    assert diary.entries == [("fail", ABORT), ("complete", ABORT)]
    assert caught.value.bytes_sent == len(receiver.received[0].body)
    assert caught.value.profile is not None
    assert caught.value.profile.failed is not None


async def test_abort_from_a_listener(receiver: Receiver, options: dict[str, Any]) -> None:
    receiver.hold("/")
    diary = Diary()
    task = uploadFile(options, **diary.callbacks())
    task.onProgressUpdate(lambda _: task.abort())
    with pytest.raises(trilane.Aborted):
        await task

    assert diary.names() == ["fail", "complete"]


async def test_abort_after_the_end_is_too_late(options: dict[str, Any]) -> None:
    diary = Diary()
    task = uploadFile(options, **diary.callbacks())
    await task
    task.abort()
    assert (await task)["statusCode"] == 200

    assert diary.names() == ["success", "complete"]


async def test_listeners_can_leave(options: dict[str, Any]) -> None:
    diary, other = Diary(), Diary()
    task = uploadFile(options)
    diary.listen_to(task)
    task.offProgressUpdate()
    task.offHeadersReceived()
    leaving, staying = other.note("leaving"), other.note("staying")
    for listener in (leaving, staying):
        task.onProgressUpdate(listener)
        task.onHeadersReceived(listener)
    task.offProgressUpdate(leaving)
    task.offHeadersReceived(leaving)
    await task

    assert diary.entries == []
    assert set(other.names()) == {"staying"}


async def test_events_are_not_replayed(options: dict[str, Any]) -> None:
    diary = Diary()
    task = uploadFile(options)
    await task
    diary.listen_to(task)
    await anyio.lowlevel.checkpoint()
    await task

    assert diary.entries == []


async def test_callbacks_that_raise_break_nothing(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary()

    def fail(_: object) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "trilane"):
        task = uploadFile(options, success=fail, complete=diary.note("complete"))
        task.onProgressUpdate(fail)
        task.onHeadersReceived(fail)
        await task

    assert diary.names() == ["complete"]
    assert caplog.text.count("a callback raised") >= 3


async def test_cancelling_the_awaiter_aborts(receiver: Receiver, options: dict[str, Any]) -> None:
    receiver.hold("/")
    diary = Diary()
    task = uploadFile(options, **diary.callbacks())
    with anyio.move_on_after(0.05):
        await task
    with pytest.raises(trilane.Aborted):
        await task

    assert diary.names() == ["fail", "complete"]


async def test_many_can_await_one(options: dict[str, Any]) -> None:
    task = uploadFile(options)
    results: list[dict[str, Any]] = []

    async def wait() -> None:
        results.append(await task)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(wait)

    assert len({id(res) for res in results}) == 1


async def test_blocking_in_the_loop_is_refused_and_harmless(options: dict[str, Any]) -> None:
    seen: list[Any] = []
    task: UploadTask = uploadFile(options, success=lambda _: seen.append(task.result()))
    with pytest.raises(RuntimeError, match="await the task"):
        task.result()
    res = await task

    # Once the end is known, there is nothing to block for.
    assert seen == [res]
    assert task.result() is res


async def test_another_thread_can_block(options: dict[str, Any]) -> None:
    task = uploadFile(options)

    assert (await anyio.to_thread.run_sync(task.result))["statusCode"] == 200


async def test_callbacks_see_the_callers_context(options: dict[str, Any]) -> None:
    variable = contextvars.ContextVar("variable", default="nobody's")
    variable.set("the caller's")
    seen: list[str] = []
    await uploadFile(options, success=lambda _: seen.append(variable.get()))

    assert seen == ["the caller's"]


async def test_connections_are_kept_over_calls(receiver: Receiver, options: dict[str, Any]) -> None:
    reused = [(await uploadFile(options))["profile"]["socketReused"] for _ in range(3)]

    assert reused == [False, True, True]
    assert len({request.client_port for request in receiver.received}) == 1


async def test_profile_only_when_enabled(options: dict[str, Any]) -> None:
    assert "profile" not in await uploadFile(options, enableProfile=False)


async def test_invoke_start_is_the_call(options: dict[str, Any]) -> None:
    before_ms = time.time() * 1000
    task = uploadFile(options)
    after_ms = time.time() * 1000
    profile = (await task)["profile"]

    # The wall clock may be slewed against the monotonic one: a millisecond is allowed for that.
    assert before_ms - 1 <= profile["invokeStart"] <= after_ms + 1
    assert profile["invokeStart"] <= profile["queueStart"] <= profile["fetchStart"]


async def test_mpx(receiver: Receiver, options: dict[str, Any]) -> None:
    diary = Diary()
    promise: Any = uploadFile(options, dialect="mpx", usePromise=True, **diary.callbacks())
    diary.listen_to(promise.__returned)
    res = await promise

    assert (res["errMsg"], diary.names()[-2:]) == ("uploadFile:ok", ["success", "complete"])
    assert "headers" in diary.names()
    receiver.hold("/slow")
    aborted: Any = uploadFile(options, url=receiver.url("/slow"), dialect="mpx")
    aborted.__returned.abort()
    with pytest.raises(trilane.Aborted):
        await aborted
    with pytest.raises(AttributeError):
        _ = aborted.then


async def test_alipay(receiver: Receiver, options: dict[str, Any]) -> None:
    diary = Diary()
    del options["name"]
    options |= {
        "dialect": "alipay",
        "fileName": "picture",
        "fileType": "image",
        "hideLoading": True,
    }
    task = uploadFile(options, headers={"X-A": "1"}, **diary.callbacks())
    diary.listen_to(task)
    res = await task

    assert set(res) == {"data", "statusCode", "header", "profile"}
    size = len(receiver.received[0].body)
    assert diary.told("progress")[-1] == {
        "progress": 100,
        "totalBytesWritten": size,
        "totalBytesExpectedToWrite": size,
    }
    assert receiver.received[0].parts() == {"picture": ("photo.jpg", PHOTO)}
    assert receiver.received[0].headers["x-a"] == "1"
    with pytest.raises(trilane.SourceUnavailable):
        await uploadFile(options, filePath="missing.jpg", fail=diary.note("fail"))
    assert diary.told("fail")[0]["error"] == 11
    assert set(diary.told("fail")[0]) == {"error", "errorMessage"}


async def test_a_redirect_restarts_the_progress(
    receiver: Receiver, options: dict[str, Any]
) -> None:
    receiver.answers["/old"] = Answer(308, b"", (("Location", "/"),))
    diary = Diary()
    task = uploadFile(options, url=receiver.url("/old"))
    diary.listen_to(task)
    res = await task

    assert res["statusCode"] == 200
    assert diary.told("headers") == [{"header": res["header"]}]
    assert diary.told("progress")[-1]["progress"] == 100
    assert res["profile"]["redirectStart"] > 0
