"""Entry point of the command `trilane`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .arguments import Arguments, DemoArguments, UploadArguments, parse_arguments
from .demo import run_demo
from .extra import ExtraMissing
from .screen import complain, survive_any_encoding
from .serve import run_serve
from .status import Status
from .upload import run_upload


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the return value is the exit status."""
    survive_any_encoding()
    arguments = parse_arguments(argv)
    try:
        return _run(arguments)
    except ExtraMissing as exc:
        complain(str(exc))
        return Status.USAGE
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.FAILED


def _run(arguments: Arguments) -> Status:
    if isinstance(arguments, UploadArguments):
        return run_upload(arguments)
    if isinstance(arguments, DemoArguments):
        return run_demo(arguments)
    return run_serve(arguments)
