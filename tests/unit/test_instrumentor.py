"""Switching on and off: nothing to do, LangFlow missing, twice, back again, and a set-up that fails."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation import dependencies
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otlp_receiver import Receiver, otlp_receiver

import langflow_otel
from langflow_otel import LangflowInstrumentor, instrumentor
from langflow_otel._hooks import versions
from langflow_otel._hooks.patching import Hook, Patches
from langflow_otel._process.lifecycle import NOTHING_TO_DO
from langflow_otel._process.process import ProcessTelemetry
from langflow_otel._runs.facts import ComponentInfo, FlowInfo
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.preparations import Preparations
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._runs.request import RequestInfo
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.doctor import installed
from langflow_otel.insights.trace import from_file
from tests.support.recording import at_once

CHECK = LangflowInstrumentor._check_dependency_conflicts
HINT = "LangFlow is not installed here. Install it with: pip install 'langflow-otel[lfx]' (or [langflow])"


def run_flow(name: str) -> str:
    return f"ran {name}"


def around(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return f"watched: {wrapped(*args, **kwargs)}"


@pytest.fixture
def host(monkeypatch) -> ModuleType:
    """Stands for LangFlow: installed as far as the instrumentor can tell, with one function to wrap."""
    module = ModuleType("a_host")
    module.run_flow = run_flow  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_host", module)
    monkeypatch.setattr(instrumentor, "patches", Patches((Hook("a_host", "run_flow", around),)))
    monkeypatch.setattr(instrumentor, "lfx_is_installed", lambda: True)
    monkeypatch.setattr(LangflowInstrumentor, "_check_dependency_conflicts", lambda _: None)
    return module


@pytest.fixture(autouse=True)
def _off_afterwards() -> Iterator[None]:
    yield
    if LangflowInstrumentor().is_instrumented_by_opentelemetry:
        LangflowInstrumentor().uninstrument()


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Levels and texts, without the line that says what leaves the process.

    Nor what the SDK says in threads of its own: readers of an earlier test may still be ending.
    """
    own = threading.get_ident()
    found = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.thread == own or record.name.startswith("langflow_otel")
    ]
    return [(level, text) for level, text in found if not text.startswith("langflow-otel audit: ")]


def test_one_line_says_what_leaves_the_process(host, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "spans.jsonl"))
    caplog.set_level("INFO", logger="langflow_otel")
    langflow_otel.instrument()
    langflow_otel.uninstrument()

    (line,) = [record for record in caplog.records if record.getMessage().startswith("langflow-otel audit: ")]
    assert line.levelname == "INFO"
    assert "traces=file metrics=none logs=none content=off error_messages=none" in line.getMessage()


def is_off(host: ModuleType) -> bool:
    return (
        host.run_flow is run_flow
        and active_recorder() is None
        and not LangflowInstrumentor().is_instrumented_by_opentelemetry
    )


def test_on_and_off_again_leaves_everything_as_before(host, provider):
    langflow_otel.instrument(tracer_provider=provider)

    assert LangflowInstrumentor().is_instrumented_by_opentelemetry
    assert host.run_flow("a") == "watched: ran a"
    assert active_recorder() is not None
    langflow_otel.uninstrument()
    assert is_off(host)


def test_on_off_and_on_again(host, provider):
    for _ in range(3):
        langflow_otel.instrument(tracer_provider=provider)
        assert host.run_flow("a") == "watched: ran a"
        langflow_otel.uninstrument()
        assert is_off(host)


def test_twice_is_once(host, provider):
    langflow_otel.instrument(tracer_provider=provider)
    first = active_recorder()
    langflow_otel.instrument(tracer_provider=TracerProvider(shutdown_on_exit=False))

    assert active_recorder() is first
    assert host.run_flow("a") == "watched: ran a"
    langflow_otel.uninstrument()
    assert is_off(host)


def test_off_twice_is_harmless(host, provider):
    langflow_otel.instrument(tracer_provider=provider)
    langflow_otel.uninstrument()
    langflow_otel.uninstrument()

    assert is_off(host)


