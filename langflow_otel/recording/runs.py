"""Runs: what is going on right now, from a flow down to one tool call.

A *run* is both the handle by which an end is reported and, through a context variable, the answer to
"what are we in?". Entering a run makes it current, leaving it makes its parent current again; both
must happen in the same task or thread. A span may outlive its context, a context token may not.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from langflow_otel.recording import prices, semconv, spans
from langflow_otel.recording.error_categories import Category, category_of
from langflow_otel.recording.facts import CANCELLED, OK, UNNAMED, ComponentInfo, Costs, FlowInfo, ModelUsage, Outcome
from langflow_otel.recording.guard import Guard
from langflow_otel.recording.memory import MemoryWatch
from langflow_otel.recording.parents import with_span
from langflow_otel.recording.run_metrics import Finished, FlowMetrics, RunMetrics
from langflow_otel.recording.sizes import chosen_names
from langflow_otel.recording.spans import Attributes
from langflow_otel.settings import Settings

if TYPE_CHECKING:
    from langflow_otel.recording.content import SpanContent
    from langflow_otel.recording.instruments import Recording
    from langflow_otel.recording.keeper import HeldTrace
    from langflow_otel.recording.model_runs import ModelRun
    from langflow_otel.recording.stream_runs import ChunkCount, StreamRun

_current_run: ContextVar[Run | None] = ContextVar("langflow_otel_run", default=None)

StepTokens = tuple[Token["Run | None"], Token[Context] | None]

_open_runs: weakref.WeakSet[Run] = weakref.WeakSet()
"""Runs whose spans have not ended, for the end of the process."""

_RETRIEVES = frozenset({"retriever", "vector_store"})

any_stopped = False
"""True once a run was ended by the stop of the process, or of this library. Its code may go on."""

_UNREAD_STREAMS = Guard("stream.end_with_flow")
_MEASURE = Guard("metrics.record")
_KEEP = Guard("sampling.keep")
_STOP = Guard("stop")
_CONTENT = Guard("content.leave")
_MODEL = Guard("component.model")
_OPEN_CALLS = Guard("model.end_with_run")


def current_run() -> Run | None:
    """The innermost run that the calling code is in, or None.

    A task may outlive the flow that it was made in; it is then in no run.
    """
    run = _current_run.get()
    if run is None or (run.flow is not None and run.flow._ended):
        return None
    return run


def end_open_runs(reason: str) -> None:
    """End what is still going on, innermost first: the process stops, and would take the spans with it.

    What the code of these runs does from here on is not recorded: there is nothing left that it would be a part of.

    Args:
        reason: Why, for ``langflow.cancellation.reason``.
    """
    global any_stopped
    for run in tuple(_open_runs):
        with _STOP:
            run.begin()
    # A span's start tells the order: a child starts after its parent.
    for run in sorted(_open_runs, key=lambda run: getattr(run.span, "start_time", 0) or 0, reverse=True):
        with _STOP:
            if run.flow is not None:
                run.flow.stopped = any_stopped = True
            run.add({semconv.CANCELLATION_REASON: reason})
            run.end(CANCELLED)


def attach(context: Context) -> StepTokens:
    """Make an OpenTelemetry context current, in the same run; :func:`step_out` comes back."""
    return _current_run.set(_current_run.get()), otel_context.attach(context)


def step_out(tokens: StepTokens) -> None:
    """Make current again what was so before :meth:`Run.step_in`, :meth:`Run.enter` or :func:`attach`."""
    run_token, context_token = tokens
    try:
        _current_run.reset(run_token)
    except ValueError:
        # A coroutine that was dropped half way is closed wherever the garbage collector runs. The
        # context it had is gone, and the one found there is not ours to change.
        return
    if context_token is not None:
        otel_context.detach(context_token)


def step_outside() -> StepTokens | None:
    """Leave all runs for a moment, for what the host does on its own account; :func:`step_out` comes back. A flow that
    is not sampled is then not the parent of other tracers' spans, which would not be sampled either.

    Returns:
        None outside of runs.
    """
    run = current_run()
    if run is None:
        return None
    token: Token[Context] | None = None
    if run.flow is not None and run.flow.span is not None and not run.flow.sampled:
        token = otel_context.attach(with_span(INVALID_SPAN, otel_context.get_current()))
    return _current_run.set(None), token


class Run:
    """One span of ours that is going on. All methods may be called again after the end: no effect.

    Attributes:
        flow: The flow run that this belongs to; None for a component that is built without a flow.
        component: The component run that this belongs to, itself included; None above components.
        tool: The tool call that this belongs to, itself included; None outside of tools.
        content: Inputs and outputs that may leave with the span; None for none.
        loop_index: The iteration of the innermost enclosing loop, or None.
        context: The OpenTelemetry context in which this run's own code belongs.
    """

    _unknown_error: ClassVar[Category] = "code"
    """Category of an error that no other category fits."""

    __slots__ = (
        "__weakref__",
        "_attributes",
        "_context_token",
        "_ended",
        "_put_off",
        "_run_token",
        "_settings",
        "component",
        "content",
        "context",
        "flow",
        "loop_index",
        "span",
        "tool",
    )

    def __init__(self, span: Span | None, context: Context, flow: FlowRun | None, settings: Settings) -> None:
        self.span = span
        self.context = context
        self.flow = flow
        self.component: ComponentRun | None = None
        self.tool: ToolRun | None = None
        self.loop_index: int | None = None
        self.content: SpanContent | None = None
        self._settings = settings
        self._attributes: Attributes = {}
        self._ended = False
        self._put_off: Callable[[], Span] | None = None
        self._context_token: Token[Context] | None = None
        self._run_token: Token[Run | None] | None = None
        if span is not None:
            _open_runs.add(self)

    @property
    def recording(self) -> bool:
        """True while attributes set here will be exported."""
        return (self.span is not None or self._put_off is not None) and not self._ended

    @property
    def nearest_span(self) -> Span | None:
        """Its span, or that of its flow; None without either."""
        if self.span is not None:
            return self.span
        return None if self.flow is None else self.flow.span

    def put_off(self, make_span: Callable[[], Span]) -> None:
        """Make the span when :meth:`begin` is called, at the latest at the end. As long as nothing is below it, the
        span of another instrumentor may take its place."""
        self._put_off = make_span
        _open_runs.add(self)

    def begin(self) -> None:
        """Make the span, if that was put off."""
        make_span, self._put_off = self._put_off, None
        if make_span is not None:
            self.span = make_span()
            self.context = with_span(self.span, self.context)

    def replace_by(self, span: Span) -> None:
        """The span of another instrumentor takes the place of the one that was put off."""
        self._put_off = None
        self.context = with_span(span, self.context)
        _open_runs.discard(self)

    def enter(self) -> None:
        """Make this run current for the code that follows in this task or thread."""
        self._run_token = _current_run.set(self)
        if self.span is not None:
            self._context_token = otel_context.attach(self.context)

    def leave(self) -> None:
        """Make the run current that was so before :meth:`enter`; same task or thread."""
        if self._run_token is not None:
            tokens = self._run_token, self._context_token
            self._run_token = self._context_token = None
            step_out(tokens)

    def step_in(self) -> StepTokens:
        """Like :meth:`enter`, for one step of a generator. The tokens are the step's own, since another
        task may step meanwhile; hand them to :func:`step_out`."""
        return _current_run.set(self), otel_context.attach(self.context)

    def add(self, attributes: Attributes) -> None:
        """Attributes that go on the span when it ends; one call to the SDK instead of many."""
        self._attributes.update(attributes)

    def searched(self, asked: int | None, found: int | None) -> None:
        """Code of this run searched for documents; of several searches the sums go on the span.

        Args:
            asked: How many it asked for; None if that is not known.
            found: How many it got; None if the search failed.
        """
        for name, number in ((semconv.GEN_AI_RETRIEVAL_TOP_K, asked), (semconv.RETRIEVAL_DOCUMENT_COUNT, found)):
            if number is not None:
                before: Any = self._attributes.get(name, 0)
                self._attributes[name] = before + number

    def _rename(self, name: str, attributes: Attributes) -> None:
        if self.recording and self.span is not None:
            self.span.update_name(name)
            self.add(attributes)

    def end(self, outcome: Outcome = OK) -> None:
        """End the span with this outcome. Leaves the context alone: see :meth:`leave`."""
        if self._ended:
            return
        self._ended = True
        self.begin()
        span = self.span
        if span is None:
            return
        _open_runs.discard(self)
        try:
            self._attributes[semconv.STATUS] = outcome.status
            category = category_of(outcome, unknown=self._unknown_error)
            if category is not None:
                self._attributes[semconv.ERROR_CATEGORY] = category
            if self.content is not None:
                with _CONTENT:
                    self._attributes.update(self.content.for_span())
            if outcome.status == "error":
                self._attributes[semconv.ERROR_TYPE] = spans.error_type_of(outcome)
                spans.mark_error(span, outcome, self._settings, self.flow.withheld if self.flow is not None else ())
            span.set_attributes(self._attributes)
        finally:
            span.end(end_time=outcome.ended_ns)

    def finish(self, outcome: Outcome = OK) -> None:
        """End the span and leave its context."""
        try:
            self.end(outcome)
        finally:
            self.leave()


class CallsBelow:
    """The model calls below a run.

    Attributes:
        open: Those that go on.
        traced: True if they have spans, and the tokens on them.
        model: Of the last one that named it.
        provider: The same.
        input_tokens: Of all that are over; None as long as none is known.
        output_tokens: The same.
        amounts: What they cost, by currency; None without prices.
        unpriced_calls: How many of them have no price.
    """

    __slots__ = (
        *("amounts", "input_tokens", "model", "open", "output_tokens", "provider", "traced", "unpriced_calls"),
    )

    def __init__(self) -> None:
        self.open: set[ModelRun] = set()
        self.traced = False
        self.model: str | None = None
        self.provider: str | None = None
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.amounts: dict[str, float] | None = None
        self.unpriced_calls = 0

    def count(self, usage: ModelUsage) -> None:
        """Add what one of them, or several together, used."""
        self.model = usage.model or self.model
        self.provider = usage.provider or self.provider
        if usage.input_tokens is not None:
            self.input_tokens = (self.input_tokens or 0) + usage.input_tokens
        if usage.output_tokens is not None:
            self.output_tokens = (self.output_tokens or 0) + usage.output_tokens
        if usage.costs is not None:
            self._count_costs(usage.costs)

    def _count_costs(self, costs: Costs) -> None:
        if self.amounts is None:
            self.amounts = {}
        for currency, amount in costs.amounts.items():
            self.amounts[currency] = self.amounts.get(currency, 0.0) + amount
        self.unpriced_calls += costs.unpriced_calls

    @property
    def costs(self) -> Costs | None:
        return None if self.amounts is None else Costs(self.amounts, self.unpriced_calls)

    @property
    def usage(self) -> ModelUsage:
        return ModelUsage(self.model, self.provider, self.input_tokens, self.output_tokens, self.costs)

    def end_open(self) -> None:
        """End those whose end is not reported: LangChain reports none for a call that was cancelled."""
        for call in tuple(self.open):
            with _OPEN_CALLS:
                call.end(CANCELLED)


class RunAboveCalls(Run):
    """A flow or a component.

    Attributes:
        calls: The model calls below; None as long as there was none.
    """

    __slots__ = ("calls",)

    def __init__(self, span: Span | None, context: Context, flow: FlowRun | None, settings: Settings) -> None:
        super().__init__(span, context, flow, settings)
        self.calls: CallsBelow | None = None

    @property
    def calls_below(self) -> CallsBelow:
        if self.calls is None:
            self.calls = CallsBelow()
        return self.calls


class FlowRun(RunAboveCalls):
    """One run of one flow.

    Attributes:
        info: The flow, as far as it is known.
        named: Name and id of the flow, as attributes of each span below.
        first_error: The first component error, for a driver that swallows it.
        builds: How often each component id was started in this run.
        sampled: False if this run's spans are held, or do not come to be.
        held: Where they are held until it shows whether this run is kept; None if they are not.
        measures: Where this flow's measurements go; None without metrics.
        withheld: Values of secret inputs of this run's components.
        memory_peak: The highest resident memory of the process that was seen during the run, bytes.
        stopped: True if the run was ended though its code goes on.
    """

    __slots__ = (
        "_active",
        "_graph",
        "_identity",
        "_memory",
        "_metrics",
        "_open_streams",
        "_outer",
        "_session_id",
        "_skipped",
        "_started_s",
        "builds",
        "first_error",
        "held",
        "info",
        "measures",
        "memory_peak",
        "named",
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
        memory: MemoryWatch | None = None,
    ) -> None:
        super().__init__(span, context, None, settings)
        self.flow = self
        self.info = info
        self.named = spans.flow_identity(info)
        self._graph = None if graph is None else weakref.ref(graph)
        self.sampled = sampled
        self.stopped = False
        self._outer = current_run()
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
        self.memory_peak = 0
        self._memory = memory if sampled or held is not None else None
        if self._memory is not None:
            with _MEASURE:
                self._memory.enter(self)
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
        self.named = spans.flow_identity(info)
        self._count_as(info)
        self._rename(spans.flow_name(info), spans.flow_attributes(info, self._settings))

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
            # Not of a name that may change yet: its series would stay.
            if self.bound:
                self.measures.expect_outcomes(info.entry_point)

    def complete(self, run_id: object, session_id: object) -> None:
        """The ids that LangFlow assigns while the flow runs; falsy ones are not known."""
        if self.recording:
            self._session_id = str(session_id or "") or self._session_id
            self._identity = None
            self.add(spans.run_attributes(str(run_id or "") or None, str(session_id or "") or None))

    def identity(self) -> Attributes:
        """Flow and session, as attributes of a span below: backends cannot join it with the flow's span. Another object
        once one of them changes."""
        if self._identity is None:
            self._identity = {**self.named, **spans.run_attributes(None, self._session_id)}
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
            self.span.add_event(semconv.COMPONENT_SKIPPED, spans.skipped_attributes(info))

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
                self.add(spans.sum_attributes(self.calls.input_tokens, self.calls.output_tokens))
                self.add(spans.cost_attributes(self.calls.costs))
                self._count_in_outer_run(self.calls)
        if self._memory is not None:
            with _MEASURE:
                self._memory.leave(self)
            if self.memory_peak:
                self._attributes[semconv.FLOW_MEMORY_PEAK] = self.memory_peak
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
        if self._outer is None:
            return
        for run in (self._outer.component, self._outer.flow):
            if run is not None:
                run.calls_below.traced |= calls.traced
                run.calls_below.count(calls.usage)

    def _measure(self, outcome: Outcome, duration_s: float) -> None:
        if self._active is not None:
            self._active.add(-1)
        if self.measures is not None:
            self.measures.ended(Finished(outcome, duration_s, self.context), self.info.entry_point)


class ComponentRun(RunAboveCalls):
    """One execution of one component.

    Attributes:
        info: The component, as far as it is known.
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
        """True while somebody wants to know what happens in this component."""
        return not self._ended and (self.span is not None or self.measures is not None)

    def describe(self, info: ComponentInfo) -> None:
        """Complete the identity once the component's class is known."""
        self.info = info
        self._rename(spans.component_name(info), spans.component_attributes(info, self._settings))

    def produced(self, output_names: tuple[str, ...]) -> None:
        if output_names:
            self.add({semconv.COMPONENT_OUTPUT_NAMES: chosen_names(output_names)})

    def only_offered_tools(self) -> None:
        """It did nothing itself: an agent calls its tools."""
        self.add(spans.offered_tools_attributes(self._settings))

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
            self.add(spans.sum_attributes(usage.input_tokens, usage.output_tokens))
        else:
            self.add(spans.usage_attributes(usage, self.info))
        self.add(spans.cost_attributes(usage.costs))

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
            self.span.add_event(semconv.COMPONENT_RETRY, spans.retry_attributes(attempt, delay_s, error))

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


class ToolRun(Run):
    """One tool call, of the tool of this name. ``failure`` is set where the host turns the tool's error into text."""

    _unknown_error = "tool"

    __slots__ = ("failure", "name")

    def __init__(
        self, span: Span | None, context: Context, flow: FlowRun | None, settings: Settings, name: str
    ) -> None:
        super().__init__(span, context, flow, settings)
        self.tool = self
        self.name = name
        self.failure: Outcome | None = None

    def reported(self, theirs: Span | None) -> None:
        """LangChain has reported the call to its callback handlers; the tool's code comes next.

        Args:
            theirs: The span that another instrumentor has made of the call; None for none.
        """
        if self._put_off is None:
            return
        if theirs is None:
            self.begin()
        else:
            self.replace_by(theirs)
        self._context_token = otel_context.attach(self.context)
