"""Runs of flows."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Span

from langflow_otel import _semconv as semconv
from langflow_otel._guard import Guard
from langflow_otel._metrics.derived import NESTED
from langflow_otel._runs import span_attributes
from langflow_otel._runs.facts import OK, UNNAMED, ComponentInfo, FlowInfo, Outcome
from langflow_otel._runs.measuring import Finished, FlowMetrics, RunMetrics
from langflow_otel._runs.model_totals import CallsBelow, RunAboveCalls
from langflow_otel._runs.process_watch import ProcessWatch
from langflow_otel._runs.run import current_run
from langflow_otel._runs.span_attributes import Attributes
from langflow_otel._settings.settings import Settings

if TYPE_CHECKING:
    from langflow_otel._metrics.instruments import Recording
    from langflow_otel._runs.stream import StreamRun
    from langflow_otel._runs.tail_sampling import HeldTrace

_UNREAD_STREAMS = Guard("stream.end_with_flow")
_OPEN_CALLS = Guard("model.end_with_run")
_MEASURE = Guard("metrics.record")
_KEEP = Guard("sampling.keep")


class FlowRun(RunAboveCalls):
    """One run of one flow.

    Attributes:
        info: The flow, as far as it is known.
        named: Name and id of the flow, as attributes of each span below.
        first_error: The first component error, for a driver that swallows it.
        builds: How often each component id was started in this run.
        outer: The run in which it was started; None outside of all.
        sampled: False if this run's spans are held, or not made.
        held: Where they are held until it shows whether this run is kept; None if they are not.
        measures: Where this flow's measurements go; None without metrics.
        withheld: Values of secret inputs of this run's components.
        stopped: True if the run was ended though its code goes on.
    """

    __slots__ = (
        "_active",
        "_graph",
        "_identity",
        "_metrics",
        "_open_streams",
        "_session_id",
        "_skipped",
        "_started_s",
        "_watch",
        "builds",
        "first_error",
        "held",
        "info",
        "measures",
        "named",
        "outer",
        "sampled",
        "stopped",
        "withheld",
    )

    def __init__(
        self,
        span: Span | None,
        context: Context,
        settings: Settings,
        info: FlowInfo,
        graph: object | None,
        *,
        sampled: bool,
        held: HeldTrace | None = None,
        metrics: RunMetrics | None = None,
        watch: ProcessWatch | None = None,
    ) -> None:
        super().__init__(span, context, None, settings)
        self.flow = self
        self.info = info
        self.named = span_attributes.flow_identity(info)
        self._graph = None if graph is None else weakref.ref(graph)
        self.sampled = sampled
        self.stopped = False
        self.outer = current_run()
        self._session_id = info.session_id
        self._identity: Attributes | None = None
        self.held = held
        self.first_error: BaseException | None = None
        self.builds: dict[str, int] = {}
        self.withheld: set[str] = set()
        self._skipped: set[str] = set()
        self._open_streams: set[StreamRun] = set()
        self._metrics = metrics
        self.measures: FlowMetrics | None = None
        self._active: Recording | None = None
        self._count_as(info)
        self._watch = watch
        if watch is not None:
            is_nested = self.outer is not None and self.outer.flow is not None
            with _MEASURE:
                watch.enter(self, counts=not is_nested, observed=sampled or held is not None)
        self._started_s = time.perf_counter()

    @property
    def bound(self) -> bool:
        """True once the graph that this run executes is known."""
        return self._graph is not None

    def bind(self, graph: object) -> None:
        """This run executes that graph. Opaque here, and held weakly: only its identity counts."""
        self._graph = weakref.ref(graph)

    def executes(self, graph: object) -> bool:
        """True if the graph is this run's own, or if this run's graph is not known yet."""
        return self._graph is None or self._graph() is graph

    def describe(self, info: FlowInfo) -> None:
        """Complete the identity once the graph is known."""
        self.info = info
        self._session_id = info.session_id or self._session_id
        self._identity = None
        self.named = span_attributes.flow_identity(info)
        self._count_as(info)
        self._rename(span_attributes.flow_name(info), span_attributes.flow_attributes(info, self._settings))

    def _count_as(self, info: FlowInfo) -> None:
        """This run is one of that flow, until it is known better."""
        if self._metrics is None or self._ended:
            return
        with _MEASURE:
            self.measures = self._metrics.flow(info)
            if info.name == UNNAMED and not self.bound:
                # The playground's, which gets its name with its graph: the series would stay.
                return
            if self._active is not None:
                self._active.add(-1)
            self._active = self.measures.active(info.entry_point)
            self._active.add(1)
            if info.entry_point != NESTED:
                self._metrics.goes_on(self, self.measures)
            # Not of a name that may change yet: its series would stay.
            if self.bound:
                self.measures.expect_outcomes(info.entry_point)

    def complete(self, run_id: object, session_id: object) -> None:
        """The ids that LangFlow assigns while the flow runs; falsy ones are not known."""
        if self.recording:
            self._session_id = str(session_id or "") or self._session_id
            self._identity = None
            self.add(span_attributes.run_attributes(str(run_id or "") or None, str(session_id or "") or None))

    def identity(self) -> Attributes:
        """Flow and session, as attributes of a span below: backends cannot join it with the flow's span. Another object
        once one of them changes."""
        if self._identity is None:
            self._identity = {**self.named, **span_attributes.run_attributes(None, self._session_id)}
        return self._identity

    def component_started(self, component_id: str) -> int:
        """Count a component's execution; returns how often it was started before in this run."""
        before = self.builds.get(component_id, 0)
        self.builds[component_id] = before + 1
        return before

    def component_skipped(self, info: ComponentInfo) -> None:
        """Record once, as an event, that a component's branch was not taken; not if it did run before."""
        if info.component_id in self._skipped or info.component_id in self.builds:
            return
        self._skipped.add(info.component_id)
        if self.measures is not None:
            with _MEASURE:
                self.measures.bypassed(info, "skipped")
        if self.recording and self.span is not None:
            self.span.add_event(span_attributes.SKIPPED_EVENT, span_attributes.skipped_attributes(info))

    @property
    def about_content(self) -> Attributes:
        return {semconv.GEN_AI_OPERATION_NAME: semconv.INVOKE_WORKFLOW, **self.named}

    def end(self, outcome: Outcome = OK) -> None:
        if self._ended:
            return
        duration_s = time.perf_counter() - self._started_s
        for stream in tuple(self._open_streams):
            with _UNREAD_STREAMS:
                stream.give_up()
        if self.calls is not None:
            with _OPEN_CALLS:
                self.calls.end_open()
                self.add(span_attributes.sum_attributes(self.calls.input_tokens, self.calls.output_tokens))
                self.add(span_attributes.cost_attributes(self.calls.costs))
                self._count_in_outer_run(self.calls)
        if self._watch is not None:
            with _MEASURE:
                self.add(self._watch.leave(self))
        if self.held is not None:
            with _KEEP:
                reason = self.held.reason_to_keep(self.span, outcome.status, duration_s)
                if reason is not None:
                    self._attributes[semconv.KEPT] = reason
        try:
            super().end(outcome)
        finally:
            with _MEASURE:
                self._measure(outcome, duration_s)
            if self.held is not None:
                self.held.finish(self.span)

    def _count_in_outer_run(self, calls: CallsBelow) -> None:
        if self.outer is None:
            return
        for run in (self.outer.component, self.outer.flow):
            if run is not None:
                if calls.traced:
                    run.calls_below.traced = True
                run.calls_below.count(calls.usage)

    def _measure(self, outcome: Outcome, duration_s: float) -> None:
        if self._active is not None:
            self._active.add(-1)
        if self._metrics is not None:
            self._metrics.is_over(self)
        if self.measures is not None:
            self.measures.ended(Finished(outcome, duration_s, self.context), self.info.entry_point)
