"""The recorder: facts in, spans out. Hooks and ``@traced`` alike call it, so that neither differs."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NoOpTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    TracerProvider,
)
from opentelemetry.util.types import AttributeValue

from langflow_otel import _semconv as semconv
from langflow_otel._content.gate import ContentGate
from langflow_otel._content.limits import chosen
from langflow_otel._runs import run as runs
from langflow_otel._runs import sent_traces, span_attributes
from langflow_otel._runs.buffered_spans import HeldSpan, Send, new_span_context
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.facts import ComponentInfo, FlowInfo, ModelInfo, ToolInfo
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.interfaces import Lifecycle, OtherInstrumentors
from langflow_otel._runs.measuring import FlowMetrics, RunMetrics
from langflow_otel._runs.model_call import ModelRun
from langflow_otel._runs.parent_context import (
    Reaches,
    is_ours_current,
    parent_and_links,
    same_provider,
    span_above,
    with_span,
)
from langflow_otel._runs.preparations import Preparations
from langflow_otel._runs.process_watch import ProcessWatch
from langflow_otel._runs.request import RequestInfo, RequestRun, own_request_context
from langflow_otel._runs.run import Run, current_run
from langflow_otel._runs.sampling import Sampling, held_parent
from langflow_otel._runs.stream import StreamRun
from langflow_otel._runs.tool import ToolRun
from langflow_otel._settings.settings import Settings
from langflow_otel.version import __version__

_ANSWERED_AT_ONCE = frozenset({"webhook", "playground"})
"""Entry points whose request starts one run, and may be over when it starts."""
# The contrib package sets both, other libraries only one of them.
_SUPPRESS_KEYS = ("suppress_instrumentation", otel_context._SUPPRESS_INSTRUMENTATION_KEY)


class Recorder:
    """Starts runs. One per process while instrumentation is on.

    Args:
        provider: Makes the spans; None if only metrics have somewhere to go.
        settings: See :class:`~langflow_otel._settings.settings.Settings`.
        metrics: Measures the runs; None without metrics.
        watch: Watches the process during runs.

    Attributes:
        content: Decides what content may leave; None if none may.
        gate: The same, also where no content but other texts may leave, such as messages of errors: what is denied does
            not leave in them either. None if no text may.
        lifecycle: Sends or closes the telemetry of this process at its end; None where another program does.
        other_instrumentors: Those of other projects that the library has loaded; None without any.
    """

    def __init__(
        self,
        provider: TracerProvider | None,
        settings: Settings,
        metrics: RunMetrics | None = None,
        watch: ProcessWatch | None = None,
    ) -> None:
        self.settings = settings
        self.lifecycle: Lifecycle | None = None
        self.other_instrumentors: OtherInstrumentors | None = None
        self._preparations = Preparations()
        self._components_on = settings.detail != "flow"
        self._models_on = settings.shows_models
        self._outputs_on = settings.detail == "output"
        has_texts = settings.captures_content or settings.error_messages != "none" or settings.log_bodies
        self.gate = ContentGate(settings) if has_texts else None
        self.content = self.gate if settings.captures_content else None
        self.use_tracer_provider(provider)
        self.use_metrics(metrics, watch)

    def use_tracer_provider(
        self,
        provider: TracerProvider | None,
        *,
        decides: bool = False,
        reaches: Reaches | None = None,
        sender: Callable[[], Send | None] | None = None,
    ) -> None:
        """Make spans with this provider from now on.

        Args:
            provider: None for no spans.
            decides: True if the provider samples as the recorder decides.
            reaches: Which spans are sent where its spans are; default: its own.
            sender: Returns what sends a span at its end, or None while the provider must make it; default: always None.
        """
        self._traces = provider is not None
        self._sender = sender or _no_sender
        self.reaches = reaches or same_provider(provider)
        self._sampling = Sampling(self.settings, decides=decides, dropped=_count_given_up)
        self.tracer: Tracer = (provider or NoOpTracerProvider()).get_tracer(
            semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL
        )

    def use_metrics(self, metrics: RunMetrics | None, watch: ProcessWatch | None) -> None:
        """Measure with these from now on; None for no metrics."""
        self._metrics = metrics
        self._watch = watch

    @property
    def metrics(self) -> RunMetrics | None:
        """What measures the runs; None without metrics. :meth:`use_metrics` changes it."""
        return self._metrics

    @property
    def traces(self) -> bool:
        """False if only metrics have somewhere to go."""
        return self._traces

    def prepare_with(self, preparation: Callable[[], None]) -> None:
        """Call this once, before anything is recorded: a process that was forked, or that may yet fork its
        workers, makes its exporters only when it has something to record."""
        self._preparations.add(preparation)

    def prepare(self) -> None:
        """Make what this process needs to record, if that was put off."""
        self._preparations.run()

    async def prepare_off_loop(self) -> None:
        """Like :meth:`prepare`, in a thread: certificates are read, and a detector of resources may ask a network."""
        if self._preparations.pending:
            await asyncio.to_thread(self.prepare)

    def start_flow(
        self,
        info: FlowInfo,
        graph: object | None = None,
        parent: Context | None = None,
        queued_by: SpanContext | None = None,
    ) -> FlowRun | None:
        """A flow starts; its run is current from here on.

        Args:
            info: What is known at the start; :meth:`FlowRun.describe` completes it.
            graph: The host's object being run, for telling re-entry from a nested run.
            parent: Context of the caller where it is not the current one.
            queued_by: Of a run that waited in a queue, the span that put it there: linked, and no parent.

        Returns:
            None if instrumentation is suppressed in the calling context.
        """
        context = otel_context.get_current() if parent is None else parent
        if _suppressed(context):
            return None
        if self._preparations.pending:
            self.prepare()
        if self._metrics is not None:
            self._metrics.probe.watch_running_loop()
        if not self._traces:
            run = FlowRun(None, context, self.settings, info, graph, sampled=False, metrics=self._metrics)
            run.enter()
            return run
        if current_run() is None and _scope_of(trace.get_current_span(context)) == semconv.LANGFLOW_SCOPE:
            # What is above LangFlow's span may be sent by nobody; what is above ours is.
            context = own_request_context() or context
        context, links = parent_and_links(
            context,
            self.settings.remote_parent,
            queued_by,
            answered_at_once=info.entry_point in _ANSWERED_AT_ONCE,
            reaches=self.reaches,
        )
        attributes = span_attributes.flow_attributes(info, self.settings)
        if self.settings.baggage_keys:
            attributes.update(_chosen_baggage(context, self.settings.baggage_keys))
        span, held = self._sampling.start_flow(self.tracer, info, context, attributes, links)
        sampled = span.get_span_context().trace_flags.sampled
        if sampled:
            sent_traces.sent_in(span.get_span_context(), links)
        run = FlowRun(
            span,
            with_span(span, context),
            self.settings,
            info,
            graph,
            sampled=sampled,
            held=held,
            metrics=self._metrics,
            watch=self._watch,
        )
        run.enter()
        return run

    def start_request(self, info: RequestInfo, context: Context) -> RequestRun | None:
        """A request reaches the server; it is current from here on.

        Args:
            info: The request.
            context: What the request's headers say: a caller's span, baggage.

        Returns:
            None where nobody wants to know.
        """
        if _suppressed(context):
            return None
        if self._preparations.pending:
            self.prepare()
        if not self._traces and self._metrics is None:
            return None
        tracer = self.tracer if self._traces else None
        return RequestRun.start(tracer, self._sampling, info, context, self.settings, self._metrics, self.reaches)

    def start_component(self, info: ComponentInfo, within: Run | None) -> ComponentRun:
        """A component starts; its run is current from here on.

        Args:
            info: The component.
            within: The innermost run at this point, or None when a component is built by itself.
        """
        flow = within.flow if within is not None else None
        if self._preparations.pending:
            self.prepare()
        context = otel_context.get_current()
        suppressed = _suppressed(context)
        measures = None if suppressed else self._measures_for(flow)
        if not self._components_on or self._is_untraced(flow) or suppressed:
            run = ComponentRun(None, context, flow, self.settings, info, measures)
        else:
            context = _component_parent(within, context)
            attributes = span_attributes.component_attributes(info, self.settings)
            span = self.make_span(span_attributes.component_name(info), context, attributes, within)
            run = ComponentRun(span, with_span(span, context), flow, self.settings, info, measures)
        run.around = within.component if within is not None else None
        run.enter()
        return run

    def start_tool(self, info: ToolInfo, within: Run, *, is_reported: bool = False) -> ToolRun:
        """A tool is called; its run is current from here on.

        Args:
            info: The call.
            within: The innermost run at this point.
            is_reported: True if :meth:`ToolRun.reported` follows, which makes the span.
        """
        context = otel_context.get_current()
        run = ToolRun(None, context, within.flow, self.settings, info.name)
        run.component = within.component
        if self._components_on and not self._is_untraced(within.flow) and not _suppressed(context):
            attributes = span_attributes.tool_attributes(info, self.settings)
            run.put_off(self._span_later(span_attributes.tool_name(info), context, attributes, within))
            if not is_reported:
                run.begin()
        run.enter()
        return run

    def start_model(self, info: ModelInfo, within: Run, theirs: Span | None = None) -> ModelRun | None:
        """A model is called; None where neither a span nor a measurement is recorded. The run does not become current.

        Args:
            info: The call.
            within: The innermost run at this point.
            theirs: The span that another instrumentor has made of the call.
        """
        context = otel_context.get_current()
        if _suppressed(context):
            return None
        if theirs is None and not is_ours_current(context) and _is_around_call(trace.get_current_span(context)):
            return None
        component = within.component
        measures = self._measures_for(within.flow) if component is None else component.measures
        untraced = self._is_untraced(within.flow)
        if untraced and measures is None:
            return None
        make_span: Callable[[], Span] | None = None
        if self._models_on and not untraced and theirs is None:
            attributes = span_attributes.model_attributes(info, openinference=self.settings.openinference)
            if within.flow is not None:
                attributes = {**attributes, **within.flow.identity()}
            arguments = span_attributes.model_name(info), context, attributes, within, SpanKind.CLIENT
            make_span = functools.partial(self._make_model_span, *arguments, time.time_ns())
        span_above = functools.partial(self.span_above, within=within)
        return ModelRun(make_span, theirs, context, within, self.settings, info, measures, span_above)

    def _span_later(
        self,
        name: str,
        context: Context,
        attributes: Mapping[str, AttributeValue],
        within: Run,
    ) -> Callable[[], Span]:
        """Makes the span of :meth:`make_span`, as if it were made now."""
        return functools.partial(self.make_span, name, context, attributes, within, SpanKind.INTERNAL, time.time_ns())

    def _make_model_span(
        self,
        name: str,
        context: Context,
        attributes: Mapping[str, AttributeValue],
        within: Run,
        kind: SpanKind,
        started_ns: int,
    ) -> Span:
        """The span of :meth:`make_span`; where the provider is ours, one that costs less than the SDK's."""
        flow = within.flow
        send = self._sender() if flow is not None and flow.sampled else None
        if send is not None:
            above = self.span_above(context, within)
            parent = above.get_span_context()
            if parent.trace_flags & TraceFlags.SAMPLED and parent.is_valid:
                own = new_span_context(parent, sampled=True)
                span = HeldSpan(self.tracer, name, above, kind=kind, start_time=started_ns, own=own, send=send)
                span.take(attributes)
                return span
        return self.make_span(name, context, attributes, within, kind, started_ns)

    def start_output(self, name: str, within: ComponentRun) -> Run | None:
        """An output method starts; None unless the detail is ``output``."""
        if not self._outputs_on or within.span is None:
            return None
        name = chosen(name)
        attributes = span_attributes.custom_attributes({semconv.OUTPUT_NAME: name}, self.settings)
        return self.start_span(f"{semconv.OUTPUT} {name}", attributes)

    def open_stream(self, producer: ComponentRun) -> StreamRun | None:
        """A generator leaves its component; None if nobody wants to know."""
        return StreamRun(self, producer) if producer.observed else None

    def start_span(
        self, name: str, attributes: Mapping[str, AttributeValue] | None = None, *, enter: bool = True
    ) -> Run | None:
        """A custom span; None inside a flow that is not sampled, or where instrumentation is suppressed."""
        within = current_run()
        flow = within.flow if within is not None else None
        if self._preparations.pending:
            self.prepare()
        context = otel_context.get_current()
        if self._is_untraced(flow) or _suppressed(context):
            return None
        span = self.make_span(chosen(name), context, attributes, within)
        run = Run(span, with_span(span, context), flow, self.settings)
        if within is not None:
            run.component, run.tool = within.component, within.tool
        if enter:
            run.enter()
        return run

    def make_span(
        self,
        name: str,
        context: Context,
        attributes: Mapping[str, AttributeValue] | None,
        within: Run | None,
        kind: SpanKind = SpanKind.INTERNAL,
        started_ns: int | None = None,
    ) -> Span:
        """A span below a run, or one that is held with the rest of the run."""
        flow = within.flow if within is not None else None
        if flow is not None:
            attributes = {**flow.named, **(attributes or {})}
        above = self.span_above(context, within)
        if flow is None or flow.held is None:
            links = None
            current = trace.get_current_span(context)
            if above is not current:
                links = [Link(current.get_span_context())] if above is trace.INVALID_SPAN else None
                context = trace.set_span_in_context(above, context)
            span = self.tracer.start_span(
                name, context=context, kind=kind, attributes=attributes, links=links, start_time=started_ns
            )
            if flow is None and span.is_recording():
                sent_traces.sent_in(span.get_span_context(), links)
            return span
        above = held_parent(above, within)
        return flow.held.start_span(self.tracer, name, above, kind=kind, attributes=attributes, start_time=started_ns)

    def span_above(self, context: Context, within: Run | None) -> Span:
        """The nearest span above that goes where ours go; ``INVALID_SPAN`` if there is none.

        Args:
            context: Where a span is about to start.
            within: The innermost run at this point.
        """
        above = span_above(context, self.reaches)
        if above is trace.INVALID_SPAN and within is not None:
            # The context was made elsewhere, and has lost the run.
            return within.nearest_span or above
        return above

    def has_parent_here(self) -> bool:
        """True if the current span records, and is sent where ours are."""
        span = trace.get_current_span()
        return span.is_recording() and span_above(otel_context.get_current(), self.reaches) is span

    def _is_untraced(self, flow: FlowRun | None) -> bool:
        return not self._traces or (flow is not None and not flow.sampled and flow.held is None)

    def _measures_for(self, flow: FlowRun | None) -> FlowMetrics | None:
        if flow is not None:
            return flow.measures
        return None if self._metrics is None else self._metrics.flow(None)


