"""Tokens are counted once: where a nested instrumentor's span carries them, the component's does not."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from langflow_otel.recording import semconv
from langflow_otel.recording.runs import current_run

# GenAI conventions (OpenTelemetry, OpenLLMetry), OpenInference.
_TOKEN_ATTRIBUTES = (semconv.GEN_AI_USAGE_INPUT_TOKENS, "llm.token_count.prompt")


class NestedModelSpans(SpanProcessor):
    """Notices model spans of other instrumentors that end inside a component.

    Works for spans that pass through the provider that it is added to, which is our own one.
    """

    def on_start(self, span: Span, parent_context: Context | None = None) -> None: ...

    def on_end(self, span: ReadableSpan) -> None:
        run = current_run()
        if run is None or run.component is None or not span.attributes:
            return
        scope = span.instrumentation_scope
        if scope is not None and scope.name == semconv.SCOPE:
            return
        if any(name in span.attributes for name in _TOKEN_ATTRIBUTES):
            run.component.tokens_are_below = True
