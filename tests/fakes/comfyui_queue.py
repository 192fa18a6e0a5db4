"""The fake's queue and history."""

from __future__ import annotations

import copy
import heapq
import threading
from collections.abc import Callable
from typing import Any


class Queue:
    """What waits, what runs, what is over. As ComfyUI's PromptQueue."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.lock = threading.RLock()
        self.filled = threading.Condition(self.lock)
        self.waiting: list[tuple[Any, ...]] = []
        self.running: dict[int, tuple[Any, ...]] = {}
        self.history: dict[str, dict[str, Any]] = {}
        self._counter = 0
        self._changed = changed

    def put(self, item: tuple[Any, ...]) -> None:
        with self.lock:
            heapq.heappush(self.waiting, item)
            self._changed()
            self.filled.notify()

    def take(self) -> tuple[tuple[Any, ...], int]:
        """The next job, which then runs."""
        with self.lock:
            item = heapq.heappop(self.waiting)
            number = self._counter
            self._counter += 1
            self.running[number] = copy.deepcopy(item)
            self._changed()
            return item, number

    def done(self, number: int, entry: dict[str, Any]) -> None:
        with self.lock:
            item = self.running.pop(number)
            self.history[item[1]] = {"prompt": item, **entry}
            self._changed()

    def clear(self) -> None:
        with self.lock:
            self.waiting = []
            self._changed()

    def delete(self, prompt_id: str) -> bool:
        with self.lock:
            for index, item in enumerate(self.waiting):
                if item[1] == prompt_id:
                    self.waiting.pop(index)
                    heapq.heapify(self.waiting)
                    self._changed()
                    return True
        return False

    def running_ids(self) -> list[str]:
        with self.lock:
            return [item[1] for item in self.running.values()]
