"""Client and upload: the blocking faces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import trilane
from tests.api.receiver import PHOTO, Answer, Receiver
from trilane import Client, Progress

# Progress is told by the calling thread: it is inside the call by then, where Ctrl-C is to find it.
INTERRUPTED = """
import os, sys, trilane
def tell(progress): os.write(1, b"waiting\\n")
with trilane.Client() as client:
    try:
        client.upload(sys.argv[1], b"x", on_progress=tell)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        print(client.upload(sys.argv[2], b"y").status_code)
"""


def test_upload_and_request(receiver: Receiver, photo: Path) -> None:
    with Client() as client:
        response = client.upload(receiver.url(), photo, form={"user": "test"})
        got = client.request("GET", receiver.url("/a"))

    assert (response.status_code, response.text, got.status_code) == (200, "ok", 200)
    assert receiver.received[0].parts() == {"user": (None, b"test"), "file": ("photo.jpg", PHOTO)}
    assert got.profile is not None
    assert got.profile.socket_reused


def test_one_shot(receiver: Receiver, photo: Path) -> None:
    response = trilane.upload(receiver.url(), photo, name="f", http2=False, timeout=5)

    assert response.status_code == 200
    assert receiver.received[0].parts() == {"f": ("photo.jpg", PHOTO)}


def test_unknown_options_are_refused(receiver: Receiver) -> None:
    with pytest.raises(TypeError, match="'verfiy'"):
        trilane.upload(receiver.url(), b"x", verfiy=False)  # type: ignore[call-arg]  # the point
    with pytest.raises(TypeError, match="'http4'"):
        Client(http4=True)  # type: ignore[call-arg]  # the point


def test_callbacks_run_in_the_calling_thread(receiver: Receiver) -> None:
    where: set[threading.Thread] = set()
    sent: list[Progress] = []

    def on_progress(at: Progress) -> None:
        where.add(threading.current_thread())
        sent.append(at)

    def on_headers(_: object) -> None:
        where.add(threading.current_thread())
        raise ZeroDivisionError

    with Client() as client:
        response = client.upload(
            receiver.url(), bytes(2_000_000), on_progress=on_progress, on_headers=on_headers
        )

    assert response.status_code == 200
    assert where == {threading.current_thread()}
    assert sent[-1].sent == len(receiver.received[0].body)


def test_a_slow_callback_gets_the_newest_progress(receiver: Receiver) -> None:
    """While the first call is held up, everything else is sent; one more call tells about it.

    The last write, which the receiver has then, may still have to be accounted for, and what is
    acknowledged after it is told, too; but nothing twice.
    """
    sent: list[Progress] = []

    def on_progress(at: Progress) -> None:
        if not sent:
            receiver.await_arrival()
        sent.append(at)

    with Client() as client:
        client.upload(receiver.url(), bytes(8_000_000), on_progress=on_progress)

    assert len({at.sent for at in sent}) <= 3
    assert len(set(sent)) == len(sent)
    assert sent[-1].sent == len(receiver.received[0].body)


def test_threads_share_a_client(receiver: Receiver) -> None:
    with Client() as client, ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(client.upload, receiver.url(), b"%d" % n) for n in range(24)]
        assert [call.result().status_code for call in calls] == [200] * 24

    assert sorted(request.parts()["file"][1] for request in receiver.received) == sorted(
        b"%d" % n for n in range(24)
    )


def test_a_client_is_used_inside_its_block(receiver: Receiver) -> None:
    client = Client()
    with pytest.raises(trilane.UsageError, match="inside `with`"):
        client.upload(receiver.url(), b"x")
    with client:
        client.upload(receiver.url(), b"x")
        with pytest.raises(trilane.UsageError, match="new one"):
            client.__enter__()
    with pytest.raises(trilane.ClientClosed):
        client.upload(receiver.url(), b"x")


def test_leaving_the_block_ends_the_calls_of_other_threads(receiver: Receiver) -> None:
    receiver.hold("/slow")
    with ThreadPoolExecutor(1) as threads:
        with Client() as client:
            call = threads.submit(client.upload, receiver.url("/slow"), b"x")
            receiver.await_arrival()
        with pytest.raises(trilane.ClientClosed):
            call.result()


def test_failures_are_the_engines(receiver: Receiver) -> None:
    receiver.answers["/"] = Answer(413)
    with Client() as client:
        assert client.upload(receiver.url(), b"x").status_code == 413
        with pytest.raises(trilane.SourceUnavailable):
            client.upload(receiver.url(), "missing.jpg")


async def test_an_event_loop_is_not_blocked(receiver: Receiver, anyio_backend: str) -> None:
    with pytest.raises(RuntimeError, match=rf"{anyio_backend} event loop: .*AsyncClient"):
        trilane.upload(receiver.url(), b"x")
    with pytest.raises(RuntimeError, match="AsyncClient"):
        Client().__enter__()


def test_ctrl_c_stops_the_call_and_leaves_the_client_usable(receiver: Receiver) -> None:
    receiver.hold("/slow")
    command = [sys.executable, "-c", INTERRUPTED, receiver.url("/slow"), receiver.url("/fast")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "waiting\n"
        receiver.await_arrival()
        os.kill(script.pid, signal.SIGINT)
        output, _ = script.communicate(timeout=60)

    said = [line for line in output.splitlines() if line != "waiting"]
    assert (said, script.returncode) == (["interrupted", "200"], 0)