@pytest.fixture
def lfx(host, monkeypatch) -> Any:
    """Sets the version of lfx that is installed; None for a distribution of another name."""
    monkeypatch.setattr(LangflowInstrumentor, "_check_dependency_conflicts", CHECK)
    version_of = metadata.version

    def install(version: str | None) -> None:
        def found(name: str) -> str:
            if name == "lfx" and version is None:
                raise metadata.PackageNotFoundError(name)
            return version or "1.14.0.dev7" if name in ("lfx", "lfx-nightly") else version_of(name)

        monkeypatch.setattr(metadata, "version", found)
        monkeypatch.setattr(metadata, "packages_distributions", lambda: {"lfx": ["lfx-nightly"]})
        monkeypatch.setattr("opentelemetry.instrumentation.dependencies.version", found)

    versions.lfx_version.cache_clear()
    yield install
    versions.lfx_version.cache_clear()


@pytest.mark.parametrize("version", ["0.2.0.dev1", "0.2.1", "1.13.0", "1.13.1rc2", "1.13.1.dev4"])
def test_prerelease_of_a_tested_version_needs_no_warning(lfx, host, provider, version, caplog):
    lfx(version)
    langflow_otel.instrument(tracer_provider=provider)

    assert host.run_flow("a") == "watched: ran a"
    assert lines(caplog) == []


@pytest.mark.parametrize("version", ["1.14.0.dev7", "1.14.0rc1", "1.14.0", "2.0.0a1", None])
@pytest.mark.parametrize("automatic", [False, True])
def test_version_above_the_tested_ones_is_on_with_one_warning(lfx, host, provider, version, automatic, caplog):
    lfx(version)
    langflow_otel.instrument(tracer_provider=provider, deferred=False, raise_exception_on_conflict=automatic)

    assert host.run_flow("a") == "watched: ran a"
    ((level, line),) = lines(caplog)
    assert level == "WARNING"
    assert f"lfx {version or '1.14.0.dev7'} is installed" in line


def test_version_below_the_tested_ones_is_not_instrumented(lfx, host, provider, caplog):
    lfx("0.1.13")
    langflow_otel.instrument(tracer_provider=provider)

    assert is_off(host)
    assert [level for level, _ in lines(caplog)] == ["ERROR"]


@pytest.mark.parametrize(
    ("version", "status", "advice"),
    [
        ("1.13.1rc2", "ok", ""),
        ("1.14.0.dev7", "warning", "It works as far as the engine's functions are the same: see Hooks below."),
        (None, "warning", "It works as far as the engine's functions are the same: see Hooks below."),
        ("0.1.13", "problem", "nothing is instrumented; upgrade to LangFlow 1.7 to 1.13"),
    ],
)
def test_doctor_agrees_on_the_version(lfx, monkeypatch, version, status, advice):
    lfx(version)
    monkeypatch.setattr(installed, "lfx_is_installed", lambda: True)
    finding = installed._langflow()

    assert (finding.status, finding.advice) == (status, advice)
    assert (version or "1.14.0.dev7") in finding.text


def test_without_a_destination_there_is_one_warning_and_nothing_is_wrapped(host, caplog, monkeypatch):
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    langflow_otel.instrument()

    assert lines(caplog) == [("WARNING", NOTHING_TO_DO)]
    assert is_off(host)


def test_after_nothing_to_do_it_can_still_be_switched_on(host, provider, monkeypatch):
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    langflow_otel.instrument()
    langflow_otel.instrument(tracer_provider=provider)

    assert host.run_flow("a") == "watched: ran a"


@pytest.mark.parametrize(("variable", "text"), [("LANGFLOW_OTEL_ENABLED", "false"), ("OTEL_SDK_DISABLED", "true")])
def test_switched_off_by_the_environment_is_silent(host, provider, caplog, monkeypatch, variable: str, text: str):
    monkeypatch.setenv(variable, text)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    langflow_otel.instrument(tracer_provider=provider)

    assert lines(caplog) == []
    assert is_off(host)


def test_the_environment_is_a_destination(host, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "spans.jsonl"))
    langflow_otel.instrument()
    recorder = active_recorder()
    assert recorder is not None
    recorder.start_span("custom").finish()  # type: ignore[union-attr]
    langflow_otel.uninstrument()

    assert '"name":"custom"' in (tmp_path / "spans.jsonl").read_text()
    assert lines(caplog) == []