def _no_sender() -> None:
    """The provider makes all spans."""


def _suppressed(context: Context) -> bool:
    return bool(context.get(_SUPPRESS_KEYS[0]) or context.get(_SUPPRESS_KEYS[1]))


def _is_around_call(span: Span) -> bool:
    """True for a span that another instrumentor made of a model call, and that is around what LangChain calls."""
    attributes: Any = None if _scope_of(span) == semconv.SCOPE else getattr(span, "attributes", None)
    return bool(attributes) and any(name in attributes for name in semconv.TOKENS_OF_OTHERS)


def _chosen_baggage(context: Context, keys: tuple[str, ...]) -> dict[str, str]:
    # Not at the top: few want it, and an author's import of `traced` would pay for it.
    from opentelemetry import baggage

    entries = baggage.get_all(context)
    return {key: chosen(str(entries[key])) for key in keys if key in entries}


def _component_parent(within: Run | None, context: Context) -> Context:
    """The current context, but never below LangFlow's own ``flow.execute``: that span is exported by
    LangFlow's provider, or by nobody, and our tree must hold together without it."""
    if within is None or within.span is None or context is within.context:
        return context
    span = trace.get_current_span(context)
    if span is not within.span and _scope_of(span) == semconv.LANGFLOW_SCOPE:
        return within.context
    return context


