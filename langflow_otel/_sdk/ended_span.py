"""Passes this library's ended spans to the SDK's span processors, without creating SDK spans before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link
from opentelemetry.util.types import Attributes

from langflow_otel import _semconv as semconv
from langflow_otel._runs.buffered_spans import HeldSpan, Send
from langflow_otel._sdk.content_filter import deny_content, with_dropped
from langflow_otel._sdk.instrumentor_spans import NestedModelSpans
from langflow_otel._sdk.sampling import DecidedSampler
from langflow_otel._sdk.versions import active_processor, local_parent_sampled, on_ending_of, processors_in
from langflow_otel.version import __version__

_SDK_METRICS: Final = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"


def _before_ends(cls: Any) -> tuple[object, object]:
    """What a processor does before spans have ended."""
    return cls.on_start, on_ending_of(cls)


_ONLY_ENDS_MATTER: Final = frozenset(
    map(_before_ends, (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor, NestedModelSpans))
)
"""Of processors that do nothing then, with a span of ours."""


class EndedSpans:
    """Passes ended spans to the span processors of the library's own provider.

    Args:
        provider: The provider.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._processors: Any = active_processor(provider)
        self._scope = InstrumentationScope(semconv.SCOPE, __version__, semconv.SCHEMA_URL)
        # The SDK counts the spans that it makes itself.
        self._is_replaceable = _takes_all_below(provider.sampler) and not _is_true(os.environ.get(_SDK_METRICS))
        self._checked: object = None
        self._only_ends_matter = False

    def sender(self) -> Send | None:
        """The function to call with an ended span; None if the provider itself must create the spans.

        It must when a processor needs spans as they start, or when a sampler decides on each of them."""
        processors = processors_in(self._processors)
        # Another tuple with each processor that is added.
        if processors is not self._checked:
            self._checked, self._only_ends_matter = (
                processors,
                all(_before_ends(type(each)) in _ONLY_ENDS_MATTER for each in processors),
            )
        return self._send if self._is_replaceable and self._only_ends_matter else None

    def _send(self, span: HeldSpan) -> None:
        # A copy: an author's thread may be about to add one, and the exporter's thread reads them without a lock.
        attributes: Attributes = span.attributes.copy()
        events: Sequence[Event] = [Event(*event[:3]) for event in span.events] if span.events else ()
        links: Sequence[Link] = span.links
        # The SDK reads these counts only from its own classes.
        if "_attributes" in span.dropped:
            attributes = with_dropped(span.attributes, span.dropped["_attributes"])
        if "_events" in span.dropped:
            events = _bounded(events, span.dropped["_events"])
        if "_links" in span.dropped:
            links = _bounded(links, span.dropped["_links"])
        ended = ReadableSpan(
            name=span.name,
            context=span.get_span_context(),
            parent=span.parent,
            resource=self._provider.resource,
            attributes=attributes,
            events=events,
            links=links,
            kind=span.kind,
            status=span.status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=self._scope,
        )
        if span.denied:
            deny_content(ended)
        self._processors.on_end(ended)


def _bounded(items: Sequence[Any], dropped: int) -> Any:
    bounded: Any = BoundedList.from_seq(len(items), items)
    bounded.dropped = dropped
    return bounded


def _takes_all_below(sampler: Sampler) -> bool:
    """True if the sampler takes each span that is below a sampled one of this process, as those do that the SDK has for
    ``OTEL_TRACES_SAMPLER``; one that was installed beside them may decide by a span's name."""
    if isinstance(sampler, DecidedSampler):
        return sampler.follows_parent or _takes_all_below(sampler.otherwise)
    decides: object = sampler
    if isinstance(sampler, ParentBased):
        decides = local_parent_sampled(sampler)
    return type(decides).__module__ == Sampler.__module__


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() == "true"
