"""What is done once before anything is recorded, however many threads come at the same time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_LOCK = threading.RLock()

if hasattr(os, "register_at_fork"):
    # A child gets what another thread has prepared, or what it has yet to prepare, and never a half.
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class Preparations:
    """Steps that are put off until there is something to record.

    Attributes:
        pending: True until all of them are done.
    """

    __slots__ = ("_steps", "pending")

    def __init__(self) -> None:
        self._steps: list[Callable[[], None]] = []
        self.pending = False

    def add(self, step: Callable[[], None]) -> None:
        self._steps.append(step)
        self.pending = True

    def run(self) -> None:
        """Do them, in order, or wait for the thread that does them."""
        with _LOCK:
            while self._steps:
                self._steps.pop(0)()
            self.pending = False
