"""Starts the receiver as a process of its own and stops it again."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

from .address import ReceiverAddress

_START_LIMIT_S = 30.0
_STOP_LIMIT_S = 5.0


class ReceiverFailed(RuntimeError):
    """The receiver's process did not come up."""


@contextlib.contextmanager
def running_receiver(*, trio: bool = False, cleartext: bool = False) -> Iterator[ReceiverAddress]:
    """Run a receiver on free loopback ports for as long as the context lasts.

    It ends with this process too, even if that is killed: it watches the pipe on its standard
    input. On leaving it is asked to stop, and killed when it does not within 5 s.

    Args:
        trio: run it on trio instead of asyncio.
        cleartext: open an http port beside the https one.

    Raises:
        ReceiverFailed: it ended, or said nothing for 30 s; its last words are in the message.
    """
    command = [sys.executable, "-m", f"{__package__}", "--stop-with-stdin"]
    command += ["--trio"] * trio + ["--cleartext-port=0"] * cleartext
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            # Ctrl-C is for the parent, which stops its receiver when it is done with it.
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _wait_until_ready(process, complaints)
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> ReceiverAddress:
    if process.stdout is None:
        raise AssertionError("the process was started with pipes")
    readable, _, _ = select.select([process.stdout], [], [], _START_LIMIT_S)
    line = process.stdout.readline() if readable else b""
    if not line:
        _stop(process)
        complaints.seek(0)
        last_words = complaints.read().decode(errors="replace").strip()
        raise ReceiverFailed(f"the receiver did not start: {last_words or 'no answer'}")
    return ReceiverAddress(**json.loads(line))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