def test_settings_can_be_handed_in(host, provider, monkeypatch):
    monkeypatch.setenv("LANGFLOW_OTEL_DETAIL", "output")
    langflow_otel.instrument(tracer_provider=provider, settings=Settings(detail="flow"))
    recorder = active_recorder()

    assert recorder is not None
    assert recorder.settings == Settings(detail="flow")


def test_an_authors_hook_has_the_last_word_on_content(host, provider):
    langflow_otel.instrument(tracer_provider=provider, settings=Settings(content_on_spans=True), redact=str.upper)
    recorder = active_recorder()

    assert recorder is not None
    assert recorder.content is not None
    assert recorder.content.text("me@example.com says hi", 100) == "[REDACTED:EMAIL] SAYS HI"


def test_the_other_providers_of_the_convention_are_accepted(host, provider):
    langflow_otel.instrument(tracer_provider=provider, meter_provider=NoOpMeterProvider(), logger_provider=object())

    assert host.run_flow("a") == "watched: ran a"


def test_wrong_settings_are_logged_and_it_still_starts(host, provider, caplog, monkeypatch):
    monkeypatch.setenv("LANGFLOW_OTEL_DETAIL", "all")
    langflow_otel.instrument(tracer_provider=provider)

    assert lines(caplog) == [
        (
            "WARNING",
            "LANGFLOW_OTEL_DETAIL='all' is not accepted; use flow, component, model, output. Using 'model' instead.",
        )
    ]
    assert host.run_flow("a") == "watched: ran a"


def test_a_providers_owner_shuts_it_down(host, provider, monkeypatch):
    monkeypatch.setattr(TracerProvider, "shutdown", lambda _: pytest.fail("not ours"))
    langflow_otel.instrument(tracer_provider=provider)
    langflow_otel.uninstrument()


# LangFlow is missing


@pytest.fixture
def no_langflow(monkeypatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "lfx" else find_spec(name, *rest)
    )


@pytest.mark.usefixtures("no_langflow")
def test_without_langflow_one_line_says_how_to_install_it(provider, caplog):
    langflow_otel.instrument(tracer_provider=provider)

    assert lines(caplog) == [("ERROR", HINT)]
    assert active_recorder() is None
    assert not LangflowInstrumentor().is_instrumented_by_opentelemetry


@pytest.mark.usefixtures("no_langflow")
def test_without_langflow_auto_instrumentation_passes_over_us(provider, caplog, monkeypatch):
    """``opentelemetry-instrument`` asks for the exception, and goes on without a word."""
    monkeypatch.setattr(LangflowInstrumentor, "_check_dependency_conflicts", lambda _: "conflict")
    with pytest.raises(dependencies.DependencyConflictError):
        LangflowInstrumentor().instrument(tracer_provider=provider, raise_exception_on_conflict=True)

    assert lines(caplog) == []
    assert active_recorder() is None


def test_it_is_found_as_an_instrumentor():
    from importlib.metadata import entry_points

    (found,) = entry_points(group="opentelemetry_instrumentor", name="langflow")
    assert found.load() is LangflowInstrumentor
    assert LangflowInstrumentor().instrumentation_dependencies() == ("lfx >= 0.2",)
    assert LangflowInstrumentor() is LangflowInstrumentor()


# A set-up that fails


def broken(*_: Any, **__: Any) -> Any:
    raise ValueError("canary")


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("step", ["unknown_version_warning", "Recorder"])
def test_a_set_up_that_fails_is_contained_and_changes_nothing(host, provider, caplog, monkeypatch, step: str):
    with monkeypatch.context() as patch:
        patch.setattr(instrumentor, step, broken)
        langflow_otel.instrument(tracer_provider=provider)

    ((level, message),) = lines(caplog)
    assert level == "WARNING"
    assert message.startswith("An error inside langflow-otel was contained at instrument; ")
    assert "canary" not in message
    assert is_off(host)


@pytest.mark.usefixtures("lenient")
def test_hooks_that_fail_are_contained_and_nothing_stays_on(host, provider, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(instrumentor.patches, "apply", broken)
        langflow_otel.instrument(tracer_provider=provider)

    assert is_off(host)
    langflow_otel.instrument(tracer_provider=provider)
    assert host.run_flow("a") == "watched: ran a"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        pytest.param("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", marks=pytest.mark.slow),  # then it is 10 s
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
    ],
)
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.usefixtures("lenient")
def test_a_variable_that_the_sdk_does_not_take_never_stops_the_host(
    host, caplog, monkeypatch, variable: str, text: str, protocol: Literal["grpc", "http/protobuf"]
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv(variable, text)
    # Where nothing answers, older versions of the SDK try for a minute at the end.
    with otlp_receiver(protocol) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.address}")
        langflow_otel.instrument()

        assert host.run_flow("a") in ("ran a", "watched: ran a")
        assert not any("contained" in message for _, message in lines(caplog))
        langflow_otel.uninstrument()


