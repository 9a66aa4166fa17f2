"""Histograms and counters that are pushed as the store has them: as the SDK would have made them of the same values."""

from __future__ import annotations

import time
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from otlp_receiver import Receiver, otlp_receiver

from langflow_otel import _semconv as semconv
from langflow_otel._metrics import catalogue
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._sdk.providers import choose_meter_provider
from langflow_otel._sdk.store_metrics import READ_FROM_STORE
from langflow_otel._settings.settings import Settings

VALUES = (0.0, 0.005, 0.006, 0.02, 1.0, 7.0, 300.0, 301.0)
DURATION = catalogue.COMPONENT_DURATION
EXACTLY_AS_THE_SDK = "OTEL_METRICS_EXEMPLAR_FILTER", "always_on"


@pytest.fixture(params=["grpc", "http/protobuf"])
def receiver(request, monkeypatch):
    with otlp_receiver(request.param) as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{found.address}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        yield found


class Pushing:
    """Instruments with our own provider, as in a pipeline."""

    def __init__(self) -> None:
        store = MemoryStore()
        choice = choose_meter_provider(Settings.from_env(), None, store)
        assert choice is not None
        self.provider = choice.own
        self.from_store = choice.from_store
        meter = self.provider.get_meter(semconv.SCOPE)
        self.instruments = Instruments(store, meter, choice.from_store)
        # A flow that runs is in the SDK's up-down counter.
        self.instruments.recording(catalogue.FLOW_ACTIVE, "flow", "api").add(1)

    def __enter__(self) -> Pushing:
        return self

    def __exit__(self, *_: object) -> None:
        self.provider.shutdown()

    def record(self, status: str = "ok", values: tuple[float, ...] = VALUES, context: Any = None) -> None:
        for value in values:
            self.instruments.recording(DURATION, "flow", "Prompt", status).record(value, context)

    def push(self) -> None:
        self.provider.force_flush()


def points(receiver: Receiver, request: int = -1) -> list[Any]:
    return sorted(
        receiver.metrics(request)[DURATION.name].histogram.data_points,
        key=lambda point: [(each.key, each.value.string_value) for each in point.attributes],
    )


def said(point: Any) -> dict[str, Any]:
    """What a backend computes with."""
    return {
        "attributes": {each.key: each.value.string_value for each in point.attributes},
        "count": point.count,
        "sum": point.sum,
        "buckets": list(point.bucket_counts),
        "bounds": list(point.explicit_bounds),
    }


def test_it_is_what_the_sdk_makes_of_the_same_values(receiver, monkeypatch):
    with Pushing() as ours:
        ours.record()
        ours.record("error", (0.3,))
        ours.push()
        pushed = receiver.metrics()[DURATION.name]
        from_store = list(map(said, points(receiver)))
    monkeypatch.setenv(*EXACTLY_AS_THE_SDK)
    with Pushing() as sdk:
        assert not sdk.from_store
        sdk.record()
        sdk.record("error", (0.3,))
        sdk.push()
        expected = receiver.metrics()[DURATION.name]

        assert from_store == list(map(said, points(receiver)))
    assert (pushed.description, pushed.unit) == (expected.description, expected.unit)
    assert pushed.histogram.aggregation_temporality == expected.histogram.aggregation_temporality


def test_a_counter_is_what_the_sdk_makes_of_it(receiver, monkeypatch):
    def counted() -> dict[str, Any]:
        with Pushing() as pushing:
            for labels, amount in ((("flow", "Prompt", "KeyError"), 2), (("flow", "Chat", "OSError"), 1.0)):
                pushing.instruments.recording(catalogue.COMPONENT_ERRORS, *labels).add(amount)
            pushing.push()
            pushing.instruments.recording(catalogue.COMPONENT_ERRORS, "flow", "Prompt", "KeyError").add()
            pushing.push()
        found = receiver.metrics()[catalogue.COMPONENT_ERRORS.name]
        points = [
            ({each.key: each.value.string_value for each in point.attributes}, point.as_double)
            for point in found.sum.data_points
        ]
        return {
            "description": found.description,
            "unit": found.unit,
            "monotonic": found.sum.is_monotonic,
            "temporality": found.sum.aggregation_temporality,
            "points": sorted(points, key=lambda point: point[1]),
        }

    from_store = counted()
    monkeypatch.setenv(*EXACTLY_AS_THE_SDK)

    assert from_store == counted()
    assert [value for _, value in from_store["points"]] == [1.0, 3.0]


