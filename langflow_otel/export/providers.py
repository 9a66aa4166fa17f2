"""Which TracerProvider makes our spans: one that is passed in, our own, or a global one that was found.

LangFlow 1.12 and later may install a global provider that drops foreign scopes, so ours is normally
not global. Contexts are shared all the same: our spans and LangFlow's form one tree.
"""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import TracerProvider

from langflow_otel.export.nested import NestedModelSpans
from langflow_otel.export.resources import langflow_resource
from langflow_otel.settings import OtlpTarget, Settings


@dataclass(frozen=True)
class TracerChoice:
    """The provider that was chosen, and why."""

    provider: TracerProvider
    own: SdkTracerProvider | None
    reason: str

    def shutdown(self) -> None:
        """Flush and close the provider if it is ours; leave anybody else's alone."""
        if self.own is not None:
            self.own.shutdown()


def choose_tracer_provider(settings: Settings, given: TracerProvider | None) -> TracerChoice | None:
    """None if instrumentation is off, or if spans would have nowhere to go."""
    if settings.sdk_disabled or settings.enabled == "false":
        return None
    if given is not None:
        return TracerChoice(given, None, "the tracer provider that was passed in")
    if settings.has_destination:
        own = build_tracer_provider(settings)
        return TracerChoice(own, own, "our own tracer provider, built from the environment")
    found = trace.get_tracer_provider()
    if isinstance(found, SdkTracerProvider):
        return TracerChoice(found, None, "the global SDK tracer provider; no destination of our own is configured")
    return None


def build_tracer_provider(settings: Settings) -> SdkTracerProvider:
    """A provider with every destination of the settings. Samplers, limits and batch sizes come from the
    standard variables, which the SDK reads itself."""
    provider = SdkTracerProvider(resource=langflow_resource(settings))
    provider.add_span_processor(NestedModelSpans())
    if settings.otlp is not None:
        provider.add_span_processor(BatchSpanProcessor(otlp_exporter(settings.otlp)))
    if settings.trace_file is not None:
        from langflow_otel.export.trace_file import TraceFileExporter

        provider.add_span_processor(BatchSpanProcessor(TraceFileExporter(settings.trace_file)))
    if settings.console:
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    return provider


def otlp_exporter(target: OtlpTarget) -> SpanExporter:
    """The SDK's exporter for the target; headers, timeout, compression and certificates come from the
    standard variables."""
    if target.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(endpoint=target.endpoint, insecure=target.insecure)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter(endpoint=target.endpoint)


__all__ = ["TracerChoice", "build_tracer_provider", "choose_tracer_provider", "otlp_exporter"]
