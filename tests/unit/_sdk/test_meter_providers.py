"""Which provider pushes the metrics, where to, how, and who shuts it down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from opentelemetry import metrics as otel_metrics
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.metrics._internal import _ProxyMeterProvider
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
from otlp_receiver import Receiver, otlp_receiver

from langflow_otel import _semconv as semconv
from langflow_otel._metrics import catalogue
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._runs.facts import CANCELLED, OK, ComponentInfo, FlowInfo, Outcome
from langflow_otel._runs.measuring import Finished, RunMetrics
from langflow_otel._runs.recorder import Recorder, set_active_recorder
from langflow_otel._sdk.batches import CountingMetricExporter
from langflow_otel._sdk.providers import Choice, build_meter_provider, build_tracer_provider, choose_meter_provider
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings
from langflow_otel.version import __version__

GRPC: Literal["grpc"] = "grpc"
HTTP: Literal["http/protobuf"] = "http/protobuf"
NEVER_MS = "3600000"

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
EXPORTER = "OTEL_METRICS_EXPORTER"
NOWHERE: dict[str, str] = {}


@pytest.fixture(autouse=True)
def _only_when_told(monkeypatch) -> None:
    """No push of its own accord."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", NEVER_MS)


@pytest.fixture
def closed(monkeypatch) -> list[MeterProvider]:
    """The providers that were shut down."""
    closed: list[MeterProvider] = []
    shutdown = MeterProvider.shutdown

    def remember(self: MeterProvider, *args: Any, **kwargs: Any) -> None:
        closed.append(self)
        shutdown(self, *args, **kwargs)

    monkeypatch.setattr(MeterProvider, "shutdown", remember)
    return closed


@pytest.fixture
def global_provider(monkeypatch) -> MeterProvider:
    provider = MeterProvider(shutdown_on_exit=False)
    monkeypatch.setattr(otel_metrics, "get_meter_provider", lambda: provider)
    return provider


@pytest.fixture
def unsent(monkeypatch) -> None:
    """What our exporters would send at the end goes nowhere."""
    monkeypatch.setattr(CountingMetricExporter, "export", lambda *_, **__: None)


def choose(env: dict[str, str], given: MeterProvider | None = None) -> Choice | None:
    settings = Settings.from_env(env)
    assert settings.problems == ()
    return choose_meter_provider(settings, given)


def exporters_of(provider: MeterProvider) -> list[Any]:
    """The real ones, below those that count."""
    # Newer SDKs keep them on the provider itself.
    readers = getattr(provider, "_metric_readers", None) or getattr(provider._sdk_config, "metric_readers", ())
    wrappers = [reader._exporter for reader in readers]
    assert {type(wrapper) for wrapper in wrappers} <= {CountingMetricExporter}
    return [wrapper._exporter for wrapper in wrappers]


# Which one


def test_a_given_provider_wins_over_all(global_provider):
    given = MeterProvider(shutdown_on_exit=False)

    for env in (NOWHERE, {ENDPOINT: "http://127.0.0.1:9"}, {EXPORTER: "console"}, {EXPORTER: "none"}):
        assert choose(env, given) == Choice(given, None, "the meter provider that was passed in")


@pytest.mark.parametrize(
    "env",
    [
        {ENDPOINT: "http://127.0.0.1:9"},
        {METRICS_ENDPOINT: "http://127.0.0.1:9"},
        {EXPORTER: "console"},
        {EXPORTER: "otlp"},
        {EXPORTER: "otlp,prometheus"},
    ],
)
def test_with_a_destination_it_is_our_own(global_provider, unsent, env: dict[str, str]):
    choice = choose(env)
    assert choice is not None
    choice.shutdown()

    assert choice.provider is choice.own
    assert choice.provider is not global_provider
    assert otel_metrics.get_meter_provider() is global_provider
    assert choice.reason == "our own meter provider, built from the environment"


def test_without_any_destination_a_global_sdk_provider_is_used(global_provider):
    assert choose(NOWHERE) == Choice(
        global_provider, None, "the global SDK meter provider; no destination of our own is configured"
    )


