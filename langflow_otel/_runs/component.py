"""Runs of components, and of the iterations of loops."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Span

from langflow_otel import _semconv as semconv
from langflow_otel._content.limits import chosen_names
from langflow_otel._guard import Guard
from langflow_otel._runs import prices, span_attributes
from langflow_otel._runs.facts import OK, ComponentInfo, ModelUsage, Outcome
from langflow_otel._runs.measuring import Finished, FlowMetrics
from langflow_otel._runs.model_totals import RunAboveCalls
from langflow_otel._runs.run import Run
from langflow_otel._runs.span_attributes import Attributes
from langflow_otel._settings.settings import Settings

if TYPE_CHECKING:
    from langflow_otel._runs.flow import FlowRun
    from langflow_otel._runs.stream import ChunkCount

_RETRIEVES = frozenset({"retriever", "vector_store"})

_MEASURE = Guard("metrics.record")
_MODEL = Guard("component.model")
_OPEN_CALLS = Guard("model.end_with_run")


class ComponentRun(RunAboveCalls):
    """One execution of one component.

    Attributes:
        info: The component, as far as it is known.
        denied: True if content of it stays here by a name or by its author's word.
        denied_tools: Gives the names of tools that its code may call, and whose content stays here so.
        around: The component in which this one runs, such as a loop; None for one of the flow's own.
        class_known: True if ``info`` was made with the component's class at hand.
        entered: True once the component's own code was reached (a cached one never is).
        iterations: Loop iterations that this component has started.
        chunks: Count of the chunks that the component itself drained, if it did.
        tokens_are_below: True if a nested instrumentor's span carries the tokens already.
        usage: Says at the end what model was called, and how many tokens that took; None if none was.
    """

    __slots__ = (
        "_failed",
        "_may_go_on",
        "_started_s",
        "around",
        "chunks",
        "class_known",
        "denied",
        "denied_tools",
        "entered",
        "info",
        "iterations",
        "measures",
        "tokens_are_below",
        "usage",
    )

    def __init__(
        self,
        span: Span | None,
        context: Context,
        flow: FlowRun | None,
        settings: Settings,
        info: ComponentInfo,
        measures: FlowMetrics | None = None,
    ) -> None:
        super().__init__(span, context, flow, settings)
        self.measures = measures
        self.component = self
        self.denied = False
        self.denied_tools: Callable[[], Collection[str]] = frozenset
        self.around: ComponentRun | None = None
        self.info = info
        self.class_known = False
        self.entered = False
        self.iterations = 0
        self.chunks: ChunkCount | None = None
        self.usage: Callable[[], ModelUsage] | None = None
        self.tokens_are_below = False
        self._failed: tuple[Outcome, float] | None = None
        self._may_go_on = False
        self._started_s = time.perf_counter()

    @property
    def observed(self) -> bool:
        """True while its span or its measurements are recorded."""
        return not self._ended and (self.span is not None or self.measures is not None)

    @property
    def about_content(self) -> Attributes:
        return {semconv.COMPONENT_ID: self.info.component_id, semconv.COMPONENT_TYPE: self.info.component_type}

    def describe(self, info: ComponentInfo) -> None:
        """Complete the identity once the component's class is known."""
        self.info = info
        self._rename(span_attributes.component_name(info), span_attributes.component_attributes(info, self._settings))

    def produced(self, output_names: tuple[str, ...]) -> None:
        if output_names:
            self.add({semconv.COMPONENT_OUTPUT_NAMES: chosen_names(output_names)})

    def only_offered_tools(self) -> None:
        """It did nothing itself: an agent calls its tools."""
        self.add(span_attributes.offered_tools_attributes(self._settings))

    def used_model(self, usage: ModelUsage) -> None:
        usage = prices.priced(usage)
        if self.measures is not None:
            with _MEASURE:
                self.measures.used_model(usage)
        if self.flow is not None:
            self.flow.calls_below.count(usage)
        self._count_around(usage)
        self._show(usage)

    def _show(self, usage: ModelUsage) -> None:
        """On this span, or only as sums where spans below have it: backends add up all spans with the conventions'
        names."""
        if self.tokens_are_below or (self.calls is not None and self.calls.traced):
            self.add(span_attributes.sum_attributes(usage.input_tokens, usage.output_tokens))
        else:
            self.add(span_attributes.usage_attributes(usage, self.info))
        self.add(span_attributes.cost_attributes(usage.costs))

    def _account_for_models(self, outcome: Outcome) -> None:
        """LangFlow's own numbers count only where no call was seen: those of a call that failed are estimates."""
        known = None if self.usage is None else self.usage()
        if self.calls is None:
            if known is not None and not self._has_not_called(known, outcome):
                self.used_model(known)
            return
        seen = self.calls.usage
        if known is not None:
            seen = replace(seen, model=known.model or seen.model, provider=known.provider or seen.provider)
        self._count_around(seen)
        self._show(seen)

    def _has_not_called(self, usage: ModelUsage, outcome: Outcome) -> bool:
        """True where a call would have been seen, and the component succeeded without one: it hands its model on.
        Backends take each span that names a model for a call of it."""
        has_tokens = usage.input_tokens is not None or usage.output_tokens is not None
        return outcome.status == "ok" and not has_tokens and self._settings.shows_models

    def _count_around(self, usage: ModelUsage) -> None:
        if self.around is not None:
            below = self.around.calls_below
            below.traced = True
            below.count(usage)

    def note_failure(self, error: BaseException, *, final: bool = True) -> None:
        """The component's code just failed with this error: that is when it ended, whatever the host
        still does about it (LangFlow renders the traceback for seconds). The first time counts.

        Args:
            error: What it failed with.
            final: False if the code may yet go on, and fail with another error.
        """
        if self._failed is None or (self._may_go_on and self._failed[0].error is not error):
            self._failed = (Outcome("error", error, time.time_ns()), time.perf_counter())
        self._may_go_on = not final

    def searched(self, asked: int | None, found: int | None) -> None:
        super().searched(asked, found)
        if self.info.kind in _RETRIEVES:
            self.add({semconv.GEN_AI_OPERATION_NAME: semconv.RETRIEVAL})

    def first_chunk_after(self, seconds: float) -> None:
        """The first chunk of a stream of this component came out, so long after it was asked for."""
        if self.measures is not None:
            with _MEASURE:
                self.measures.first_chunk(self.info, seconds, self.context)

    def retried(self, attempt: int, delay_s: float, error: BaseException | None) -> None:
        """Something inside the component failed and will be tried again."""
        if self.measures is not None:
            with _MEASURE:
                self.measures.retried(self.info)
        if self.recording and self.span is not None:
            self.span.add_event(span_attributes.RETRY_EVENT, span_attributes.retry_attributes(attempt, delay_s, error))

    def end(self, outcome: Outcome = OK) -> None:
        if self._ended:
            return
        ended_s = time.perf_counter()
        if self._failed is not None and outcome is self._failed[0]:
            ended_s = self._failed[1]
        if self.chunks is not None:
            self.add(self.chunks.attributes())
        if self.calls is not None and outcome.status != "ok":
            with _OPEN_CALLS:
                self.calls.end_open()
        if self.usage is not None or self.calls is not None:
            with _MODEL:
                self._account_for_models(outcome)
        try:
            super().end(outcome)
        finally:
            if self.measures is not None:
                with _MEASURE:
                    self.measures.component_ended(self.info, Finished(outcome, ended_s - self._started_s, self.context))

    @property
    def failure(self) -> Outcome | None:
        """The outcome noted by :meth:`note_failure`, or None."""
        return self._failed[0] if self._failed else None


class LoopIteration(Run):
    """One iteration of a loop: no span of its own, it numbers the components below it."""

    __slots__ = ("_graph",)

    def __init__(self, loop: ComponentRun, graph: object) -> None:
        super().__init__(None, loop.context, loop.flow, loop._settings)
        self.component = loop
        self._graph = weakref.ref(graph)
        self.loop_index = loop.iterations
        loop.iterations += 1

    def executes(self, graph: object) -> bool:
        return self._graph() is graph
