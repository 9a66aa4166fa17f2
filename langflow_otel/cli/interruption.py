"""Ctrl-C and SIGTERM while a command runs a flow: the flow is cancelled, and its trace is sent all the same."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from langflow_otel._runs.facts import Interrupted

PATIENCE_S: Final = 10.0
"""How long what was interrupted may take to end: a component's thread cannot be stopped."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While this is entered, a signal raises :class:`~langflow_otel._runs.facts.Interrupted` in the main thread.

    Args:
        give_up: Called in another thread when that has not ended the flow in time; the process ends after it.
    """

    def __init__(self, give_up: Callable[[], object]) -> None:
        self._give_up = give_up
        self._before: dict[signal.Signals, Any] = {}
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Interruption:
        for each in _SIGNALS:
            self._before[each] = signal.signal(each, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        code = 128 + number  # as shells say it
        if self._timer is None:
            self._timer = threading.Timer(PATIENCE_S, self._end, (code,))
            self._timer.daemon = True
            self._timer.start()
        raise Interrupted(code)

    def _end(self, code: int) -> None:
        try:
            self._give_up()
            # LangFlow has replaced sys.stderr.
            os.write(2, b"langflow-otel: cancelled\n")
        finally:
            os._exit(code)
