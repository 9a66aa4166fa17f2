"""Loading other instrumentors: which, when, with what said, and taken back."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span

from langflow_otel._runs.facts import ComponentInfo, FlowInfo
from langflow_otel._runs.recorder import Recorder
from langflow_otel._sdk import http_clients, instrumentors
from langflow_otel._sdk.instrumentor_spans import NestedModelSpans, watch_nested_model_spans
from langflow_otel._sdk.instrumentors import OtherInstrumentors
from langflow_otel._settings.settings import Settings


class Fake(BaseInstrumentor):
    """Notes what it is given, and what the environment says then."""

    _instance = None
    given: list[dict[str, Any]] = []
    seen: list[dict[str, str]] = []

    def instrumentation_dependencies(self) -> tuple[str, ...]:
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        self.given.append(kwargs)
        self.seen.append(
            {name: value for name, value in os.environ.items() if name.startswith(("TRACELOOP", "OPENINF"))}
        )
        self.tracer = kwargs["tracer_provider"].get_tracer("fake", "1")

    def _uninstrument(self, **kwargs: Any) -> None: ...


class Second(Fake):
    _instance = None  # else the base class hands out the parent's


class Broken(Fake):
    _instance = None

    def _instrument(self, **kwargs: Any) -> None:
        raise ImportError("no such thing")


class Stuck(Fake):
    _instance = None

    def _uninstrument(self, **kwargs: Any) -> None:
        raise RuntimeError("stuck")


class Dist:
    def __init__(self, name: str, requires: list[str] | None = None) -> None:
        self.name = name
        self.requires = requires


class Entry:
    """An entry point, with the distribution that it comes from."""

    def __init__(self, name: str, dist: Dist, cls: type) -> None:
        self.name, self.dist, self.cls = name, dist, cls
        self.value = f"{cls.__module__}:{cls.__name__}"

    def load(self) -> type:
        return self.cls


LOOP = Dist("opentelemetry-instrumentation-chain", ["opentelemetry-semantic-conventions-ai<0.6,>=0.5"])
INSTALLED = [
    Entry("chain", Dist("OpenInference_instrumentation.chain"), Fake),
    Entry("chain", LOOP, Second),
    Entry("broken", Dist("broken-dist"), Broken),
    Entry("stuck", Dist("stuck-dist"), Stuck),
    Entry("single", Dist("single-dist"), Fake),
    Entry("single", Dist("single-dist"), Fake),  # found twice on the path
    EntryPoint("langflow", "langflow_otel.instrumentor:LangflowInstrumentor", "opentelemetry_instrumentor"),
]


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instrumentors, "entry_points", lambda group: INSTALLED)
    monkeypatch.delenv("TRACELOOP_TRACE_CONTENT", raising=False)
    Fake.given.clear()
    Fake.seen.clear()
    for cls in (Fake, Second, Broken, Stuck):
        monkeypatch.setattr(cls(), "_is_instrumented_by_opentelemetry", False, raising=False)


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(memory: InMemorySpanExporter) -> TracerProvider:
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(memory))
    return made


def load(provider: TracerProvider, *names: str) -> OtherInstrumentors:
    # Without the HTTP clients, which have tests of their own.
    os.environ["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = "httpx,httpx2,requests,aiohttp-client"
    try:
        others = OtherInstrumentors(Settings(instrumentors=names), provider)
    finally:
        del os.environ["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"]
    others.load()
    return others


def test_one_is_loaded_with_spans_only_and_taken_back(provider, caplog):
    others = load(provider, "single")

    (given,) = Fake.given
    assert sorted(given) == ["logger_provider", "meter_provider", "tracer_provider"]
    assert isinstance(given["meter_provider"], NoOpMeterProvider)
    assert Fake().is_instrumented_by_opentelemetry
    others.unload()
    assert not Fake().is_instrumented_by_opentelemetry
    assert caplog.messages == []


def test_its_spans_are_made_below_runs_only(provider, memory):
    others = load(provider, "single")
    tracer = Fake().tracer
    recorder = Recorder(provider, Settings())

    with tracer.start_as_current_span("outside") as span:
        assert not span.is_recording()
        assert get_current_span() is span
    run = recorder.start_flow(FlowInfo("demo"))
    with tracer.start_as_current_span("inside", attributes={"a": 1}):
        tracer.start_span("below").end()
    run.finish()
    others.unload()
    tracer.start_span("after").end()

    spans = {span.name: span for span in memory.get_finished_spans()}
    assert list(spans) == ["below", "inside", "invoke_workflow demo"]
    assert spans["below"].parent.span_id == spans["inside"].context.span_id
    assert spans["inside"].parent.span_id == spans["invoke_workflow demo"].context.span_id
    assert (spans["inside"].attributes, spans["inside"].instrumentation_scope.name) == ({"a": 1}, "fake")


def test_a_tracer_that_was_kept_serves_the_next_provider(provider, memory):
    load(provider, "single").unload()
    tracer = Fake().tracer
    newer, newer_memory = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    newer.add_span_processor(SimpleSpanProcessor(newer_memory))
    others = load(newer, "single")
    run = Recorder(newer, Settings()).start_flow(FlowInfo("demo"))
    tracer.start_span("kept").end()
    run.finish()
    others.unload()

    assert memory.get_finished_spans() == ()
    assert [span.name for span in newer_memory.get_finished_spans()] == ["kept", "invoke_workflow demo"]


def test_an_exception_goes_on_to_the_host_and_onto_the_span(provider, memory):
    others = load(provider, "single")
    run = Recorder(provider, Settings()).start_flow(FlowInfo("demo"))
    with pytest.raises(KeyError), Fake().tracer.start_as_current_span("fails"):
        raise KeyError("x")
    with pytest.raises(KeyError), Fake().tracer.start_as_current_span("silent", record_exception=False):
        raise KeyError("x")
    kept_open = Fake().tracer.start_as_current_span("open", end_on_exit=False)
    with kept_open as span:
        pass
    assert span.end_time is None
    span.end()
    run.finish()
    others.unload()

    events = {span.name: [event.name for event in span.events] for span in memory.get_finished_spans()}
    assert events == {"fails": ["exception"], "silent": [], "open": [], "invoke_workflow demo": []}


@pytest.mark.parametrize(
    ("name", "cls"),
    [("openinference-instrumentation-chain:chain", Fake), ("opentelemetry-instrumentation-chain:chain", Second)],
)
def test_a_distribution_tells_two_of_one_name_apart(provider, name, cls):
    others = load(provider, name)

    assert cls().is_instrumented_by_opentelemetry
    assert len(Fake.given) == 1
    others.unload()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "chain",
            "LANGFLOW_OTEL_INSTRUMENTORS names 'chain', which several distributions have: write one of "
            "openinference-instrumentation-chain:chain, opentelemetry-instrumentation-chain:chain. It is left out.",
        ),
        (
            "chian",
            "LANGFLOW_OTEL_INSTRUMENTORS names 'chian', which is not installed. Installed are: broken-dist:broken, "
            "openinference-instrumentation-chain:chain, opentelemetry-instrumentation-chain:chain, "
            "single-dist:single, stuck-dist:stuck. It is left out.",
        ),
        (
            "broken",
            "LANGFLOW_OTEL_INSTRUMENTORS: broken-dist:broken could not be loaded (ImportError: no such thing). "
            "It is left out.",
        ),
    ],
)
def test_one_line_says_what_cannot_be_loaded_and_the_next_is(provider, caplog, name, said):
    others = load(provider, name, "single")

    assert caplog.messages == [said]
    assert Fake().is_instrumented_by_opentelemetry
    others.unload()


def test_one_that_is_active_already_is_left_as_it_is(provider):
    Fake().instrument(tracer_provider=provider)
    load(provider, "single").unload()

    assert len(Fake.given) == 1
    assert Fake().is_instrumented_by_opentelemetry


def test_one_that_cannot_be_taken_back_does_not_keep_the_others(provider, monkeypatch):
    monkeypatch.setattr("langflow_otel._guard.strict", False)
    others = load(provider, "single", "stuck")
    others.unload()

    assert not Fake().is_instrumented_by_opentelemetry


@pytest.mark.parametrize("disabled", ["other, single", "*"])
def test_one_that_is_disabled_is_not_loaded(provider, monkeypatch, caplog, disabled):
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", disabled)
    others = OtherInstrumentors(Settings(instrumentors=("single",)), provider)
    others._http._wanted.clear()
    others.load()

    assert Fake.given == []
    assert caplog.messages == []


def test_we_do_not_load_ourselves(provider, caplog):
    load(provider, "langflow").unload()

    assert len(caplog.messages) == 1
    assert "names 'langflow', which is not installed" in caplog.messages[0]


def test_content_is_switched_off_at_its_source(provider):
    others = load(provider, "opentelemetry-instrumentation-chain:chain", "single")

    switches = Fake.seen[0]
    assert switches["TRACELOOP_TRACE_CONTENT"] == "false"
    assert switches["OPENINFERENCE_HIDE_INPUTS"] == switches["OPENINFERENCE_HIDE_OUTPUTS"] == "true"
    # One is read at each call, the others once.
    assert os.environ["TRACELOOP_TRACE_CONTENT"] == "false"
    assert "OPENINFERENCE_HIDE_INPUTS" not in os.environ
    others.unload()
    assert "TRACELOOP_TRACE_CONTENT" not in os.environ


def test_switches_that_the_user_has_set_stay(provider, monkeypatch):
    monkeypatch.setenv("TRACELOOP_TRACE_CONTENT", "true")
    monkeypatch.setenv("OPENINFERENCE_HIDE_INPUTS", "false")
    load(provider, "opentelemetry-instrumentation-chain:chain").unload()

    assert Fake.seen[0]["TRACELOOP_TRACE_CONTENT"] == os.environ["TRACELOOP_TRACE_CONTENT"] == "true"
    assert Fake.seen[0]["OPENINFERENCE_HIDE_INPUTS"] == os.environ["OPENINFERENCE_HIDE_INPUTS"] == "false"


@pytest.mark.parametrize(("by", "with_sdk", "ours"), [(True, True, False), (True, False, True), (False, True, True)])
def test_below_opentelemetry_instrument_http_clients_are_not_ours(provider, monkeypatch, by, with_sdk, ours):
    """It loads each of them, and warns about one that somebody else has loaded."""
    import httpx
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    if by:
        monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.auto_instrumentation", object())
    if with_sdk:
        monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)
    others = OtherInstrumentors(Settings(), provider)
    before = httpx.HTTPTransport.handle_request
    others.load()
    assert HTTPXClientInstrumentor().is_instrumented_by_opentelemetry is ours
    others.unload()
    assert httpx.HTTPTransport.handle_request is before


LAZY = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from langflow_otel._sdk.instrumentors import OtherInstrumentors
from langflow_otel._settings.settings import Settings
others = OtherInstrumentors(Settings(), TracerProvider())
others.load()
print([name for name in ("httpx", "httpx2", "requests", "aiohttp") if name in sys.modules])
import httpx, requests, aiohttp
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
every = (HTTPXClientInstrumentor(), RequestsInstrumentor())
print([each.is_instrumented_by_opentelemetry for each in every])
others.unload()
print([each.is_instrumented_by_opentelemetry for each in every])
"""


