"""Which spans are made at once, which are held, and which never come to be.

A caller in another process decides for the runs that it starts. Else the flow's ratio does, whatever the host
does with its own span of the request; where no ratio is set, the sampler of ``OTEL_TRACES_SAMPLER``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, Tracer

from langflow_otel._runs import span_attributes
from langflow_otel._runs.buffered_spans import HeldSpan, make_span, new_span_context
from langflow_otel._runs.facts import FlowInfo
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.parent_context import caller_of
from langflow_otel._runs.run import Run, current_run
from langflow_otel._runs.sampling_ratios import FlowRatios
from langflow_otel._runs.span_attributes import Attributes
from langflow_otel._runs.tail_sampling import HeldTrace, Keeper
from langflow_otel._settings.settings import Settings


class UnsampledFlowSpan(NonRecordingSpan):
    """Stands for a flow run that is not sampled, so that its context still goes out with flag 0.

    It says that it records, for LangFlow 1.12 and later starts a new trace below a span that does not.
    """

    def is_recording(self) -> bool:
        return True


class Sampling:
    """Decides as the settings say.

    Args:
        settings: Ratios, and which runs to keep.
        decides: False if the spans' provider is somebody else's: its own sampler decides alone then.
        dropped: Gets how many spans were lost of a run that would have been kept.
    """

    def __init__(self, settings: Settings, *, decides: bool, dropped: Callable[[int], None]) -> None:
        self._ratios = FlowRatios(settings.sampling) if decides and settings.sampling else None
        self._keeper: Keeper | None = None
        if decides and settings.keeps_runs:
            self._keeper = Keeper(errors=settings.keep_errors, slow_s=settings.keep_slow_s, dropped=dropped)

    def start_flow(
        self, tracer: Tracer, info: FlowInfo, context: Context, attributes: Attributes, links: Sequence[Link] | None
    ) -> tuple[Span, HeldTrace | None]:
        """The span of a flow run, and where to hold what is below it if the run is not sampled."""
        above = trace.get_current_span(context)
        name = span_attributes.flow_name(info)
        outer = _flow_above(above)
        if isinstance(above, HeldSpan):
            above.claimed = True
        if outer is not None and outer.held is not None:
            return outer.held.start_span(tracer, name, above, attributes=attributes, links=links), outer.held
        own: SpanContext | None = None
        if self._ratios is None:
            span = tracer.start_span(name, context=context, attributes=attributes, links=links)
            if span.is_recording():
                return span, None
            own = span.get_span_context()
        else:
            own = new_span_context(above.get_span_context())
            if self._is_sampled(info, own.trace_id, above, outer):
                if isinstance(above, HeldSpan):
                    above.keep()
                return make_span(tracer, own, name, context=context, attributes=attributes, links=links), None
        if self._keeper is None:
            return UnsampledFlowSpan(own), None
        held = self._keeper.hold()
        return held.start_span(tracer, name, above, attributes=attributes, links=links, own=own), held

    def _is_sampled(self, info: FlowInfo, trace_id: int, above: Span, outer: FlowRun | None) -> bool:
        if outer is not None:
            return outer.sampled
        caller = caller_of(above)
        if caller is not None:
            return caller.trace_flags.sampled
        parent = above.get_span_context()
        if parent.is_valid and not parent.trace_flags.sampled and not isinstance(above, HeldSpan):
            return False
        return self._ratios is None or self._ratios.samples(trace_id, info.name, info.flow_id)

    def start_request(self, tracer: Tracer, name: str, context: Context, **kwargs: Any) -> Span:
        """The span of a request: it is sampled if a flow that it runs is, so that waits if the caller says nothing."""
        above = trace.get_current_span(context)
        parent = above.get_span_context()
        if self._ratios is not None and not parent.is_valid:
            return HeldSpan(tracer, name, above, **kwargs)
        if self._ratios is not None and parent.trace_flags.sampled:
            return make_span(tracer, new_span_context(parent), name, context=context, **kwargs)
        span = tracer.start_span(name, context=context, **kwargs)
        if span.is_recording() or self._keeper is None:
            return span
        return HeldSpan(tracer, name, above, **kwargs)

    def end_request(self, span: Span) -> None:
        """The request is about to end: keep the span of one that ran no flow as often as of any other."""
        if self._ratios is None or not isinstance(span, HeldSpan) or span.claimed or span.parent is not None:
            return
        if self._ratios.samples(span.get_span_context().trace_id, ""):
            span.keep()


def held_parent(above: Span, within: Run | None) -> Span:
    """What a held span is below of: the span above if that is held, too, else the run's own."""
    if isinstance(above, HeldSpan) or within is None:
        return above
    return within.nearest_span or trace.INVALID_SPAN


def _flow_above(above: Span) -> FlowRun | None:
    """The flow run in whose trace another starts."""
    run = current_run()
    if run is None or run.flow is None or run.flow.span is None:
        return None
    same_trace = run.flow.span.get_span_context().trace_id == above.get_span_context().trace_id
    return run.flow if same_trace else None
