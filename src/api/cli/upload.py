"""`trilane upload`: one file, once or several times over the same client."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import anyio

from ...transport.connections.exchange import Progress
from ...transport.errors import TransportError, UsageError
from ...transport.message import parse_url
from ...transport.profile.waterfall import Waterfalls, size_text
from ..client import AsyncClient
from ..dialects import seed_success
from ..error_table import seed_failure
from ..response import Response
from .arguments import UploadArguments
from .interrupt import interruptible
from .progress_bar import ProgressBar
from .screen import complain, draw, printable, say
from .status import Status, status_of

_SHOWN_CHARACTERS = 4000


def run_upload(arguments: UploadArguments) -> Status:
    """Upload, print what came of it, and return the exit status: the first that is not 0."""
    return anyio.run(interruptible, lambda: _upload_all(arguments), backend=arguments.backend)


async def _upload_all(arguments: UploadArguments) -> Status:
    try:
        file = _file(arguments)
        async with AsyncClient(
            http3=arguments.http3,
            verify=arguments.verify,
            cert=arguments.cert,
            tls_minimum=arguments.tls_minimum,
            ciphers=arguments.ciphers,
            pins=_pins(arguments),
            sessions=arguments.sessions,
            uds=arguments.uds,
            local_address=arguments.local_address,
            interface=arguments.interface,
            proxy=arguments.proxy,
            no_proxy=arguments.no_proxy,
            resolver=arguments.resolver,
            resolve=dict(arguments.resolve),
            timeout=arguments.timeout_s,
        ) as client:
            statuses = [
                await _upload_once(client, file, arguments, number)
                for number in range(1, arguments.count + 1)
            ]
    except TransportError as error:
        return _report_failure(error, arguments)
    return next(filter(None, statuses), Status.OK)


async def _upload_once(
    client: AsyncClient, file: Path | BinaryIO, arguments: UploadArguments, number: int
) -> Status:
    try:
        with _progress(arguments) as on_progress:
            response = await client.upload(
                arguments.url,
                file,
                name=arguments.name,
                form=arguments.form,
                headers=arguments.headers,
                protocol=arguments.protocol,
                early_data=arguments.early_data,
                filename=None if isinstance(file, Path) else "-",
                on_progress=on_progress,
            )
    except TransportError as error:
        return _report_failure(error, arguments)
    return _report_response(response, arguments, number)


@contextmanager
def _progress(arguments: UploadArguments) -> Iterator[Callable[[Progress], None] | None]:
    """What draws the progress, where there is a terminal to draw it on."""
    if not (arguments.progress and sys.stderr.isatty()):
        yield None
        return
    bar = ProgressBar(sys.stderr)
    try:
        yield bar.update
    finally:
        bar.erase()


def _pins(arguments: UploadArguments) -> dict[str, tuple[str, ...]] | None:
    return {parse_url(arguments.url).origin.host: arguments.pins} if arguments.pins else None


def _file(arguments: UploadArguments) -> Path | BinaryIO:
    """What is to be sent.

    Raises:
        UsageError: it is to be sent several times, and is a pipe.
    """
    if arguments.file != "-":
        return Path(arguments.file)
    if arguments.count > 1 and not stat.S_ISREG(os.fstat(0).st_mode):
        raise UsageError("standard input is not a file: it can be sent only once")
    # Unbuffered: a thread that waits in a BufferedReader would keep the interpreter from exiting.
    return open(0, "rb", buffering=0, closefd=False)


def _report_response(response: Response, arguments: UploadArguments, number: int) -> Status:
    if arguments.json:
        say(json.dumps(seed_success(response)))
    else:
        _show(response, f"upload {number} of {arguments.count}" if arguments.count > 1 else "")
    if arguments.fail and response.status_code >= 400:
        complain(f"the server answered with status {response.status_code}")
        return Status.HTTP_ERROR
    return Status.OK


def _show(response: Response, title: str) -> None:
    text = printable(response.text[:_SHOWN_CHARACTERS]).strip()
    if text:
        say(text)
    if len(response.text) > _SHOWN_CHARACTERS:
        say(f"[cut: the response has {size_text(len(response.content))}; --json shows all]")
    if response.profile is not None:
        draw(Waterfalls([(title, response.profile)]))


def _report_failure(error: TransportError, arguments: UploadArguments) -> Status:
    if arguments.json:
        say(json.dumps(seed_failure(error)))
    complain(str(error))
    if error.profile is not None and error.profile.legs and not arguments.json:
        draw(Waterfalls([("", error.profile)]), to_stderr=True)
    return status_of(error)