def test_an_instrumentor_that_is_not_installed_is_no_fault(monkeypatch, caplog):
    client = http_clients.CLIENTS[0]._replace(package="opentelemetry.instrumentation.not_installed")
    monkeypatch.setattr(http_clients, "CLIENTS", (client,))
    others = OtherInstrumentors(Settings(), TracerProvider(shutdown_on_exit=False))
    others.load()
    others.unload()

    assert caplog.records == []


def test_a_client_that_does_not_suit_its_instrumentor_stays_as_it_is(monkeypatch, caplog):
    import httpx
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    before = httpx.HTTPTransport.__dict__["handle_request"]
    monkeypatch.setattr(HTTPXClientInstrumentor, "instrumentation_dependencies", lambda _: ("httpx < 0.1",))
    monkeypatch.setattr(http_clients, "_fitting", set())
    monkeypatch.setattr(http_clients, "CLIENTS", http_clients.CLIENTS[:1])
    others = OtherInstrumentors(Settings(), TracerProvider(shutdown_on_exit=False))
    others.load()

    assert httpx.HTTPTransport.__dict__["handle_request"] is before
    others.unload()
    assert httpx.HTTPTransport.__dict__["handle_request"] is before
    assert [record.name for record in caplog.records] == ["opentelemetry.instrumentation.instrumentor"]