@pytest.mark.parametrize(
    ("variable", "text", "accepts", "used"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "0 to 2147483647", "128"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100", "at least OTEL_BSP_MAX_EXPORT_BATCH_SIZE, which is 512", "512"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "1 to 2147483647", "2048"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "milliseconds, 1 to 1000000000", "60000"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "xyz", "trace_based, always_on, always_off", "trace_based"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "4096", "1 to OTEL_BLRP_MAX_QUEUE_SIZE, which is 2048", "2048"),
    ],
)
def test_what_the_sdk_would_refuse_costs_no_signal(
    host, caplog, monkeypatch, receiver, variable: str, text: str, accepts: str, used: str
):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp,prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    monkeypatch.setenv(variable, text)
    langflow_otel.instrument()

    assert [line for line in lines(caplog) if line[0] != "INFO"] == [
        ("WARNING", f"{variable}={text!r} is not accepted; use {accepts}. Using {used!r} instead.")
    ]
    assert signals_on() == {"traces", "metrics", "logs", "scrape"}


UNFORESEEN = {
    "traces": ("TracerProvider", "spans", "OTEL_BSP_SCHEDULE_DELAY=7"),
    "metrics": ("PeriodicExportingMetricReader", "metrics", "OTEL_METRIC_EXPORT_INTERVAL=7"),
    "logs": ("CountingBatchLogRecordProcessor", "log lines", "OTEL_BLRP_SCHEDULE_DELAY=7"),
}


@pytest.mark.parametrize("signal", UNFORESEEN)
def test_a_signal_that_the_sdk_refuses_takes_no_other_with_it(host, caplog, monkeypatch, receiver, signal: str):
    """With whatever a version of the SDK may refuse that is not known here."""
    broken_class, words, variable = UNFORESEEN[signal]
    for name in ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BLRP_SCHEDULE_DELAY"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp,prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    module = "log_records" if signal == "logs" else "providers"
    name = "SdkTracerProvider" if signal == "traces" else broken_class
    with monkeypatch.context() as patch:
        patch.setattr(f"langflow_otel._sdk.{module}.{name}", broken)
        langflow_otel.instrument()

    ((level, message),) = [line for line in lines(caplog) if line[0] != "INFO"]
    assert level == "ERROR"
    assert message.startswith(
        f"langflow-otel: {words} are not sent: the OpenTelemetry SDK does not start with its settings "
        "(ValueError: canary). Set for them: OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:"
    )
    assert variable in message
    assert message.count("SCHEDULE_DELAY") + message.count("EXPORT_INTERVAL") == 1
    assert message.endswith("Everything else works.")
    assert signals_on() == {"traces", "metrics", "logs", "scrape"} - {signal}
    assert host.run_flow("a") == "watched: ran a"


def signals_on() -> set[str]:
    process = LangflowInstrumentor()._process
    assert process is not None
    on = {"traces": process._traces, "metrics": process.metrics.choice, "scrape": process.metrics.url}
    on["logs"] = process._logs is not None and process._logs.choice
    return {signal for signal, found in on.items() if found}


def test_where_each_signal_is_refused_nothing_is_wrapped(host, caplog, monkeypatch, receiver):
    for name in ("providers.SdkTracerProvider", "providers.PeriodicExportingMetricReader", "log_records.otlp_exporter"):
        monkeypatch.setattr(f"langflow_otel._sdk.{name}", broken)
    langflow_otel.instrument()

    assert [level for level, _ in lines(caplog)] == ["ERROR"] * 3
    assert is_off(host)


@pytest.fixture
def receiver(monkeypatch) -> Iterator[Receiver]:
    with otlp_receiver("http/protobuf") as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{found.address}")
        yield found
        langflow_otel.uninstrument()


