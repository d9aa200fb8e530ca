"""Exit statuses; as curl's where curl has one."""

from __future__ import annotations

from enum import IntEnum

from ...transport.errors import TransportError, UsageError


class Status(IntEnum):
    """What the command tells its caller."""

    OK = 0
    FAILED = 1
    """No response: network, peer, time, or a file that cannot be read."""
    USAGE = 2
    HTTP_ERROR = 22
    """The response has a status of 400 or more, and `--fail` was given."""
    INTERRUPTED = 130
    """Ctrl-C."""


def status_of(error: TransportError) -> Status:
    """The status for an upload that failed."""
    return Status.USAGE if isinstance(error, UsageError) else Status.FAILED
