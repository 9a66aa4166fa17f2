"""Model calls as the GenAI conventions measure them, in both sinks."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import HistogramDataPoint

from langflow_otel._metrics import catalogue
from langflow_otel._runs.facts import CANCELLED, OK, FlowInfo, ModelInfo, ModelResponse, Outcome
from langflow_otel._runs.model_call import ModelRun
from langflow_otel.testing import Telemetry
from tests.support.recording import recorder, recording

ASKED = ModelInfo("chat", "gpt", "openai")
ANSWERED = ModelResponse("gpt-2", input_tokens=10, output_tokens=20)
FAILED = Outcome("error", TimeoutError("canary"))
LABELS = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt",
    "gen_ai.response.model": "gpt-2",
    "flow": "shop",
}
UNANSWERED = {name: value for name, value in LABELS.items() if "response" not in name}
FAMILY = "gen_ai.client.inference."


class Clock:
    """Time that passes when it is said so."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("langflow_otel._runs.model_call.time", SimpleNamespace(perf_counter=clock))
    return clock


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with recording() as found:
        yield found


def call(
    response: ModelResponse | None = ANSWERED, outcome: Outcome = OK, info: ModelInfo = ASKED, requests: int = 1
) -> ModelRun:
    """One whole call, in a flow of its own."""
    flow = recorder().start_flow(FlowInfo("shop", "api"))
    assert flow is not None
    run = recorder().start_model(info, flow)
    assert run is not None
    for _ in range(requests):
        run.requested("https://models/chat", "models", 443)
    if response is not None:
        run.answered(response)
    run.end(outcome)
    flow.finish()
    return run


def pushed(telemetry: Telemetry) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    """By the end of the name: attributes, and number and sum of a histogram, or the value of a counter."""
    return {
        metric.name.removeprefix(FAMILY): [
            (
                dict(point.attributes or {}),
                (point.count, point.sum) if isinstance(point, HistogramDataPoint) else point.value,
            )
            for point in metric.data.data_points
        ]
        for metric in telemetry.pushed_metrics()
        if metric.name.startswith((FAMILY, "langflow.model"))
    }


def test_a_call_is_measured_as_the_conventions_say(telemetry, clock):
    flow = recorder().start_flow(FlowInfo("shop", "api"))
    run = recorder().start_model(ASKED, flow)
    clock.now_s += 0.25
    run.first_chunk()
    clock.now_s += 1
    run.answered(ModelResponse("gpt-2", input_tokens=10, output_tokens=20, cache_read_tokens=4, reasoning_tokens=7))
    run.end()
    clock.now_s += 100
    run.end()
    flow.finish()

    tokens = {**LABELS, "gen_ai.token.modality": "unknown"}
    asked = {name: LABELS[name] for name in ("gen_ai.provider.name", "gen_ai.request.model", "flow")}
    assert pushed(telemetry) == {
        "duration": [(LABELS, (1, 1.25))],
        "time_to_first_chunk": [(LABELS, (1, 0.25))],
        "usage.input_tokens": [(tokens, 10)],
        "usage.output_tokens": [(tokens, 20)],
        "usage.cache_read.input_tokens": [(tokens, 4)],
        "usage.reasoning.output_tokens": [(tokens, 7)],
        "operation.input_tokens": [(LABELS, (1, 10))],
        "operation.output_tokens": [(LABELS, (1, 20))],
        "langflow.model.retries": [(asked, 0)],
    }


def test_a_call_that_fails_has_its_error_and_no_tokens(telemetry, clock):
    call(None, FAILED)

    tokens = {**UNANSWERED, "gen_ai.token.modality": "unknown"}
    found = pushed(telemetry)
    assert found.pop("langflow.model.retries")
    asked = {name: LABELS[name] for name in ("gen_ai.provider.name", "gen_ai.request.model", "flow")}
    assert found == {
        "duration": [({**UNANSWERED, "error.type": "TimeoutError"}, (1, 0.0))],
        "langflow.model.errors": [({**asked, "langflow.error.category": "timeout"}, 1)],
        "usage.input_tokens": [(tokens, 0)],
        "usage.output_tokens": [(tokens, 0)],
    }


