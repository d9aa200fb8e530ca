"""AsyncClient against a real HTTP/1.1 server, on both backends."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import trilane
from tests.api.receiver import PHOTO, Answer, Receiver
from trilane import AsyncClient, Part, Progress, ResponseHead


async def test_upload(receiver: Receiver, photo: Path) -> None:
    receiver.answers["/"] = Answer(201, "gut: ✓".encode(), (("Set-Cookie", "a=1"),))
    form: dict[str, str | float] = {"user": "test", "n": 1.5, "ok": True}
    async with AsyncClient() as client:
        response = await client.upload(receiver.url(), photo, name="picture", form=form)

    assert (response.status_code, response.text, response.cookies) == (201, "gut: ✓", ["a=1"])
    assert (response.http_version, response.url) == ("HTTP/1.1", receiver.url())
    assert receiver.received[0].parts() == {
        "user": (None, b"test"),
        "n": (None, b"1.5"),
        "ok": (None, b"true"),
        "picture": ("photo.jpg", PHOTO),
    }
    assert response.profile is not None
    assert response.profile.seed()["protocol"] == "http1.1"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux makes such stamps")
@pytest.mark.parametrize("asked", [False, True])
async def test_the_kernels_own_moments_are_there_when_asked_for(
    receiver: Receiver, photo: Path, asked: bool
) -> None:
    async with AsyncClient(kernel_timestamps=asked) as client:
        for _ in range(3):
            response = await client.upload(receiver.url(), photo)
            profile = response.profile
            assert profile is not None
            sample = profile.transport
            assert sample is not None
            moments = (sample.first_byte_sent, sample.last_byte_sent, sample.last_byte_acked)
            if not asked:
                assert moments == (None, None, None)
                continue
            first, last, acked = moments
            assert first is not None
            assert last is not None
            assert acked is not None
            assert first <= last <= acked
            assert profile.request_end is not None
            assert profile.request_acked == max(acked, profile.request_end)


async def test_what_a_file_can_be(receiver: Receiver, photo: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    async with AsyncClient() as client:
        with photo.open("rb") as file:
            for given in (str(photo), file, b"abcd", chunks(), iter([b"ab", b"cd"])):
                await client.upload(receiver.url(), given, filename="f", content_type="image/x")

    contents = [request.parts()["file"] for request in receiver.received]
    assert contents == [("f", PHOTO)] * 2 + [("f", b"abcd")] * 3
    assert all(b"Content-Type: image/x\r\n" in got.body for got in receiver.received)
    assert [got.headers.get("transfer-encoding") for got in receiver.received[3:]] == [
        "chunked"
    ] * 2


async def test_several_files(receiver: Receiver, photo: Path) -> None:
    async with AsyncClient() as client:
        await client.upload(receiver.url(), files=[Part("a", b"1"), Part("b", photo)])
        await client.upload(receiver.url(), b"0", files=iter([Part("a", b"1", filename="x")]))

    first, second = (request.parts() for request in receiver.received)
    assert first == {"a": ("blob", b"1"), "b": ("photo.jpg", PHOTO)}
    assert second == {"file": ("blob", b"0"), "a": ("x", b"1")}


async def test_request(receiver: Receiver, photo: Path) -> None:
    async with AsyncClient() as client:
        await client.request("GET", receiver.url("/a?b=c"))
        await client.request("PUT", receiver.url(), content=photo, headers={"Content-Type": "x/y"})

    got, put = receiver.received
    assert (got.method, got.path, got.body) == ("GET", "/a?b=c", b"")
    assert (put.method, put.body, put.headers["content-type"]) == ("PUT", PHOTO, "x/y")


async def test_connections_are_reused(receiver: Receiver) -> None:
    async with AsyncClient() as client:
        for _ in range(3):
            response = await client.upload(receiver.url(), b"x")

    assert len({request.client_port for request in receiver.received}) == 1
    assert response.profile is not None
    assert response.profile.socket_reused


async def test_callbacks(receiver: Receiver) -> None:
    progress: list[Progress] = []
    heads: list[ResponseHead] = []
    async with AsyncClient() as client:
        await client.upload(
            receiver.url(), bytes(1_000_000), on_progress=progress.append, on_headers=heads.append
        )

    assert [head.status for head in heads] == [200]
    sent = [at.sent for at in progress]
    assert sent == sorted(sent)
    assert sent[-1] == progress[-1].total == len(receiver.received[0].body)


async def test_callbacks_that_raise_are_logged(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    async with AsyncClient() as client:
        with caplog.at_level(logging.ERROR, "trilane"):
            response = await client.upload(receiver.url(), b"x", on_progress=fail, on_headers=fail)

    assert response.status_code == 200
    assert caplog.text.count("ZeroDivisionError") >= 2


async def test_redirects_are_followed_and_their_heads_kept_back(receiver: Receiver) -> None:
    receiver.answers["/old"] = Answer(307, b"", (("Location", "/new"),))
    heads: list[ResponseHead] = []
    async with AsyncClient() as client:
        moved = await client.upload(receiver.url("/old"), b"x", on_headers=heads.append)
        stayed = await client.upload(receiver.url("/old"), b"x", follow_redirects=False)

    assert (moved.status_code, moved.url) == (200, receiver.url("/new"))
    assert [head.status for head in heads] == [200]
    assert (stayed.status_code, stayed.headers["location"]) == (307, "/new")
    assert [request.path for request in receiver.received] == ["/old", "/new", "/old"]


async def test_a_profile_is_made_unless_refused(receiver: Receiver) -> None:
    async with AsyncClient() as client:
        response = await client.upload(receiver.url(), b"x", profile=False)

    assert response.profile is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"url": "ftp://127.0.0.1/"}, trilane.InvalidUrl),
        ({"file": None}, trilane.UsageError),
        ({"file": "missing.jpg"}, trilane.SourceUnavailable),
        ({"form": {"a": [1]}}, trilane.InvalidFormValue),
        ({"headers": {"Content-Type": "text/plain"}}, trilane.InvalidHeader),
        ({"headers": {"Referer": "x"}}, trilane.InvalidHeader),
        ({"protocol": "h9"}, trilane.UsageError),
        ({"timeout": -1}, trilane.UsageError),
        ({"retry_stale": "sometimes"}, trilane.UsageError),
        ({"time_out": 1}, TypeError),
    ],
)
async def test_arguments_that_cannot_be(
    receiver: Receiver, changes: dict[str, Any], error: type[Exception]
) -> None:
    arguments = {"url": receiver.url(), "file": b"x"} | changes
    async with AsyncClient() as client:
        with pytest.raises(error):
            await client.upload(**arguments)

    assert receiver.received == []


@pytest.mark.parametrize("method", ["", "GE T", "POST\r\n", "CONNECT"])
async def test_methods_that_cannot_be(receiver: Receiver, method: str) -> None:
    async with AsyncClient() as client:
        with pytest.raises(trilane.UsageError, match="method"):
            await client.request(method, receiver.url())


async def test_a_client_is_used_inside_its_block(receiver: Receiver) -> None:
    client = AsyncClient()
    with pytest.raises(trilane.UsageError, match="async with"):
        await client.upload(receiver.url(), b"x")
    async with client:
        await client.upload(receiver.url(), b"x")
    with pytest.raises(trilane.ClientClosed):
        await client.upload(receiver.url(), b"x")
    with pytest.raises(trilane.UsageError, match="new one"):
        await client.__aenter__()


async def test_the_clients_timeout_and_the_calls(receiver: Receiver) -> None:
    receiver.hold("/slow")
    async with AsyncClient(timeout=0.5) as client:
        with pytest.raises(trilane.TotalTimeout) as caught:
            await client.upload(receiver.url("/slow"), b"x")
        response = await client.upload(receiver.url(), b"x", timeout=None)

    assert response.status_code == 200
    assert caught.value.profile is not None
    assert caught.value.bytes_sent == len(receiver.received[0].body)


async def test_cancelling_a_call_leaves_the_client_usable(receiver: Receiver) -> None:
    receiver.hold("/slow")
    async with AsyncClient() as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.upload, receiver.url("/slow"), b"x")
            await anyio.to_thread.run_sync(receiver.await_arrival)
            tasks.cancel_scope.cancel()
        response = await client.upload(receiver.url(), b"x")

    assert response.status_code == 200


async def test_leaving_the_block_ends_the_calls_of_other_tasks(receiver: Receiver) -> None:
    receiver.hold("/slow")
    errors: list[BaseException] = []

    async def upload(client: AsyncClient) -> None:
        with pytest.raises(trilane.ClientClosed) as caught:
            await client.upload(receiver.url("/slow"), b"x")
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks, AsyncClient() as client:
        tasks.start_soon(upload, client)
        await anyio.to_thread.run_sync(receiver.await_arrival)

    assert len(errors) == 1
