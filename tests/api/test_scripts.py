"""Whole programs: they do their uploads, callbacks included, and end at once when that is done."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.api.receiver import Receiver

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

#: Ending takes a tenth of a second; an idle connection, or a thread that is not told, its 30 s.
PROMPT_S = 15

# Several threads speak: `print` writes a text and its line ending separately, `os.write` at once.
BEGINNING = """
import os, sys, threading, time
from trilane import uploadFile
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())
options = {"url": sys.argv[1], "filePath": sys.argv[0], "name": "file"}
options.update(success=lambda r: say("success"), complete=lambda r: say("complete"))
"""

# Tells when the main thread waits in `result`, where Ctrl-C is to find it.
TELL_WHEN_WAITING = """
def calls(thread):
    frame = sys._current_frames()[thread.ident]
    while frame:
        yield frame.f_code.co_name
        frame = frame.f_back
def watch():
    while not {"result", "wait"} <= set(calls(threading.main_thread())): time.sleep(0.01)
    say("waiting")
threading.Thread(target=watch).start()
"""


def write_script(folder: Path, *lines: str) -> Path:
    path = folder / "script.py"
    path.write_text(BEGINNING + "\n".join(lines), encoding="utf-8")
    return path


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def started(script: Path, *arguments: str, stderr: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("callbacks.py", ["success 200 ok", "complete uploadFile:ok"]),
        ("await_asyncio.py", ["200 http1.1"]),
        ("await_trio.py", ["ok"]),
        ("blocking.py", ["200 False", "200 True"]),
    ],
)
def test_examples(receiver: Receiver, name: str, output: Sequence[str]) -> None:
    source = (EXAMPLES / name).read_text(encoding="utf-8")
    ran = run(EXAMPLES / name, receiver.url())

    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line for line in ran.stdout.splitlines() if "%" not in line] == output
    assert receiver.received[0].parts()["file"] == (name, source.encode())
    assert len(source.splitlines()) < 15
    assert ast.get_docstring(ast.parse(source))


def test_every_example_is_run() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == [
        "await_asyncio.py",
        "await_trio.py",
        "blocking.py",
        "callbacks.py",
    ]


def test_callbacks_run_after_the_main_thread_has_ended(receiver: Receiver, tmp_path: Path) -> None:
    gate = receiver.hold("/")
    script = write_script(tmp_path, "uploadFile(options)", "say('main ends')")
    with started(script, receiver.url()) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "main ends\n"
        gate.set()
        gate_opened = time.monotonic()
        output = program.stdout.read()
        program.wait(timeout=60)
        took_s = time.monotonic() - gate_opened

    assert (output, program.returncode) == ("success\ncomplete\n", 0)
    assert took_s < PROMPT_S


def test_a_callback_may_begin_the_next_upload_at_the_end(
    receiver: Receiver, tmp_path: Path
) -> None:
    script = write_script(
        tmp_path,
        "def again(left):",
        "    threading.main_thread().join()",
        "    say('left', left)",
        "    if left: uploadFile(options, success=lambda r: again(left - 1))",
        "uploadFile(options, success=lambda r: again(2))",
    )
    ran = run(script, receiver.url())

    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert [line for line in lines if line != "complete"] == ["left 2", "left 1", "left 0"]
    assert lines.count("complete") == 3
    assert len(receiver.received) == 3


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_an_upload_nobody_awaits_is_finished(
    receiver: Receiver, tmp_path: Path, library: str
) -> None:
    gate = receiver.hold("/")
    start = "asyncio.run(main())" if library == "asyncio" else "trio.run(main)"
    script = write_script(
        tmp_path,
        f"import {library}",
        "async def main(): uploadFile(options)",
        start,
        "say('main ends')",
    )
    with started(script, receiver.url(), stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "main ends\n"
        gate.set()
        output, complaints = program.communicate(timeout=60)

    assert (program.returncode, complaints) == (0, "")
    assert output == "success\ncomplete\n"


def test_an_idle_loop_does_not_hold_up_the_end(receiver: Receiver, tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        "uploadFile(options).result()",
        "import atexit",
        "ended = time.monotonic()",
        # atexit functions run after the interpreter has joined every thread that is no daemon.
        "atexit.register(lambda: say(time.monotonic() - ended))",
    )
    ran = run(script, receiver.url())

    assert (ran.returncode, ran.stderr) == (0, "")
    assert float(ran.stdout.split()[-1]) < PROMPT_S


def test_an_exception_in_the_main_thread_does_not_lose_the_upload(
    receiver: Receiver, tmp_path: Path
) -> None:
    script = write_script(tmp_path, "uploadFile(options)", "sys.exit('the program failed')")
    ran = run(script, receiver.url())

    assert (ran.returncode, ran.stderr) == (1, "the program failed\n")
    assert ran.stdout == "success\ncomplete\n"


def test_ctrl_c_while_waiting_aborts(receiver: Receiver, tmp_path: Path) -> None:
    receiver.hold("/")
    script = write_script(
        tmp_path,
        "options.update(fail=lambda e: say(e['errMsg'], e['errno']))",
        "task = uploadFile(options)",
        TELL_WHEN_WAITING,
        "try: task.result()",
        "except KeyboardInterrupt: say('interrupted')",
    )
    with started(script, receiver.url()) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "waiting\n"
        receiver.await_arrival()
        os.kill(program.pid, signal.SIGINT)
        output, _ = program.communicate(timeout=60)

    assert program.returncode == 0
    assert sorted(output.splitlines()) == ["complete", "interrupted", "uploadFile:fail abort 1"]


def test_a_loop_that_cannot_begin_fails_the_upload(receiver: Receiver, tmp_path: Path) -> None:
    """Without file descriptors there is no event loop; the caller is told, and nothing hangs."""
    script = write_script(
        tmp_path,
        "import resource, trilane, asyncio, anyio._backends._asyncio, logging",
        "logging.disable()",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
        "options.update(fail=lambda e: say(e['errMsg']))",
        "try: uploadFile(options).result()",
        "except trilane.ClientClosed as error: say(type(error.__cause__).__name__)",
    )
    ran = run(script, receiver.url())

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "uploadFile:fail fail:network interrupted error: the event loop of uploadFile broke down",
        "complete",
        "OSError",
    ]


def test_a_pool_process_can_upload(receiver: Receiver, tmp_path: Path) -> None:
    """multiprocessing ends its children in its own way; their uploads are finished, too."""
    script = write_script(
        tmp_path,
        "import multiprocessing",
        "def child(): uploadFile(options)",
        "if __name__ == '__main__':",
        "    uploadFile(options).result()",
        "    process = multiprocessing.get_context('fork').Process(target=child)",
        "    process.start()",
        "    process.join()",
        "    say(process.exitcode)",
    )
    ran = run(script, receiver.url())

    assert (ran.returncode, ran.stdout.split()) == (0, ["success", "complete"] * 2 + ["0"])
    assert len(receiver.received) == 2