def test_http_clients_are_instrumented_when_the_host_imports_them():
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, timeout=60)

    assert done.stdout.splitlines() == ["[]", "[True, True]", "[False, False]"], done.stderr


COMPONENT = ComponentInfo("Model-1", "Model", "Model")


@pytest.mark.parametrize(
    "attribute", ["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"]
)
@pytest.mark.parametrize("ends", ["inside", "after the component", "in another thread"])
def test_a_nested_span_with_tokens_is_noticed_wherever_it_ends(provider, attribute, ends):
    import threading

    watch_nested_model_spans(provider)
    recorder = Recorder(provider, Settings())
    flow = recorder.start_flow(FlowInfo("demo"))
    component = recorder.start_component(COMPONENT, flow)
    nested = provider.get_tracer("some").start_span("chat")
    nested.set_attribute(attribute, 3)
    if ends == "inside":
        nested.end()
    elif ends == "in another thread":
        thread = threading.Thread(target=nested.end)
        thread.start()
        thread.join()
    component.leave()
    if ends == "after the component":
        nested.end()
    component.end()
    flow.finish()

    assert component.tokens_are_below


def test_other_spans_say_nothing_about_tokens(provider):
    watch_nested_model_spans(provider)
    recorder = Recorder(provider, Settings())
    tracer = provider.get_tracer("some")
    before = tracer.start_span("before", attributes={"gen_ai.usage.input_tokens": 3})
    flow = recorder.start_flow(FlowInfo("demo"))
    component = recorder.start_component(COMPONENT, flow)
    before.end()
    tracer.start_span("no tokens", attributes={"gen_ai.request.model": "m"}).end()
    tracer.start_span("nothing").end()
    component.finish()
    flow.finish()

    assert not component.tokens_are_below


def test_spans_that_never_end_do_not_pile_up(provider):
    processor = NestedModelSpans()
    provider.add_span_processor(processor)
    recorder = Recorder(provider, Settings())
    for _ in range(10):
        flow = recorder.start_flow(FlowInfo("demo"))
        component = recorder.start_component(COMPONENT, flow)
        provider.get_tracer("some").start_span("never ended")
        component.finish()
        flow.finish()
    del flow, component
    gc.collect()

    assert len(processor._within) <= 1


def test_a_provider_is_watched_once():
    class Counts(TracerProvider):
        added = 0

        def add_span_processor(self, processor: Any) -> None:
            Counts.added += 1

    provider = Counts(shutdown_on_exit=False)
    watch_nested_model_spans(provider)
    watch_nested_model_spans(provider)
    watch_nested_model_spans(object())

    assert Counts.added == 1
