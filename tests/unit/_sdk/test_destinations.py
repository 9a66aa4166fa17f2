"""Which spans of other providers are sent where ours are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, NoOpTracerProvider, Span, SpanContext

from langflow_otel._hooks import native
from langflow_otel._sdk.destinations import reaches_same_backend
from langflow_otel._sdk.providers import build_tracer_provider
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings

HERE, ELSEWHERE = "http://127.0.0.1:1/v1/traces", "http://127.0.0.1:2/v1/traces"
FASTAPI = "opentelemetry.instrumentation.fastapi"


@pytest.fixture
def providers() -> Iterator[list[TracerProvider]]:
    made: list[TracerProvider] = []
    yield made
    for provider in made:
        # Nobody listens: nothing is to be sent at the end.
        provider._active_span_processor._span_processors = ()
        provider.shutdown()


def provider(*processors: SpanProcessor) -> TracerProvider:
    made = TracerProvider(shutdown_on_exit=False)
    for processor in processors:
        made.add_span_processor(processor)
    return made


def sending_to(*exporters: SpanExporter) -> TracerProvider:
    return provider(*(SimpleSpanProcessor(exporter) for exporter in exporters))


def span_of(made: TracerProvider, scope: str = "author") -> Span:
    return made.get_tracer(scope).start_span("theirs")


def reaches(ours: Any, span: Span) -> bool:
    return reaches_same_backend(ours, native.passes)(span)


def test_what_the_provider_itself_makes():
    ours = provider()

    assert reaches(ours, span_of(ours))
    assert not reaches(ours, span_of(provider()))


def test_span_made_before_we_saw_the_provider():
    ours = provider()
    span = span_of(ours)

    assert reaches(ours, span)


def test_a_resource_that_two_providers_share_says_nothing():
    resource = Resource.create({"service.name": "app"})
    ours, other = TracerProvider(resource=resource), TracerProvider(resource=resource)

    assert not reaches(ours, span_of(other))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (HttpExporter(HERE), HttpExporter(HERE), True),
        (HttpExporter(HERE), HttpExporter(HERE + "/"), True),
        (HttpExporter(HERE), HttpExporter(ELSEWHERE), False),
        (GrpcExporter("http://127.0.0.1:1", insecure=True), GrpcExporter("127.0.0.1:1", insecure=True), True),
        (GrpcExporter("http://127.0.0.1:1", insecure=True), GrpcExporter("127.0.0.1:2", insecure=True), False),
        (InMemorySpanExporter(), InMemorySpanExporter(), False),
    ],
)
def test_addresses_are_compared(ours, theirs, expected):
    assert reaches(sending_to(ours), span_of(sending_to(theirs))) is expected


def test_one_place_of_several_is_enough():
    shared = InMemorySpanExporter()

    assert reaches(sending_to(HttpExporter(HERE), shared), span_of(sending_to(HttpExporter(ELSEWHERE), shared)))


def test_our_own_provider_with_all_that_is_around_its_exporter(providers):
    ours = build_tracer_provider(Settings(otlp=OtlpTarget("http/protobuf", HERE, insecure=True)))
    there, elsewhere = provider(BatchSpanProcessor(HttpExporter(HERE))), sending_to(HttpExporter(ELSEWHERE))
    providers += [ours, there]

    assert reaches(ours, span_of(there))
    assert not reaches(ours, span_of(elsewhere))


class ApplicationOnlySpanProcessor(SimpleSpanProcessor):
    """As LangFlow's."""


class _ApplicationScopeFilter(SpanProcessor):
    """As LangFlow's, around Traceloop's."""

    def __init__(self, wrapped: SpanProcessor) -> None:
        self._wrapped = wrapped


@pytest.mark.parametrize(
    ("processor", "scope", "expected"),
    [
        (ApplicationOnlySpanProcessor(HttpExporter(HERE)), FASTAPI, True),
        (ApplicationOnlySpanProcessor(HttpExporter(HERE)), "opentelemetry.instrumentation.langchain", False),
        (_ApplicationScopeFilter(SimpleSpanProcessor(HttpExporter(HERE))), FASTAPI, False),
        (_ApplicationScopeFilter(SimpleSpanProcessor(HttpExporter(HERE))), "langflow", True),
        (_ApplicationScopeFilter(SimpleSpanProcessor(HttpExporter(ELSEWHERE))), "langflow", False),
    ],
)
def test_what_langflows_processors_drop_goes_nowhere(monkeypatch, processor, scope, expected):
    scopes = frozenset({FASTAPI})
    known = SimpleNamespace(exported_span_scopes=lambda: scopes, APPLICATION_INSTRUMENTATION_SCOPES=scopes)
    monkeypatch.setitem(sys.modules, "lfx.observability", known)

    assert reaches(sending_to(HttpExporter(HERE)), span_of(provider(processor), scope)) is expected


def test_a_given_provider_that_is_not_the_sdks():
    """Its spans are known by their not being the SDK's."""

    class TheirSpan(NonRecordingSpan):
        def is_recording(self) -> bool:
            return True

    ours = NoOpTracerProvider()

    assert reaches(ours, TheirSpan(SpanContext(1, 2, is_remote=False)))
    assert not reaches(ours, span_of(provider()))


def test_an_exporter_that_raises_reaches_nothing(monkeypatch):
    class Hostile(InMemorySpanExporter):
        @property
        def _endpoint(self) -> str:
            raise RuntimeError("canary")

    from langflow_otel import _guard as guard

    monkeypatch.setattr(guard, "strict", False)

    assert not reaches(sending_to(HttpExporter(HERE)), span_of(sending_to(Hostile())))
    assert guard.faults["parents.compare"] == 1
