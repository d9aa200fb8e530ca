"""A border that exceptions of a library do not cross."""

from __future__ import annotations

from collections.abc import Callable


class LibraryGuard:
    """Stops exceptions: a library's bug must end one connection only. Entered for each datagram."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[Exception], None]) -> None:
        self._tell = tell

    def __enter__(self) -> None:
        """Nothing is to be prepared."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._tell(error)
        return True
