"""Streams: generators that outlive the method that made them, counted chunk by chunk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from langflow_otel import _semconv as semconv
from langflow_otel._runs import span_attributes
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.facts import CANCELLED, OK, Outcome
from langflow_otel._runs.parent_context import with_span
from langflow_otel._runs.run import Run, StepTokens, step_out
from langflow_otel._runs.span_attributes import Attributes

if TYPE_CHECKING:
    from langflow_otel._runs.recorder import Recorder


class ChunkCount:
    """Counts what comes out of a stream and times the first chunk, from the first pull."""

    __slots__ = ("_first_chunk_s", "_producer", "_started_s", "chunks")

    def __init__(self, producer: ComponentRun) -> None:
        self.chunks = 0
        self._producer = producer
        self._started_s: float | None = None
        self._first_chunk_s: float | None = None

    @property
    def started(self) -> bool:
        return self._started_s is not None

    def pull(self) -> None:
        if self._started_s is None:
            self._started_s = time.perf_counter()

    def chunk(self) -> None:
        self.chunks += 1
        if self._first_chunk_s is None and self._started_s is not None:
            self._first_chunk_s = time.perf_counter() - self._started_s
            self._producer.first_chunk_after(self._first_chunk_s)

    def attributes(self) -> Attributes:
        attributes: Attributes = {semconv.STREAM_CHUNK_COUNT: self.chunks}
        if self._first_chunk_s is not None:
            attributes[semconv.STREAM_TIME_TO_FIRST_CHUNK] = self._first_chunk_s
        return attributes


class StreamRun(Run):
    """A generator that left the component which made it, read later by someone else.

    Its span starts at the first pull; in a run that is not sampled it has none, and is only measured.
    Each step of the generator runs in the producer's context, so that what it calls nests under the
    stream. Never read, it gets its span when it is given up.
    """

    __slots__ = ("_count", "_name", "_recorder", "_traced")

    def __init__(self, recorder: Recorder, producer: ComponentRun) -> None:
        super().__init__(None, producer.context, producer.flow, producer._settings)
        self.component = producer
        self._count = ChunkCount(producer)
        self._traced = producer.span is not None
        self._recorder = recorder
        self._name = f"{semconv.STREAM} {producer.info.display_name}"
        if producer.flow is not None:
            producer.flow._open_streams.add(self)

    def pull(self) -> StepTokens | None:
        """Call before each step; returns what :meth:`leave_step` needs after it."""
        if self._ended:
            return None
        if not self._count.started:
            self._start()
            self._count.pull()
        return self.step_in() if self._traced else None

    def leave_step(self, tokens: StepTokens | None) -> None:
        if tokens is not None:
            step_out(tokens)

    def chunk(self) -> None:
        """One chunk came out."""
        self._count.chunk()

    def _start(self) -> None:
        if not self._traced:
            return
        kind = span_attributes.custom_attributes(None, self._settings)
        self.span = self._recorder.make_span(self._name, self.context, kind, self.component or self)
        self.context = with_span(self.span, self.context)

    def close(self, how: str, outcome: Outcome = OK) -> None:
        """End the stream: exhausted, closed, failed, abandoned (left half read) or unread."""
        if self._ended:
            return
        if self.flow is not None:
            self.flow._open_streams.discard(self)
        if self.span is None:
            self._start()
        self.add({**self._count.attributes(), semconv.STREAM_OUTCOME: how})
        self.end(outcome)

    def give_up(self) -> None:
        """Nobody will read further: the flow is over, or the generator was dropped."""
        self.close("abandoned" if self._count.started else "unread", CANCELLED)