@pytest.mark.parametrize("text", ["x" * 100_000, "two\nlines"])
def test_what_the_sdk_refuses_is_shown_on_a_line_or_two(host, caplog, monkeypatch, receiver, text: str):
    monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", text)
    langflow_otel.instrument()

    [(_, line)] = [each for each in lines(caplog) if each[0] != "INFO"]
    assert len(line) < 600
    assert "\n" not in line


def test_strict_mode_is_loud(host, provider, monkeypatch):
    monkeypatch.setattr(instrumentor, "Recorder", broken)
    with pytest.raises(ValueError, match="canary"):
        langflow_otel.instrument(tracer_provider=provider)


def test_the_recorder_makes_spans_by_the_given_provider(host, provider, caplog):
    caplog.set_level(logging.DEBUG, "langflow_otel")
    langflow_otel.instrument(tracer_provider=provider)
    recorder = active_recorder()

    assert isinstance(recorder, Recorder)
    assert lines(caplog) == [("DEBUG", "langflow-otel is on: the tracer provider that was passed in")]


# Put off until there is something to record


@pytest.fixture
def spans_file(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "spans.jsonl"))
    return tmp_path / "spans.jsonl"


def record() -> None:
    recorder = active_recorder()
    assert recorder is not None
    run = recorder.start_flow(FlowInfo("demo"))
    if run is not None:
        run.finish()


def is_open() -> bool:
    return LangflowInstrumentor()._process is not None


def test_put_off_it_is_wrapped_and_nothing_is_made(host, spans_file):
    threads = threading.active_count()
    langflow_otel.instrument(deferred=True)

    assert host.run_flow("a") == "watched: ran a"
    assert (is_open(), threading.active_count()) == (False, threads)
    assert not spans_file.exists()
    assert (LangflowInstrumentor().scrape, LangflowInstrumentor().scrape_url) == (None, None)


def test_put_off_it_is_made_for_the_first_flow(host, spans_file):
    langflow_otel.instrument(deferred=True)
    record()
    assert is_open()
    record()
    langflow_otel.uninstrument()

    assert spans_file.read_text().count('"name":"invoke_workflow demo"') == 2
    assert is_off(host)


@pytest.mark.parametrize(
    "first",
    [
        lambda recorder: recorder.start_span("custom").finish(),
        lambda recorder: recorder.start_component(ComponentInfo("c-1", "c", "custom"), None).finish(),
        lambda recorder: recorder.start_request(RequestInfo("GET", "/", "http"), Context()).finish("custom", 200),
        lambda recorder: recorder.prepare(),
    ],
)
def test_put_off_it_is_made_for_whatever_comes_first(host, spans_file, first):
    langflow_otel.instrument(deferred=True)
    first(active_recorder())

    assert is_open()


def test_put_off_and_off_again_nothing_was_ever_made(host, spans_file):
    langflow_otel.instrument(deferred=True)
    langflow_otel.uninstrument()

    assert is_off(host)
    assert not spans_file.exists()


def test_put_off_the_given_providers_are_used(host, spans_file):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    langflow_otel.instrument(deferred=True, tracer_provider=provider)
    record()

    assert [span.name for span in exporter.get_finished_spans()] == ["invoke_workflow demo"]


def test_without_a_destination_nothing_is_put_off(host, provider):
    """What it would send to is known at once, or not at all."""
    langflow_otel.instrument(deferred=True, tracer_provider=provider)

    assert is_open()


def test_auto_instrumentation_puts_it_off(host, spans_file):
    LangflowInstrumentor().instrument(raise_exception_on_conflict=True)

    assert host.run_flow("a") == "watched: ran a"
    assert not is_open()


def test_put_off_what_the_sdk_refuses_is_one_line_and_everything_is_off(host, caplog, monkeypatch, spans_file):
    langflow_otel.instrument(deferred=True)
    assert host.run_flow("a") == "watched: ran a"
    assert lines(caplog) == []
    with monkeypatch.context() as patch:
        patch.setattr("langflow_otel._sdk.providers.SdkTracerProvider", broken)
        record()
    record_nothing_more = active_recorder() is None

    assert [level for level, _ in lines(caplog)] == ["ERROR"]
    assert (
        "spans are not sent: the OpenTelemetry SDK does not start with its settings (ValueError: canary)"
        in (lines(caplog)[0][1])
    )
    assert record_nothing_more
    assert is_off(host)
    assert host.run_flow("a") == "ran a"
    langflow_otel.instrument()
    assert is_open()