def _scope_of(span: Span) -> str | None:
    scope: Any = getattr(span, "instrumentation_scope", None)
    return None if scope is None else scope.name


def count_dropped(signal: str, reason: str, items: int = 1) -> None:
    """Telemetry of this process was lost; counted as ``langflow_otel.dropped``.

    Args:
        signal: traces, metrics or logs.
        reason: queue_full, export_failed, own_error, broken_file (a worker's numbers), too_large: for one request to
            the receiver, or given_up: of a run that was not sampled and would have been kept.
        items: How many spans, data points or errors.
    """
    recorder = process_recorder()
    if recorder is not None and recorder.metrics is not None:
        recorder.metrics.dropped(signal, reason, items)


def _count_given_up(items: int) -> None:
    count_dropped("traces", "given_up", items)


_active: Recorder | None = None


def active_recorder() -> Recorder | None:
    """The recorder while instrumentation is on, else None. None also in the code of a run that was ended by the stop of
    the process, and goes on."""
    if runs.any_stopped:
        run = runs.innermost_run.get()
        if run is not None and run.flow is not None and run.flow.stopped:
            return None
    return _active


def process_recorder() -> Recorder | None:
    """The recorder while instrumentation is on, whatever the calling code is a part of."""
    return _active


def nearest_context() -> Context:
    """The current context as far as our backend knows it: in place of a span that is sent elsewhere, the nearest above
    it that is sent where ours are, if there is one."""
    context = otel_context.get_current()
    if _active is None:
        return context
    above = span_above(context, _active.reaches)
    if above is trace.INVALID_SPAN or above is trace.get_current_span(context):
        return context
    return trace.set_span_in_context(above, context)


def set_active_recorder(recorder: Recorder | None) -> None:
    global _active
    _active = recorder
