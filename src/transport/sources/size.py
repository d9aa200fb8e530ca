"""What is sent must keep the size it was announced with."""

from __future__ import annotations

from ..errors import SourceSizeChanged


def check_size(name: str, announced_bytes: int, actual_bytes: int) -> None:
    """Compare the size of a source with the one it had when it was announced.

    Raises:
        SourceSizeChanged: they differ.
    """
    if actual_bytes != announced_bytes:
        raise SourceSizeChanged(
            f"{name} changed while it was being sent: {announced_bytes} bytes were announced,"
            f" {actual_bytes} are there now",
            declared_bytes=announced_bytes,
            actual_bytes=actual_bytes,
        )