def test_a_counter_without_a_value_of_a_label_leaves_it_out(receiver):
    with Pushing() as pushing:
        labels = ("chat", "openai", "gpt", "", "unknown", "flow")
        pushing.instruments.recording(catalogue.MODEL_INPUT_TOKENS, *labels).add(3)
        pushing.push()
        (point,) = receiver.metrics()[catalogue.MODEL_INPUT_TOKENS.name].sum.data_points

    assert "gen_ai.response.model" not in {each.key for each in point.attributes}


def test_each_push_has_all_that_was_recorded_since_the_start(receiver):
    with Pushing() as pushing:
        pushing.record()
        pushing.push()
        pushing.record()
        pushing.push()
        first, second = points(receiver, -2)[0], points(receiver)[0]

    assert (first.count, second.count) == (len(VALUES), 2 * len(VALUES))
    assert first.start_time_unix_nano == second.start_time_unix_nano < first.time_unix_nano < second.time_unix_nano
    assert not first.HasField("min")
    assert not first.HasField("max")


def test_each_series_starts_at_its_own_birth(receiver):
    with Pushing() as pushing:
        pushing.record()
        between_ns = time.time_ns()
        pushing.record("error")
        pushing.push()
        failed, ok = points(receiver)

    assert ok.start_time_unix_nano <= between_ns <= failed.start_time_unix_nano < failed.time_unix_nano


def test_a_series_of_zeros_is_pushed(receiver):
    with Pushing() as pushing:
        pushing.instruments.recording(DURATION, "flow", "Prompt", "ok")
        pushing.push()
        (found,) = points(receiver)

    assert (found.count, found.sum, set(found.bucket_counts)) == (0, 0, {0})


def test_they_stand_in_the_scope_of_the_other_metrics(receiver):
    with Pushing() as pushing:
        pushing.record()
        pushing.push()
        scopes = {scope.scope.name: {metric.name for metric in scope.metrics} for scope in receiver.scopes()}

    assert {catalogue.FLOW_ACTIVE.name, DURATION.name} <= scopes[semconv.SCOPE]
    assert [DURATION.name in names for names in scopes.values()].count(True) == 1


def test_what_was_not_recorded_is_not_pushed(receiver):
    with Pushing() as pushing:
        pushing.push()

        assert DURATION.name not in receiver.metrics()


def test_a_sampled_span_is_an_exemplar_of_one_push(receiver):
    tracer, unsampled = TracerProvider().get_tracer("t"), TracerProvider(sampler=ALWAYS_OFF).get_tracer("t")
    span = tracer.start_span("component Prompt")
    with Pushing() as pushing:
        pushing.record(values=(0.3,), context=trace.set_span_in_context(span))
        pushing.record(values=(7.0,), context=trace.set_span_in_context(unsampled.start_span("other")))
        pushing.push()
        pushing.push()
        (first,), (second,) = points(receiver, -2), points(receiver)

    (exemplar,) = first.exemplars
    assert exemplar.as_double == 0.3
    assert int.from_bytes(exemplar.trace_id, "big") == span.get_span_context().trace_id
    assert int.from_bytes(exemplar.span_id, "big") == span.get_span_context().span_id
    assert not second.exemplars


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "LowMemory"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
    ],
)
def test_who_wants_them_otherwise_gets_the_sdks(receiver, monkeypatch, variable: str, value: str):
    monkeypatch.setenv(variable, value)
    with Pushing() as pushing:
        assert not pushing.from_store
        pushing.record()
        pushing.push()
        metric = receiver.metrics()[DURATION.name]
        if value == "base2_exponential_bucket_histogram":
            assert metric.exponential_histogram.data_points[0].count == len(VALUES)
            return
        pushing.record()
        pushing.push()
        is_delta = "TEMPORALITY" in variable

        assert points(receiver)[0].count == len(VALUES) * (1 if is_delta else 2)


@pytest.mark.parametrize("value", ["", " Cumulative "])
def test_the_default_said_aloud_is_the_default(receiver, monkeypatch, value: str):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", value)
    with Pushing() as pushing:
        assert pushing.from_store == READ_FROM_STORE


def test_a_provider_that_is_passed_in_has_instruments(receiver):
    with Pushing() as pushing:
        choice = choose_meter_provider(Settings.from_env(), pushing.provider, MemoryStore())

        assert choice is not None
        assert not choice.from_store
