"""Which provider makes the spans, what resource they carry, and who shuts it down."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, TraceIdRatioBased
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider

from langflow_otel._sdk.batches import CountingBatchSpanProcessor, CountingSpanExporter
from langflow_otel._sdk.content_filter import ContentFilter
from langflow_otel._sdk.instrumentor_spans import NestedModelSpans
from langflow_otel._sdk.otlp import headers_in, otlp_exporter
from langflow_otel._sdk.providers import Choice, build_tracer_provider, choose_tracer_provider
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._sdk.trace_file import TraceFileExporter
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings

CONSOLE = Settings(console=True)
NOWHERE = Settings()


@pytest.fixture
def closed(monkeypatch) -> list[TracerProvider]:
    """The providers that were shut down."""
    closed: list[TracerProvider] = []
    shutdown = TracerProvider.shutdown

    def remember(self: TracerProvider) -> None:
        closed.append(self)
        shutdown(self)

    monkeypatch.setattr(TracerProvider, "shutdown", remember)
    return closed


@pytest.fixture
def global_provider(monkeypatch) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return provider


@pytest.fixture
def built() -> Iterator[list[Choice]]:
    """Choices whose own provider is closed at the end."""
    built: list[Choice] = []
    yield built
    for choice in built:
        choice.shutdown()


def exporters_of(provider: TracerProvider) -> list[object]:
    """Below what counts and filters."""
    return [innermost(processor.span_exporter) for processor in exporting(provider)]


def exporting(provider: TracerProvider) -> list[Any]:
    """The processors that export."""
    processors = provider._active_span_processor._span_processors
    return [processor for processor in processors if not isinstance(processor, NestedModelSpans)]


def innermost(exporter: object) -> object:
    while isinstance(exporter, (CountingSpanExporter, ContentFilter)):
        exporter = exporter._exporter
    return exporter


def is_filtered(exporter: object) -> bool:
    return isinstance(exporter, ContentFilter) or isinstance(getattr(exporter, "_exporter", None), ContentFilter)


def test_a_given_provider_wins_over_all(global_provider):
    given = TracerProvider(shutdown_on_exit=False)

    assert choose_tracer_provider(CONSOLE, given) == Choice(given, None, "the tracer provider that was passed in")


def test_with_a_destination_it_is_our_own(global_provider, built):
    choice = choose_tracer_provider(CONSOLE, None)
    assert choice is not None
    built.append(choice)

    assert choice.provider is choice.own
    assert choice.provider is not global_provider
    assert choice.reason == "our own tracer provider, built from the environment"


def test_without_a_destination_a_global_sdk_provider_is_used(global_provider):
    choice = choose_tracer_provider(NOWHERE, None)

    assert choice == Choice(
        global_provider, None, "the global SDK tracer provider; no destination of our own is configured"
    )


@pytest.mark.parametrize("processor", [BatchSpanProcessor, SimpleSpanProcessor])
def test_a_global_provider_that_was_shut_down_is_not_used(global_provider, processor):
    global_provider.add_span_processor(processor(InMemorySpanExporter()))
    assert choose_tracer_provider(NOWHERE, None) is not None
    global_provider.shutdown()

    assert choose_tracer_provider(NOWHERE, None) is None


@pytest.mark.parametrize("provider", [ProxyTracerProvider(), NoOpTracerProvider()])
def test_a_global_provider_that_is_none_of_the_sdks_does_not_count(monkeypatch, provider):
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    assert choose_tracer_provider(NOWHERE, None) is None


@pytest.mark.parametrize("off", [{"enabled": "false"}, {"sdk_disabled": True}])
def test_off_wins_over_any_provider(global_provider, off):
    settings = Settings(console=True, **off)

    assert choose_tracer_provider(settings, TracerProvider(shutdown_on_exit=False)) is None


def test_our_own_provider_is_not_global(built):
    choice = choose_tracer_provider(CONSOLE, None)
    assert choice is not None
    built.append(choice)

    assert trace.get_tracer_provider() is not choice.provider


def test_only_our_own_provider_is_shut_down(global_provider, closed):
    given = TracerProvider(shutdown_on_exit=False)
    own = choose_tracer_provider(CONSOLE, None)
    choices = [choose_tracer_provider(CONSOLE, given), choose_tracer_provider(NOWHERE, None), own]
    for choice in choices:
        assert choice is not None
        choice.shutdown()

    assert own is not None
    assert closed == [own.own]


# What our own provider has


def test_each_destination_has_its_exporter(tmp_path, monkeypatch):
    settings = Settings(
        otlp=OtlpTarget("http/protobuf", "http://127.0.0.1:9/v1/traces", insecure=True),
        trace_file=tmp_path / "spans",
        console=True,
    )
    provider = build_tracer_provider(settings)
    kinds = [type(processor) for processor in provider._active_span_processor._span_processors]

    # First what notes at a span's end whether its content may leave.
    assert kinds == [NestedModelSpans, CountingBatchSpanProcessor, CountingBatchSpanProcessor, SimpleSpanProcessor]
    otlp, file, console = exporters_of(provider)
    assert otlp._endpoint == "http://127.0.0.1:9/v1/traces"  # type: ignore[attr-defined]
    assert isinstance(file, TraceFileExporter)
    assert isinstance(console, ConsoleSpanExporter)
    # What other instrumentors put on their spans leaves by none of them.
    assert all(is_filtered(processor.span_exporter) for processor in exporting(provider))
    provider.shutdown()


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
@pytest.mark.parametrize("insecure", [True, False])
@pytest.mark.parametrize("variable", ["", "true", "false"])
def test_the_grpc_exporter_does_what_the_target_says(monkeypatch, signal: Any, insecure: bool, variable: str):
    """Whatever OTEL_EXPORTER_OTLP_INSECURE says: the target has taken it into account already."""
    if variable:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", variable)
    asked: list[tuple[str, bool]] = []
    for name in ("insecure_channel", "secure_channel"):

        def channel(address: str, *_: object, insecure: bool = name == "insecure_channel", **__: object) -> object:
            asked.append((address, insecure))
            return _Channel()

        monkeypatch.setattr(f"opentelemetry.exporter.otlp.proto.grpc.exporter.{name}", channel)
    scheme = "http" if insecure else "https"
    otlp_exporter(OtlpTarget("grpc", f"{scheme}://host:4317", insecure), signal)

    assert asked == [("host:4317", insecure)]


def test_a_file_that_cannot_be_read_is_said_once_and_has_no_headers(tmp_path):
    path = tmp_path / "none"
    settings = Settings.from_env(
        {"LANGFLOW_OTEL_OTLP_HEADERS_FILE": str(path), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    )

    assert settings.problems == (
        f"LANGFLOW_OTEL_OTLP_HEADERS_FILE={str(path)!r} cannot be read. Using no further headers instead.",
    )
    assert headers_in(path) == {}


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "huge"])
def test_what_has_no_end_is_no_file_of_headers(tmp_path, kind: str):
    path = Path("/dev/zero") if kind == "device" else tmp_path / "headers"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.write_bytes(b"a=b," * 2**19)
    settings = Settings.from_env({"LANGFLOW_OTEL_OTLP_HEADERS_FILE": str(path)})

    assert settings.problems == (
        f"LANGFLOW_OTEL_OTLP_HEADERS_FILE={str(path)!r} cannot be read. Using no further headers instead.",
    )
    assert headers_in(path) == {}


class _Channel:
    def unary_unary(self, *_: object, **__: object) -> None: ...


def test_the_standard_variables_set_sampler_and_limits(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "7")
    provider = build_tracer_provider(NOWHERE)

    assert isinstance(provider.sampler, TraceIdRatioBased)
    assert provider.sampler.rate == 0.25
    assert provider._span_limits.max_span_attributes == 7


def test_without_them_every_trace_is_sampled():
    assert build_tracer_provider(NOWHERE).sampler is DEFAULT_ON


# Resource


def resource(**settings: str) -> dict[str, object]:
    return dict(langflow_resource(Settings(**settings)).attributes)


def test_the_service_is_langflow_unless_told_otherwise(monkeypatch):
    assert resource()["service.name"] == "langflow"
    assert resource(service_name="shop")["service.name"] == "shop"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=from-attributes")
    assert resource()["service.name"] == "from-attributes"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-its-variable")
    assert langflow_resource(Settings.from_env()).attributes["service.name"] == "from-its-variable"


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_service_name_is_as_good_as_none(monkeypatch, text: str):
    monkeypatch.setenv("OTEL_SERVICE_NAME", text)

    assert langflow_resource(Settings.from_env()).attributes["service.name"] == "langflow"


def test_resource_attributes_of_the_environment_are_carried(monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,team=a%20b")
    found = resource()

    assert found["deployment.environment.name"] == "prod"
    assert found["team"] == "a b"
    assert found["telemetry.sdk.name"] == "opentelemetry"


def test_the_instance_is_the_process(monkeypatch):
    instance = str(resource()["service.instance.id"])

    assert uuid.UUID(instance).version == 4
    assert resource()["service.instance.id"] == instance
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-7")
    assert resource()["service.instance.id"] == "pod-7"
