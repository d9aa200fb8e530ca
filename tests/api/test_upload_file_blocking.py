"""uploadFile in a program without an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

import trilane
from tests.api.diary import Diary
from tests.api.receiver import Receiver
from trilane import UploadTask, uploadFile


@pytest.fixture
def options(receiver: Receiver, photo: Path) -> dict[str, Any]:
    return {"url": receiver.url(), "filePath": str(photo), "name": "picture"}


def test_order_and_thread(options: dict[str, Any]) -> None:
    diary = Diary()
    task = uploadFile(options, **diary.callbacks())
    res = task.result()
    diary.entries.append(("returned", res))

    assert diary.names() == ["success", "complete", "returned"]
    assert len(diary.threads) == 1
    assert threading.current_thread() not in diary.threads


def test_a_late_listener_is_told_the_last_event(
    receiver: Receiver, options: dict[str, Any]
) -> None:
    diary = Diary()
    task = uploadFile(options)
    res = task.result()
    diary.listen_to(task)
    # The thread for callbacks runs them in order: when this one has run, the others have, too.
    uploadFile(options).result()

    assert diary.told("progress") == [
        {
            "progress": 100,
            "totalBytesSent": len(receiver.received[0].body),
            "totalBytesExpectedToSend": len(receiver.received[0].body),
        }
    ]
    assert diary.told("headers") == [{"header": res["header"]}]


def test_a_failure_is_raised(options: dict[str, Any]) -> None:
    with pytest.raises(trilane.SourceUnavailable):
        uploadFile(options, filePath="/").result()


def test_a_timeout_of_waiting_leaves_the_upload_alone(
    receiver: Receiver, options: dict[str, Any]
) -> None:
    gate = receiver.hold("/")
    task = uploadFile(options)
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"not over after 0\.01 s"):
            task.result(timeout=0.01)
    gate.set()

    assert task.result(timeout=10)["statusCode"] == 200


def test_abort(receiver: Receiver, options: dict[str, Any]) -> None:
    receiver.hold("/")
    diary = Diary()
    task = uploadFile(options, **diary.callbacks())
    receiver.await_arrival()
    task.abort()
    with pytest.raises(trilane.Aborted):
        task.result()

    assert diary.names() == ["fail", "complete"]


def test_a_slow_callback_does_not_hold_up_uploads(
    receiver: Receiver, options: dict[str, Any]
) -> None:
    """The first callback waits until the second upload has arrived at the server."""
    both_arrived = threading.Event()
    waits: list[bool] = []
    first = uploadFile(options, success=lambda _: waits.append(both_arrived.wait(10)))
    receiver.await_arrival()
    second = uploadFile(options)
    receiver.await_arrival()
    both_arrived.set()

    assert first.result(timeout=10)["statusCode"] == 200
    assert second.result(timeout=10)["statusCode"] == 200
    assert waits == [True]


def test_a_callback_can_wait_for_its_own_upload_and_for_another(options: dict[str, Any]) -> None:
    seen: list[str] = []
    tasks: list[UploadTask] = []

    ready = threading.Event()

    def success(res: dict[str, Any]) -> None:
        ready.wait()
        seen.append("own" if tasks[0].result() is res else "wrong")
        other = uploadFile(options, complete=lambda _: seen.append("nested"))
        seen.append(other.result(timeout=10)["errMsg"])

    tasks.append(uploadFile(options, success=success))
    ready.set()
    tasks[0].result(timeout=10)

    assert seen == ["own", "nested", "uploadFile:ok"]


def test_a_callback_that_waits_too_long_is_told(
    receiver: Receiver, options: dict[str, Any]
) -> None:
    gate = receiver.hold("/slow")
    slow = uploadFile(options, url=receiver.url("/slow"))
    seen: list[str] = []

    def success(_: object) -> None:
        try:
            slow.result(timeout=0.01)
        except TimeoutError as error:
            seen.append(str(error))

    uploadFile(options, success=success).result(timeout=10)
    gate.set()
    slow.result(timeout=10)

    assert seen == ["the upload is not over after 0.01 s"]


def test_a_progress_listener_can_wait_for_the_end(options: dict[str, Any]) -> None:
    diary = Diary()
    ready = threading.Event()
    tasks: list[UploadTask] = []

    def listen(_: object) -> None:
        ready.wait()
        diary.note("progress")(tasks[0].result(timeout=10))

    options |= diary.callbacks()
    task = uploadFile(options)
    tasks.append(task)
    task.onProgressUpdate(listen)
    ready.set()
    task.result(timeout=10)
    uploadFile(options | {"success": None, "complete": None}).result()

    assert sorted(diary.names()[:2]) == ["complete", "success"]
    assert diary.names()[-1] == "progress"


def test_a_callback_cannot_end_the_thread_for_callbacks(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    def leave(_: object) -> None:
        raise SystemExit(3)

    diary = Diary()
    uploadFile(options, success=leave).result(timeout=10)
    uploadFile(options, complete=diary.note("complete")).result(timeout=10)

    assert diary.names() == ["complete"]
    assert "SystemExit" in caplog.text


@pytest.mark.parametrize("run", [asyncio.run, lambda coroutine: trio.run(lambda: coroutine)])
def test_an_upload_outlives_the_loop_it_was_made_in(
    receiver: Receiver, options: dict[str, Any], run: Any
) -> None:
    gate = receiver.hold("/")
    diary = Diary()

    async def main() -> UploadTask:
        return uploadFile(options, **diary.callbacks())

    task: UploadTask = run(main())
    gate.set()
    res = task.result(timeout=10)

    assert diary.entries == [("success", res), ("complete", res)]
    assert threading.current_thread() not in diary.threads


def test_an_upload_outlives_a_loop_that_has_only_stopped(
    receiver: Receiver, options: dict[str, Any]
) -> None:
    gate = receiver.hold("/")
    diary = Diary()

    async def main() -> UploadTask:
        return uploadFile(options, **diary.callbacks())

    loop = asyncio.new_event_loop()
    try:
        task = loop.run_until_complete(main())
        gate.set()
        res = task.result(timeout=10)
    finally:
        loop.close()

    assert diary.entries == [("success", res), ("complete", res)]


def test_a_task_made_without_a_loop_can_be_awaited(options: dict[str, Any]) -> None:
    task = uploadFile(options)

    async def main() -> int:
        status: int = (await task)["statusCode"]
        return status

    assert asyncio.run(main()) == 200
    assert trio.run(main) == 200


def test_many_uploads_at_once(receiver: Receiver, options: dict[str, Any]) -> None:
    diary = Diary()
    tasks = [uploadFile(options, **diary.callbacks()) for _ in range(50)]
    assert [task.result(timeout=30)["statusCode"] for task in tasks] == [200] * 50

    assert diary.names().count("success") == diary.names().count("complete") == 50
    # The clients' limit of parallel requests holds here, too.
    assert len({request.client_port for request in receiver.received}) <= 10


def test_a_forked_child_has_a_loop_of_its_own(receiver: Receiver, options: dict[str, Any]) -> None:
    gate = receiver.hold("/slow")
    of_parent = uploadFile(options, url=receiver.url("/slow"))
    receiver.await_arrival()
    child = os.fork()
    if not child:
        code = 1
        try:
            if uploadFile(options).result(timeout=10)["statusCode"] == 200:
                code = 2
                of_parent.result()
        except RuntimeError:
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    gate.set()

    assert os.waitstatus_to_exitcode(status) == 0
    assert of_parent.result(timeout=10)["statusCode"] == 200