def test_a_global_provider_that_was_shut_down_is_not_used(global_provider, caplog):
    """Such as LangFlow's own, after its application ended."""
    global_provider.shutdown()

    assert choose(NOWHERE) is None
    assert caplog.messages == []


@pytest.mark.parametrize(
    "env",
    [
        {EXPORTER: "none"},
        {EXPORTER: "prometheus"},
        {EXPORTER: "none", ENDPOINT: "http://127.0.0.1:9"},
        {EXPORTER: "prometheus", ENDPOINT: "http://127.0.0.1:9"},
        # Spans have a destination: somebody has decided what goes where.
        {"OTEL_TRACES_EXPORTER": "console"},
        {"LANGFLOW_OTEL_TRACE_FILE": "spans.jsonl"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"},
    ],
)
def test_metrics_that_are_not_to_be_pushed_are_not_pushed_by_the_global_provider_either(
    global_provider, env: dict[str, str]
):
    assert choose(env) is None


@pytest.mark.parametrize("provider", [_ProxyMeterProvider(), NoOpMeterProvider()], ids=["proxy", "no-op"])
def test_a_global_provider_that_is_none_of_the_sdks_does_not_count(monkeypatch, provider: Any):
    monkeypatch.setattr(otel_metrics, "get_meter_provider", lambda: provider)

    assert choose(NOWHERE) is None


def test_a_wrong_exporter_is_as_good_as_none(global_provider):
    """Its line says that the default is used instead."""
    settings = Settings.from_env({EXPORTER: "statsd"})
    choice = choose_meter_provider(settings, None)

    assert settings.problems[0].endswith("Using 'otlp' instead.")
    assert choice is not None
    assert choice.provider is global_provider


@pytest.mark.parametrize("off", [{"LANGFLOW_OTEL_ENABLED": "false"}, {"OTEL_SDK_DISABLED": "true"}])
def test_off_wins_over_any_provider(global_provider, off: dict[str, str]):
    assert choose({EXPORTER: "console", **off}, MeterProvider(shutdown_on_exit=False)) is None


def test_only_our_own_provider_is_shut_down(global_provider, closed, unsent):
    given = MeterProvider(shutdown_on_exit=False)
    own = choose({EXPORTER: "console"})
    for choice in (choose(NOWHERE, given), choose(NOWHERE), own):
        assert choice is not None
        choice.shutdown()

    assert own is not None
    assert closed == [own.own]


# What our own provider has


def test_each_destination_has_its_exporter_and_all_of_them_count(unsent):
    settings = Settings(
        metrics_otlp=OtlpTarget(HTTP, "http://127.0.0.1:9/v1/metrics", insecure=True), metrics_console=True
    )
    provider = build_meter_provider(settings)
    otlp, console = exporters_of(provider)
    provider.shutdown()

    assert type(otlp).__module__ == "opentelemetry.exporter.otlp.proto.http.metric_exporter"
    assert otlp._endpoint == "http://127.0.0.1:9/v1/metrics"
    assert isinstance(console, ConsoleMetricExporter)


def test_without_a_destination_it_has_none():
    assert exporters_of(build_meter_provider(Settings())) == []


# What arrives


@pytest.fixture(params=[GRPC, HTTP])
def receiver(request, monkeypatch) -> Iterator[Receiver]:
    with otlp_receiver(request.param) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
        monkeypatch.setenv(ENDPOINT, f"http://{receiver.address}")
        yield receiver


class Pushed:
    """Metrics that go where the environment says."""

    def __init__(self) -> None:
        settings = Settings.from_env()
        assert settings.problems == ()
        self.provider = build_meter_provider(settings)
        meter = self.provider.get_meter(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
        self.instruments = Instruments(MemoryStore(), meter)
        self.metrics = RunMetrics(self.instruments, settings)
        self.instruments.observe(catalogue.DERIVED, lambda: self.metrics.derived(2.0))

    def run_flow(self, outcome: Outcome = OK, duration_s: float = 0.3) -> None:
        flow = self.metrics.flow(FlowInfo("shop"))
        flow.active("api").add(1)
        flow.component_ended(ComponentInfo("a-1", "Agent", "a"), Finished(outcome, duration_s, None))
        flow.bypassed(ComponentInfo("b-1", "Parser", "b"), "cached")
        flow.ended(Finished(outcome, duration_s, None), "api")
        flow.active("api").add(-1)

    def push(self) -> None:
        self.provider.force_flush()

    def close(self) -> None:
        self.provider.shutdown()


@pytest.fixture
def pushed(receiver) -> Iterator[Pushed]:
    pushed = Pushed()
    yield pushed
    pushed.close()


def attributes(point: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in point.attributes}


def kind_of(metric: Metric) -> Any:
    return getattr(metric, metric.WhichOneof("data"))


def value_of(point: Any) -> Any:
    return getattr(point, point.WhichOneof("value"))


def test_metrics_arrive_with_their_shape_and_their_labels(receiver, pushed):
    pushed.run_flow()
    pushed.push()
    (request,) = receiver.metric_requests
    found = receiver.metrics()

    assert {catalogue.FLOW_DURATION.name, catalogue.FLOW_ACTIVE.name, catalogue.THROUGHPUT.name} <= set(found)
    duration = found["langflow.flow.duration"]
    assert (duration.unit, duration.description) == ("s", catalogue.FLOW_DURATION.description)
    (point,) = duration.histogram.data_points
    assert attributes(point) == {"flow": "shop", "status": "ok", "entry_point": "api"}
    assert tuple(point.explicit_bounds) == catalogue.SECONDS
    assert (point.count, point.sum, point.bucket_counts[6]) == (1, 0.3, 1)
    (bypassed,) = found["langflow.component.bypassed"].sum.data_points
    assert attributes(bypassed) == {"flow": "shop", "component_type": "Parser", "reason": "cached"}
    assert found["langflow.component.bypassed"].sum.is_monotonic
    assert not found["langflow.flow.active"].sum.is_monotonic
    (throughput,) = found["langflow.throughput"].gauge.data_points
    assert value_of(throughput) == pytest.approx(1 / 60)
    assert not receiver.requests
    if request.path:
        assert request.path == "/v1/metrics"


def test_resource_and_scope_say_who_sent_them(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    pushed = Pushed()
    pushed.run_flow()
    pushed.close()
    (scope,) = receiver.scopes()
    (resource,) = receiver.metric_requests[-1].message.resource_metrics
    sent_by = attributes(resource.resource)

    assert (scope.scope.name, scope.scope.version, scope.schema_url) == (
        "langflow_otel",
        __version__,
        "https://opentelemetry.io/schemas/1.44.0",
    )
    assert sent_by["service.name"] == "langflow"
    assert sent_by["deployment.environment.name"] == "test"
    # Spans and metrics of one process are one instance.
    of_spans = build_tracer_provider(Settings()).resource.attributes
    assert sent_by["service.instance.id"] == of_spans["service.instance.id"]


def test_headers_arrive(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=t1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-api-key=abc%20123")
    pushed = Pushed()
    pushed.run_flow()
    pushed.close()

    assert receiver.metric_requests[0].headers["x-api-key"] == "abc 123"


def test_what_is_there_at_the_end_is_pushed(receiver):
    pushed = Pushed()
    pushed.run_flow()
    pushed.close()

    assert kind_of(receiver.metrics()["langflow.flow.duration"]).data_points[0].count == 1


def test_the_interval_is_the_standard_variables(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    pushed = Pushed()
    pushed.run_flow()
    until_s = time.monotonic() + 30
    while len(receiver.metric_requests) < 2 and time.monotonic() < until_s:
        time.sleep(0.01)
    requests = len(receiver.metric_requests)
    pushed.close()

    assert requests >= 2


DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


@pytest.mark.parametrize(
    ("preference", "expected"),
    [("", CUMULATIVE), ("cumulative", CUMULATIVE), ("delta", DELTA), ("DELTA", DELTA), ("lowmemory", DELTA)],
)
def test_the_temporality_is_the_standard_variables(receiver, monkeypatch, preference: str, expected: int):
    if preference:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)
    pushed = Pushed()
    pushed.run_flow()
    pushed.push()
    for _ in range(2):
        pushed.run_flow()
    pushed.push()
    first, second = receiver.metrics(0), receiver.metrics(1)
    pushed.close()

    for name in ("langflow.flow.duration", "langflow.component.duration"):
        assert first[name].histogram.aggregation_temporality == expected
        counts = [found[name].histogram.data_points[0].count for found in (first, second)]
        assert counts == ([1, 2] if expected == DELTA else [1, 3])
    bypassed = [value_of(found["langflow.component.bypassed"].sum.data_points[0]) for found in (first, second)]
    assert first["langflow.component.bypassed"].sum.aggregation_temporality == expected
    assert bypassed == ([1, 2] if expected == DELTA else [1, 3])
    # How many are active is no change, whatever is preferred.
    assert first["langflow.flow.active"].sum.aggregation_temporality == CUMULATIVE


def test_the_aggregation_of_histograms_is_the_standard_variables(receiver, monkeypatch):
    name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    monkeypatch.setenv(name, "base2_exponential_bucket_histogram")
    pushed = Pushed()
    pushed.run_flow()
    pushed.close()

    assert receiver.metrics()["langflow.flow.duration"].exponential_histogram.data_points[0].count == 1


@pytest.mark.parametrize(
    ("variable", "path", "expected"),
    [
        (ENDPOINT, "", "/v1/metrics"),
        (ENDPOINT, "/tenant/", "/tenant/v1/metrics"),
        (METRICS_ENDPOINT, "/own/metrics", "/own/metrics"),
    ],
)
def test_the_path_over_http(monkeypatch, variable: str, path: str, expected: str):
    with otlp_receiver(HTTP) as receiver:
        monkeypatch.setenv(variable, f"http://{receiver.address}{path}")
        pushed = Pushed()
        pushed.run_flow()
        pushed.close()

    assert [request.path for request in receiver.metric_requests] == [expected]


@pytest.mark.slow
def test_more_series_than_the_sdk_expects_arrive_each(receiver, monkeypatch):
    """LANGFLOW_OTEL_MAX_FLOWS says how many flows there are, and no limit of the SDK's."""
    monkeypatch.setenv("LANGFLOW_OTEL_MAX_FLOWS", "2100")
    pushed = Pushed()
    for number in range(2100):
        flow = pushed.metrics.flow(FlowInfo(f"flow-{number}"))
        flow.ended(Finished(CANCELLED, 0.1, None), "api")
        flow.active("api").add(1)
    pushed.close()
    found = receiver.metrics()

    for name in ("langflow.flow.duration", "langflow.flow.active", "langflow.flow.throughput"):
        points = kind_of(found[name]).data_points
        assert len({attributes(point).get("flow") for point in points}) == 2100


def test_what_the_receiver_refuses_is_counted_and_costs_nothing_else(monkeypatch):
    with otlp_receiver(HTTP) as receiver:
        receiver.status = 400
        monkeypatch.setenv(ENDPOINT, f"http://{receiver.address}")
        pushed = Pushed()
        settings = Settings.from_env()
        tracer_provider = build_tracer_provider(settings)
        recorder = Recorder(tracer_provider, settings, pushed.metrics)
        set_active_recorder(recorder)
        for _ in range(3):
            run = recorder.start_flow(FlowInfo("shop", "api"))
            assert run is not None
            run.finish()
        tracer_provider.shutdown()
        receiver.status = 200
        pushed.push()
        receiver.status = 400
        pushed.push()
        receiver.status = 200
        pushed.push()
        set_active_recorder(None)
        points = sum(len(kind_of(metric).data_points) for metric in receiver.metrics(1).values())
        dropped = {
            (attributes(point)["signal"], attributes(point)["reason"]): value_of(point)
            for point in receiver.metrics(2)["langflow_otel.dropped"].sum.data_points
        }
        pushed.close()

    assert dropped == {("traces", "export_failed"): 3, ("metrics", "export_failed"): points}
