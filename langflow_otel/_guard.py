"""Contains errors of the library itself, so that none reaches a flow, and logs each kind of them once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from types import TracebackType

from langflow_otel._errors import stack_of

logger = logging.getLogger("langflow_otel")

faults: Counter[str] = Counter()
"""Contained errors by step, since the process started."""

strict = False
"""True in tests: a contained error is raised instead, so that a bug is loud."""


on_fault: Callable[[str], None] | None = None
"""Called for each contained error, with its step. Its own errors are ignored."""


class Guard:
    """Context manager around one step of ours: an ``Exception`` inside is logged once and counted.

    Never put the user's own call, a ``yield`` or an ``await`` of host code inside one: it would
    swallow their exception. ``BaseException`` (cancellation, interrupts) always passes.
    """

    __slots__ = ("step",)

    def __init__(self, step: str) -> None:
        self.step = step

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if exc is None or not isinstance(exc, Exception) or strict:
            return False
        self.contain(exc)
        return True

    def contain(self, exc: Exception) -> None:
        """What ``with`` does with an error, for an ``except Exception`` where chunks pass: a ``try`` in which nothing
        is raised costs nothing, entering and leaving three guards a fifth of a chunk's time."""
        if strict:
            raise exc
        faults[self.step] += 1
        try:
            if faults[self.step] == 1:
                _log(self.step, exc)
            if on_fault is not None:
                on_fault(self.step)
        except Exception:  # noqa: BLE001 - what describes our errors is code of ours, too
            logger.warning("An error inside langflow-otel was contained at %s.", self.step)


class WarnOnce:
    """Logs one warning for each subject, and no further one.

    Args:
        most: Subjects that are warned of, at most.
    """

    def __init__(self, most: int = 1_000) -> None:
        self._seen: set[Hashable] = set()
        self._most = most

    def __call__(self, about: Hashable, message: str, *args: object) -> None:
        """Log the warning if it is the first one of its subject."""
        if self.is_first(about):
            logger.warning(message, *args)

    def is_first(self, about: Hashable) -> bool:
        """True once for each subject: for a message that takes long to make."""
        if about in self._seen or len(self._seen) >= self._most:
            return False
        self._seen.add(about)
        return True


def _log(step: str, exc: Exception) -> None:
    # The message may quote what the flow was working on; type and frames tell us enough.
    logger.warning(
        "An error inside langflow-otel was contained at %s; the flow itself is not affected. "
        "Further ones at this step are counted, not logged.\n%s",
        step,
        stack_of(exc),
    )
