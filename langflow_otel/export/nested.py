"""Tokens are counted once: where a nested instrumentor's span carries them, the component's does not."""

from __future__ import annotations

import weakref
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

from langflow_otel.recording import semconv
from langflow_otel.recording.guard import Guard
from langflow_otel.recording.runs import ComponentRun, current_run

_NOTE = Guard("nested.note")


class NestedModelSpans(SpanProcessor):
    """Notices model spans of other instrumentors that start inside a component, wherever they end: callbacks
    of models often run in another task or thread.

    Works for spans that pass through the provider that it is added to.
    """

    def __init__(self) -> None:
        # Weakly: there are instrumentors that never end a span whose stream was left.
        self._within: weakref.WeakValueDictionary[int, ComponentRun] = weakref.WeakValueDictionary()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        # The SDK would hand an error on to whoever makes the span.
        with _NOTE:
            scope = span.instrumentation_scope
            if scope is not None and scope.name == semconv.SCOPE:
                return
            run = current_run()
            if run is not None and run.component is not None:
                self._within[_span_id(span)] = run.component

    def on_end(self, span: ReadableSpan) -> None:
        with _NOTE:
            component = self._within.pop(_span_id(span), None)
            if component is not None:
                note_tokens(component, span)


def note_tokens(component: ComponentRun, span: Any) -> None:
    """A span that another instrumentor made inside the component has ended."""
    if span.attributes and any(name in span.attributes for name in semconv.TOKENS_OF_OTHERS):
        component.tokens_are_below = True


def _span_id(span: Any) -> int:
    context = span.get_span_context()
    return context.span_id if context is not None else 0


_watched: weakref.WeakSet[SdkTracerProvider] = weakref.WeakSet()


def watch_nested_model_spans(provider: object) -> None:
    """Add :class:`NestedModelSpans` to the provider, once in its life; nothing for a provider of another kind.

    A processor cannot be taken away again; without runs of ours this one does nothing.
    """
    if isinstance(provider, SdkTracerProvider) and provider not in _watched:
        _watched.add(provider)
        provider.add_span_processor(NestedModelSpans())
