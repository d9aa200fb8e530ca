"""What the extra `cli` brings, and what to say without it."""

from __future__ import annotations

from importlib.util import find_spec

RECEIVER_MODULES = ("hypercorn", "python_multipart")


class ExtraMissing(RuntimeError):
    """A command needs packages that are not installed."""


def require_receiver() -> None:
    """Check that the receiver can run.

    Raises:
        ExtraMissing: it cannot; the message says how to install what it needs.
    """
    missing = [name for name in RECEIVER_MODULES if find_spec(name) is None]
    if missing:
        raise ExtraMissing(
            f"this command needs {' and '.join(missing)}: install them with"
            ' pip install "trilane[cli]"'
        )