def test_tokens_of_a_call_that_fails_later_are_counted(telemetry):
    call(ANSWERED, FAILED)

    found = pushed(telemetry)
    assert found["usage.input_tokens"][0][1] == 10
    assert "operation.input_tokens" not in found


def test_a_cancelled_call_is_measured_without_an_error(telemetry):
    call(None, CANCELLED)

    assert [attributes for attributes, _ in pushed(telemetry)["duration"]] == [UNANSWERED]


def test_an_error_of_no_class_is_the_conventions_other(telemetry):
    call(None, Outcome("error"))

    assert pushed(telemetry)["duration"][0][0]["error.type"] == "_OTHER"


def test_a_model_without_a_name_is_unknown(telemetry):
    call(info=ModelInfo("text_completion"), response=None)

    ((attributes, _),) = pushed(telemetry)["duration"]
    assert attributes == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "unknown",
        "gen_ai.request.model": "unknown",
        "flow": "shop",
    }


def test_requests_sent_again_are_retries(telemetry):
    for requests in (1, 3, 2, 1):
        call(requests=requests)

    assert [value for _, value in pushed(telemetry)["langflow.model.retries"]] == [3]


def test_the_scrape_leaves_out_what_has_no_value(telemetry):
    call()
    call(None, FAILED)

    counts = telemetry.metrics("gen_ai_client_inference_duration_seconds_count")
    asked = 'gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt"'
    assert counts == {
        f'gen_ai_client_inference_duration_seconds_count{{{asked},{rest},flow="shop"}}': 1
        for rest in ('gen_ai_response_model="gpt-2"', 'error_type="TimeoutError"')
    }


def test_a_call_is_the_exemplar_of_its_duration(telemetry):
    run = call()
    measured = recorder().metrics
    assert measured is not None
    assert run.span is not None
    series = [each for each in measured.instruments.store.all_series() if each.metric is catalogue.MODEL_DURATION]

    assert [each.span_id for each in series[0].exemplars if each] == [run.span.get_span_context().span_id]


def test_past_a_hundred_models_they_are_counted_together():
    with recording(strict=False) as telemetry:
        for number in range(105):
            call(ModelResponse(f"model-{number}", input_tokens=1), info=ModelInfo("chat", f"model-{number}", "one"))
        found = {each["gen_ai.response.model"]: value for each, value in pushed(telemetry)["usage.input_tokens"]}
        (flow,) = recorder().metrics._flows.values()
        kept = len(flow._calls)

    # The provider's name is one of the first hundred; models that answer have a hundred of their own.
    assert len(found) == kept == 101
    assert found["other"] == 5


def test_each_flow_has_series_of_its_own(telemetry):
    for name in ("shop", "help", "shop"):
        flow = recorder().start_flow(FlowInfo(name, "api"))
        run = recorder().start_model(ASKED, flow)
        run.answered(ANSWERED)
        run.end()
        flow.finish()

    assert {each["flow"]: value for each, value in pushed(telemetry)["usage.output_tokens"]} == {"shop": 40, "help": 20}


@pytest.mark.parametrize(
    ("details", "streamed", "series"),
    [({}, False, 54), ({"cache_read_tokens": 4, "reasoning_tokens": 7}, False, 56), ({}, True, 71)],
    ids=["tokens", "with details", "streamed"],
)
def test_model_adds_as_many_series_as_the_readme_says(
    telemetry, clock, details: dict[str, int], streamed: bool, series: int
):
    recorder().start_flow(FlowInfo("shop", "api")).finish()
    before = telemetry.metrics()
    flow = recorder().start_flow(FlowInfo("shop", "api"))
    run = recorder().start_model(ASKED, flow)
    if streamed:
        run.first_chunk()
    run.answered(ANSWERED._replace(**details))
    run.end()
    flow.finish()

    assert len(telemetry.metrics()) - len(before) == series
