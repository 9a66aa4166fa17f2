"""Which runs that are not sampled are kept, and how much is held until that is known."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Final

from opentelemetry.trace import Span, Tracer

from langflow_otel._runs import sent_traces
from langflow_otel._runs.buffered_spans import HeldSpan

MAX_SPANS: Final = 50_000
"""Held at once in this process, over all runs."""
MAX_BYTES: Final = 64 * 2**20
"""Of what is held, about."""

_WEIGHED_AT_ONCE: Final = 8 * 1024
"""Bytes of one run; less than this is weighed with the end of its next span."""


class HeldTrace:
    """What one run of a flow that is not sampled has done so far.

    Attributes:
        root: Of the run's spans.
        reason: Why the run was kept; None while that is open, and for a run that was not.
        lost: How many spans were let go to make room for other runs.
        weighed_spans: Those that the keeper counts; changed by the keeper alone.
        weighed_bytes: The same for bytes.
    """

    __slots__ = (
        "_holds",
        "_keeper",
        "_noted",
        "_spans",
        "_unweighed_bytes",
        "_unweighed_spans",
        "lost",
        "reason",
        "root",
        "weighed_bytes",
        "weighed_spans",
    )

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._spans: list[HeldSpan] = []
        self._unweighed_spans = self._unweighed_bytes = 0
        self.weighed_spans = self.weighed_bytes = 0
        self._holds = True
        self._noted: str | None = None
        self.root: HeldSpan | None = None
        self.lost = 0
        self.reason: str | None = None

    def start_span(self, tracer: Tracer, name: str, above: Span, **kwargs: Any) -> HeldSpan:
        """A span of this run; the arguments are those of :class:`HeldSpan`."""
        span = HeldSpan(tracer, name, above, trace_=self, **kwargs)
        if self.root is None:
            self.root = span
        if self._holds:
            self._spans.append(span)
        elif self.reason is None:
            span.discard()
        return span

    def ended(self, span: HeldSpan) -> None:
        if self.reason is not None:  # it began after the run was kept
            span.kept = True
        else:
            self._tell_keeper()

    def weigh(self, spans: int, size: int) -> None:
        """So much more, or less, is held of this run."""
        if self._holds:
            self._unweighed_spans += spans
            self._unweighed_bytes += size
            if self._unweighed_bytes >= _WEIGHED_AT_ONCE:
                self._tell_keeper()

    def _tell_keeper(self) -> None:
        # Two threads of one run may lose a few bytes here, and never what the keeper counts.
        spans, size = self._unweighed_spans, self._unweighed_bytes
        self._unweighed_spans = self._unweighed_bytes = 0
        if self._holds:
            self._keeper.weigh(self, spans, size)

    def reason_to_keep(self, span: object, status: str, duration_s: float) -> str | None:
        """Why the flow run with this span is worth keeping: ``error`` or ``slow``; None if it is not. A run is kept
        for the sake of a flow that it runs, too."""
        reason = self._keeper.reason_to_keep(status, duration_s)
        self._noted = self._noted or reason
        return reason or (self._noted if span is self.root else None)

    def finish(self, span: object) -> None:
        """The flow run with this span is over; what becomes of it all shows when the outermost is."""
        if span is self.root:
            self._keeper.finish(self, self._noted)

    def keep(self, reason: str) -> None:
        """The run is worth its trace: make its spans, those that still go on at their end."""
        self.reason = reason
        if self.root is not None:
            sent_traces.sent_in(self.root.get_span_context(), self.root.links)
        for span in self._let_go():
            span.keep()

    def forget(self) -> None:
        """The run was as it should be."""
        self._let_go()

    def give_up(self) -> None:
        """Make room for other runs."""
        spans = self._let_go()
        self.lost = len(spans)
        for span in spans:
            span.discard()

    def _let_go(self) -> list[HeldSpan]:
        self._holds = False
        spans, self._spans = self._spans, []
        self._keeper.forget(self)
        return spans


class Keeper:
    """Decides which runs are kept, and holds no more than it may: the oldest run is given up first.

    Args:
        errors: Keep runs that fail.
        slow_s: Keep runs that take so long, in seconds; None for no such limit.
        dropped: Gets how many spans of a run that would have been kept were given up.
        max_spans: Held at once, over all runs.
        max_bytes: Of what is held at once, about.

    Attributes:
        spans: Held now, about.
        bytes: Of what is held now, about.
    """

    def __init__(
        self,
        *,
        errors: bool = True,
        slow_s: float | None = None,
        dropped: Callable[[int], None] | None = None,
        max_spans: int = MAX_SPANS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._errors = errors
        self._slow_s = slow_s
        self._dropped = dropped
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._runs: dict[HeldTrace, None] = {}  # the oldest first
        self._lock = Lock()
        self.spans = 0
        self.bytes = 0

    def hold(self) -> HeldTrace:
        """A run starts that is not sampled."""
        held = HeldTrace(self)
        with self._lock:
            self._runs[held] = None
        return held

    def reason_to_keep(self, status: str, duration_s: float) -> str | None:
        """``error``, ``slow`` or None."""
        if self._errors and status == "error":
            return "error"
        return "slow" if self._slow_s is not None and duration_s >= self._slow_s else None

    def finish(self, held: HeldTrace, reason: str | None) -> None:
        """The run is over.

        Args:
            held: The run.
            reason: Why it is kept; None if it is not.
        """
        with self._lock:
            self._runs.pop(held, None)
        if reason is None:
            held.forget()
        elif not held.lost:
            held.keep(reason)
        elif self._dropped is not None:
            self._dropped(held.lost)

    def weigh(self, held: HeldTrace, spans: int, size: int) -> None:
        """So much more, or less, is held of a run."""
        with self._lock:
            if not held._holds:
                return
            held.weighed_spans += spans
            held.weighed_bytes += size
            self.spans += spans
            self.bytes += size
            full = self.spans > self._max_spans or self.bytes > self._max_bytes
            oldest = next(iter(self._runs), None) if full else None
            if oldest is not None:
                del self._runs[oldest]
        if oldest is not None:
            oldest.give_up()

    def forget(self, held: HeldTrace) -> None:
        """Nothing is held of a run any more."""
        with self._lock:
            self.spans -= held.weighed_spans
            self.bytes -= held.weighed_bytes
            held.weighed_spans = held.weighed_bytes = 0