@pytest.mark.usefixtures("lenient")
def test_put_off_an_error_of_ours_costs_no_flow(host, caplog, monkeypatch, spans_file):
    langflow_otel.instrument(deferred=True)
    with monkeypatch.context() as patch:
        patch.setattr(ProcessTelemetry, "serve", broken)
        record()

    ((level, message),) = lines(caplog)
    assert level == "WARNING"
    assert message.startswith("An error inside langflow-otel was contained at instrument; ")


# The server stops


def test_stopped_everything_is_sent_and_what_comes_after_all_starts_it_again(host, spans_file, caplog):
    langflow_otel.instrument(deferred=True)
    record()
    active_recorder().lifecycle.stop(5.0)  # type: ignore[union-attr]
    assert not is_open()
    assert spans_file.read_text().count("spanId") == 1
    record()
    assert is_open()
    langflow_otel.uninstrument()

    assert spans_file.read_text().count("spanId") == 2
    assert lines(caplog) == []


def test_stopped_before_anything_was_recorded_there_is_nothing_to_do(host, spans_file):
    langflow_otel.instrument(deferred=True)
    recorder = active_recorder()
    for _ in range(2):
        recorder.lifecycle.stop(5.0)  # type: ignore[union-attr]

    assert not is_open()
    record()
    assert is_open()


def test_stopped_twice_it_starts_again_once(host, spans_file):
    langflow_otel.instrument()
    for _ in range(2):
        active_recorder().lifecycle.stop(5.0)  # type: ignore[union-attr]
    record()
    langflow_otel.uninstrument()

    assert spans_file.read_text().count("spanId") == 1
    assert is_off(host)


def test_stopped_a_provider_that_was_passed_in_goes_on(host):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    langflow_otel.instrument(tracer_provider=provider)
    active_recorder().lifecycle.stop(5.0)  # type: ignore[union-attr]
    record()

    assert len(exporter.get_finished_spans()) == 1


def started() -> FlowRun:
    recorder = active_recorder()
    assert recorder is not None
    run = recorder.start_flow(FlowInfo("demo"))
    assert run is not None
    return run


def test_switched_off_what_is_going_on_is_sent_as_cancelled(host, spans_file):
    """Its end comes when nothing is sent any more."""
    langflow_otel.instrument()
    run = started()
    langflow_otel.uninstrument()
    run.finish()
    (sent,) = from_file(spans_file)

    assert sent.attributes["langflow.status"] == "cancelled"
    assert sent.attributes["langflow.cancellation.reason"] == "shutdown"


def test_open_spans_end_after_uninstrument_with_a_given_provider(host):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    langflow_otel.instrument(tracer_provider=provider)
    run = started()
    langflow_otel.uninstrument()
    assert exporter.get_finished_spans() == ()
    run.finish()
    (sent,) = exporter.get_finished_spans()

    assert sent.attributes["langflow.status"] == "ok"


def test_code_of_a_run_records_nothing_after_the_stop(host, spans_file):
    langflow_otel.instrument()
    run = started()
    active_recorder().lifecycle.stop(5.0)  # type: ignore[union-attr]
    with langflow_otel.span("late"):
        assert active_recorder() is None
    assert not is_open()
    run.finish()
    assert active_recorder() is not None
    record()
    langflow_otel.uninstrument()

    assert [each.name for each in from_file(spans_file)] == ["invoke_workflow demo"] * 2


# Several threads at once


def test_what_is_put_off_is_done_once_and_everybody_waits_for_it():
    done: list[str] = []
    preparations = Preparations()

    def slowly() -> None:
        time.sleep(0.05)
        done.append("first")

    preparations.add(slowly)
    preparations.add(lambda: done.append("second"))
    assert preparations.pending

    def work() -> None:
        if preparations.pending:
            preparations.run()
        assert done == ["first", "second"]

    at_once(8, work)
    assert not preparations.pending


def test_a_preparation_that_prepares_does_not_wait_for_itself():
    done: list[str] = []
    preparations = Preparations()
    preparations.add(lambda: (preparations.run(), done.append("first"))[1])
    preparations.run()

    assert done == ["first"]
