"""Where the command's output goes: standard output for results, standard error for the rest."""

from __future__ import annotations

import shutil
import sys

from ...transport.profile.waterfall import Waterfalls


def say(text: str) -> None:
    """Print a result."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Print a message for the user, not for a program that reads the output."""
    print(f"trilane: {printable(text)}", file=sys.stderr, flush=True)


def draw(waterfalls: Waterfalls, *, to_stderr: bool = False) -> None:
    """Draw profiles: with rich in the terminal's colours, without it as plain text."""
    stream = sys.stderr if to_stderr else sys.stdout
    try:
        from rich.console import Console  # noqa: PLC0415 - part of an extra
    except ImportError:
        print(waterfalls.text(shutil.get_terminal_size().columns), file=stream, flush=True)
    else:
        Console(file=stream).print(waterfalls)


def printable(text: str) -> str:
    """Without control characters but tab and newline, so that no peer steers the terminal."""
    return "".join(char if char.isprintable() or char in "\t\n" else "?" for char in text)


def survive_any_encoding() -> None:
    """Replace what a terminal's encoding cannot show, instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
