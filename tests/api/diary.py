"""Callbacks that write down what they are told, where, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from trilane import UploadTask


class Diary:
    def __init__(self) -> None:
        self.entries: list[tuple[str, dict[str, Any]]] = []
        self.threads: set[threading.Thread] = set()

    def note(self, name: str) -> Callable[[dict[str, Any]], None]:
        def write(event: dict[str, Any]) -> None:
            self.entries.append((name, event))
            self.threads.add(threading.current_thread())

        return write

    def callbacks(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        return {name: self.note(name) for name in ("success", "fail", "complete")}

    def listen_to(self, task: UploadTask) -> None:
        task.onProgressUpdate(self.note("progress"))
        task.onHeadersReceived(self.note("headers"))

    def names(self) -> list[str]:
        return [name for name, _ in self.entries]

    def told(self, name: str) -> list[dict[str, Any]]:
        return [event for told, event in self.entries if told == name]
