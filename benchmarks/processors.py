"""Which processors receiver and clients run on, when they are to be kept apart (Linux)."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Commands to begin with."""

    client: Command = ()
    receiver: Command = ()
    text: str = ""
    """What is said of it."""


def apart() -> Placement:
    """The clients on the first processor of this process, the receiver on its last.

    Raises:
        SystemExit: there is only one, or no `taskset`.
    """
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(processors) < 2 or shutil.which("taskset") is None:
        raise SystemExit("--pinned needs Linux, two processors, and util-linux's taskset")
    return Placement(
        client=("taskset", "-c", str(processors[0])),
        receiver=("taskset", "-c", str(processors[-1])),
        text=", clients on one processor, the receiver on another",
    )
