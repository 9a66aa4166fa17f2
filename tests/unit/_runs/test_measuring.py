"""What happens to runs, as it is measured: each status, each label, and the same whether traced or not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics.export import HistogramDataPoint
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from langflow_otel import _guard as guard
from langflow_otel import record_retry
from langflow_otel._metrics import catalogue
from langflow_otel._metrics.derived import NESTED, next_average
from langflow_otel._metrics.instruments import Instruments, Recording
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._runs.facts import (
    CACHED,
    CANCELLED,
    OK,
    Costs,
    FlowInfo,
    ModelInfo,
    ModelResponse,
    ModelUsage,
    Outcome,
)
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.measuring import Finished, RunMetrics
from langflow_otel._runs.process_watch import ProcessWatch
from langflow_otel._runs.recorder import Recorder, count_dropped, set_active_recorder
from langflow_otel._runs.run import current_run
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry
from tests.support.recording import at_once, component, recorder, recording

unhurried = hypothesis_settings(deadline=None)

PAUSED = Outcome("paused")
FAILED = Outcome("error", ValueError("canary"))
API = FlowInfo("shop", "api")


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in ("flow", "component", "stream", "model_call"):
        stopped = SimpleNamespace(perf_counter=clock, time_ns=time.time_ns)
        monkeypatch.setattr(f"langflow_otel._runs.{module}.time", stopped)
    return clock


def start_flow(info: FlowInfo = API) -> FlowRun:
    run = recorder().start_flow(info)
    assert run is not None
    return run


def run_flow(outcome: Outcome = OK, info: FlowInfo = API) -> None:
    start_flow(info).finish(outcome)


def run_component(flow: FlowRun | None, outcome: Outcome = OK, name: str = "Agent") -> None:
    recorder().start_component(component(name), flow).finish(outcome)


def run_components(*outcomes: Outcome, name: str = "Agent") -> None:
    flow = start_flow()
    for outcome in outcomes:
        run_component(flow, outcome, name)
    flow.finish()


def samples(telemetry: Telemetry, *names: str) -> dict[str, float]:
    """The samples of these metrics, without buckets."""
    return {name: value for name, value in telemetry.metrics(*names).items() if "_bucket{" not in name}


def labels_of(telemetry: Telemetry, name: str) -> list[dict[str, str]]:
    """Labels of every series of a pushed metric."""
    return [
        {str(key): str(value) for key, value in (point.attributes or {}).items()}
        for metric in telemetry.pushed_metrics()
        if metric.name == name
        for point in metric.data.data_points
    ]


def both_sinks(telemetry: Telemetry) -> tuple[dict[Any, list[float]], dict[Any, list[float]]]:
    """What is scraped and what is pushed: cells by name and labels."""
    measured = recorder().metrics
    assert measured is not None
    names = {metric.name for metric in catalogue.RECORDED}
    store = measured.instruments.store
    scraped = {
        (series.metric.name, frozenset(series.metric.shown_labels(series.labels))): store.read(series)
        for series in store.all_series()
        # A probe that saw nothing yet has a series of zeros.
        if series.metric.name in names and any(store.read(series))
    }
    pushed = {}
    for metric in telemetry.pushed_metrics():
        for point in metric.data.data_points:
            cells = [*point.bucket_counts, point.sum] if isinstance(point, HistogramDataPoint) else [point.value]
            if any(cells):
                pushed[metric.name, frozenset((point.attributes or {}).items())] = cells
    return scraped, pushed


# Flow runs


@pytest.mark.parametrize("outcome", [OK, FAILED, CANCELLED, PAUSED], ids=lambda outcome: outcome.status)
def test_a_flow_run_is_measured_by_its_status(telemetry, clock, outcome: Outcome):
    run = start_flow()
    clock.now_s += 1.5
    run.finish(outcome)
    labels = f'{{flow="shop",status="{outcome.status}",entry_point="api"}}'

    assert samples(telemetry, "langflow_flow_duration_seconds") == {
        f"langflow_flow_duration_seconds_sum{labels}": 1.5,
        f"langflow_flow_duration_seconds_count{labels}": 1.0,
    }


class Graph:
    """Only its identity counts."""


def outcomes(telemetry: Telemetry) -> dict[tuple[str, str], float]:
    """Counts by flow and status."""
    return {
        (name.split('"')[1], name.split('"')[3]): value
        for name, value in telemetry.metrics("langflow_flow_duration_seconds_count").items()
    }


def test_outcomes_of_a_flow_begin_at_0_before_a_run_ends(telemetry):
    graph = Graph()
    run = recorder().start_flow(API, graph)
    assert run is not None
    assert outcomes(telemetry) == {("shop", "ok"): 0, ("shop", "error"): 0}
    run.finish(FAILED)

    assert outcomes(telemetry) == {("shop", "ok"): 0, ("shop", "error"): 1}


def test_a_flow_whose_name_is_not_known_yet_has_no_outcomes(telemetry):
    run = start_flow(FlowInfo("unnamed", "playground"))
    assert outcomes(telemetry) == {}
    run.bind(graph := Graph())
    run.describe(FlowInfo("shop", "playground"))
    assert outcomes(telemetry) == {("shop", "ok"): 0, ("shop", "error"): 0}
    run.finish(CANCELLED)
    del graph

    assert outcomes(telemetry) == {("shop", "ok"): 0, ("shop", "error"): 0, ("shop", "cancelled"): 1}


def test_a_run_that_ends_twice_is_measured_once(telemetry):
    run = start_flow()
    part = recorder().start_component(component("Agent"), run)
    for outcome in (FAILED, OK, CANCELLED):
        part.finish(outcome)
    for outcome in (FAILED, OK, CANCELLED):
        run.finish(outcome)

    assert samples(telemetry, "langflow_flow_duration_seconds_count", "langflow_component_duration_seconds_count") == {
        'langflow_flow_duration_seconds_count{flow="shop",status="error",entry_point="api"}': 1.0,
        'langflow_component_duration_seconds_count{flow="shop",component_type="Agent",status="error"}': 1.0,
    }


def test_entry_points_are_told_apart(telemetry):
    run_flow(info=FlowInfo("shop", "api"))
    run_flow(info=FlowInfo("shop", "playground"))
    run_flow(info=FlowInfo("shop", "playground"))

    assert samples(telemetry, "langflow_flow_duration_seconds_count") == {
        'langflow_flow_duration_seconds_count{flow="shop",status="ok",entry_point="api"}': 1.0,
        'langflow_flow_duration_seconds_count{flow="shop",status="ok",entry_point="playground"}': 2.0,
    }


def active(telemetry: Telemetry) -> dict[str, float]:
    return samples(telemetry, "langflow_flow_active")


def test_active_runs_go_up_and_down(telemetry):
    first, second = start_flow(), start_flow()
    inner = start_flow(FlowInfo("inner", "flow"))
    during = active(telemetry)
    for run, outcome in ((inner, OK), (second, FAILED), (first, CANCELLED)):
        run.finish(outcome)

    assert during == {
        'langflow_flow_active{flow="shop",entry_point="api"}': 2.0,
        'langflow_flow_active{flow="inner",entry_point="flow"}': 1.0,
    }
    assert active(telemetry) == dict.fromkeys(during, 0.0)
    assert both_sinks(telemetry)[0].keys() == both_sinks(telemetry)[1].keys()


def test_run_that_stays_unnamed_is_active_with_its_graph(telemetry):
    graph = object.__new__(type("Graph", (), {}))
    run = start_flow(FlowInfo("unnamed", "playground"))
    run.bind(graph)
    run.describe(FlowInfo("unnamed", "playground"))
    during = active(telemetry)
    run.finish()
    unnamed = 'langflow_flow_active{flow="unnamed",entry_point="playground"}'

    assert (during, active(telemetry)) == ({unnamed: 1.0}, {unnamed: 0.0})


def test_a_run_whose_name_is_learned_later_counts_under_it_from_there_on(telemetry):
    """As in the playground, whose graph is known with its first component."""
    run = start_flow(FlowInfo("unnamed", "playground"))
    before = active(telemetry)
    run.describe(FlowInfo("shop", "playground"))
    during = active(telemetry)
    run_component(run)
    run.finish(FAILED)
    shop = 'langflow_flow_active{flow="shop",entry_point="playground"}'

    assert (before, during, active(telemetry)) == ({}, {shop: 1.0}, {shop: 0.0})
    assert labels_of(telemetry, "langflow.flow.duration") == [
        {"flow": "shop", "status": "error", "entry_point": "playground"}
    ]
    assert labels_of(telemetry, "langflow.component.duration") == [
        {"flow": "shop", "component_type": "Agent", "status": "ok"}
    ]
    assert not [name for name in telemetry.metrics() if "unnamed" in name and "active" not in name]


def test_a_run_that_is_described_again_still_counts_once(telemetry):
    run = start_flow()
    for _ in range(3):
        run.describe(FlowInfo("shop", "api", flow_id="f-1"))
    during = active(telemetry)
    run.finish()
    run.describe(FlowInfo("too late", "api"))

    assert during == {'langflow_flow_active{flow="shop",entry_point="api"}': 1.0}
    assert active(telemetry) == {'langflow_flow_active{flow="shop",entry_point="api"}': 0.0}


def test_a_flow_whose_task_is_dropped_is_active_no_more(telemetry):
    async def flow() -> None:
        run = start_flow()
        try:
            await asyncio.sleep(0)
        finally:
            run.finish(CANCELLED)

    dropped = flow()
    dropped.send(None)
    during = active(telemetry)
    dropped.close()

    assert list(during.values()) == [1.0]
    assert list(active(telemetry).values()) == [0.0]


# Components


@pytest.mark.parametrize("outcome", [OK, FAILED, CANCELLED, PAUSED], ids=lambda outcome: outcome.status)
def test_a_component_is_measured_by_its_status(telemetry, clock, outcome: Outcome):
    flow = start_flow()
    run = recorder().start_component(component("Agent"), flow)
    clock.now_s += 0.25
    run.finish(outcome)
    clock.now_s += 5
    flow.finish()
    labels = f'{{flow="shop",component_type="Agent",status="{outcome.status}"}}'

    assert samples(telemetry, "langflow_component_duration_seconds") == {
        f"langflow_component_duration_seconds_sum{labels}": 0.25,
        f"langflow_component_duration_seconds_count{labels}": 1.0,
    }


def test_a_component_that_failed_ended_when_its_code_failed(telemetry, clock):
    """LangFlow renders the traceback for about a second: not the component's time."""
    flow = start_flow()
    run = recorder().start_component(component("Agent"), flow)
    clock.now_s += 0.5
    run.note_failure(ValueError())
    clock.now_s += 1
    assert run.failure is not None
    run.finish(run.failure)
    flow.finish()

    assert list(samples(telemetry, "langflow_component_duration_seconds_sum").values()) == [0.5]


def test_a_component_from_the_cache_was_bypassed_and_has_no_duration(telemetry):
    run_components(CACHED, CACHED, OK)

    assert samples(telemetry, "langflow_component_bypassed", "langflow_component_duration_seconds_count") == {
        'langflow_component_bypassed_total{flow="shop",component_type="Agent",reason="cached"}': 2.0,
        'langflow_component_duration_seconds_count{flow="shop",component_type="Agent",status="ok"}': 1.0,
    }


def test_a_component_on_a_branch_not_taken_was_bypassed_once_in_each_run(telemetry):
    for _ in range(2):
        flow = start_flow()
        for _ in range(3):
            flow.component_skipped(component("Parser"))
        flow.finish()

    assert samples(telemetry, "langflow_component_bypassed") == {
        'langflow_component_bypassed_total{flow="shop",component_type="Parser",reason="skipped"}': 2.0
    }


def test_a_component_that_did_run_was_not_skipped(telemetry):
    flow = start_flow()
    flow.component_started("Parser-1")
    flow.component_skipped(component("Parser"))
    flow.finish()

    assert samples(telemetry, "langflow_component_bypassed") == {}


def test_a_component_without_a_flow(telemetry):
    run_component(None, FAILED)

    assert samples(telemetry, "langflow_component_duration_seconds_count", "langflow_flow") == {
        'langflow_component_duration_seconds_count{flow="unnamed",component_type="Agent",status="error"}': 1.0
    }


def test_errors_are_counted_by_class(telemetry):
    class CustomError(Exception):
        pass

    run_components(
        *(Outcome("error", error) for error in (KeyError(), KeyError(), CustomError())),
        Outcome("error", None),
        OK,
        CANCELLED,
    )
    found = {labels["error_type"]: labels for labels in labels_of(telemetry, "langflow.component.errors")}
    local = "test_errors_are_counted_by_class.<locals>.CustomError"

    assert list(found) == ["KeyError", local, "_OTHER"]
    assert found["KeyError"] == {"flow": "shop", "component_type": "Agent", "error_type": "KeyError"}
    assert list(samples(telemetry, "langflow_component_errors").values()) == [2.0, 1.0, 1.0]


def test_past_fifty_classes_errors_are_counted_together():
    classes = [type(f"Error{number}", (Exception,), {}) for number in range(55)]
    with recording(strict=False) as telemetry:
        run_components(*(Outcome("error", error()) for error in classes for _ in range(2)))
        counted = samples(telemetry, "langflow_component_errors")
    names = [name.partition('error_type="')[2].rstrip('"}') for name in counted]

    assert names == [*(f"Error{number}" for number in range(50)), "other"]
    assert list(counted.values()) == [2.0] * 50 + [10.0]
    assert telemetry.warnings == [
        "langflow_otel: More than 50 error types: metrics count further ones together as 'other'."
    ]


def test_past_five_hundred_types_components_are_counted_together():
    with recording(strict=False) as telemetry:
        flow = start_flow()
        for number in range(510):
            run_component(flow, FAILED, name=f"Type{number}")
        flow.finish()
        durations = samples(telemetry, "langflow_component_duration_seconds_count")
        ratios = samples(telemetry, "langflow_component_failure_ratio")
        assert flow.measures is not None

        # A name for each run must not fill the memory either.
        assert len(flow.measures._components) == 501

    assert len(durations) == len(ratios) == 501
    assert (
        durations['langflow_component_duration_seconds_count{flow="shop",component_type="other",status="error"}'] == 10
    )
    assert ratios['langflow_component_failure_ratio{component_type="other"}'] == 1.0
    assert telemetry.warnings == [
        "langflow_otel: More than 500 component types: metrics count further ones together as 'other'."
    ]


# Models and streams


def tokens(telemetry: Telemetry) -> dict[tuple[str, str, str, str], float]:
    """By direction, model, provider and flow."""
    usage = "gen_ai.client.inference.usage."
    return {
        (
            metric.name.removeprefix(usage).removesuffix("_tokens"),
            str(point.attributes["gen_ai.request.model"]),
            str(point.attributes["gen_ai.provider.name"]),
            str(point.attributes["flow"]),
        ): point.value
        for metric in telemetry.pushed_metrics()
        if metric.name.startswith(usage)
        for point in metric.data.data_points
    }


def use_model(*usages: ModelUsage, below: bool = False) -> None:
    flow = start_flow()
    for usage in usages:
        run = recorder().start_component(component("Agent", "agent"), flow)
        run.tokens_are_below = below
        run.used_model(usage)
        run.finish()
    flow.finish()


def test_tokens_are_counted_by_model_and_direction(telemetry):
    use_model(ModelUsage("gpt", "openai", 10, 20), ModelUsage("gpt", "openai", 1, 0), ModelUsage("opus", None, 5, None))

    assert tokens(telemetry) == {
        ("input", "gpt", "openai", "shop"): 11,
        ("output", "gpt", "openai", "shop"): 20,
        ("input", "opus", "unknown", "shop"): 5,
        ("output", "opus", "unknown", "shop"): 0,
    }


def test_a_model_whose_tokens_are_not_known_has_no_series(telemetry):
    use_model(ModelUsage("gpt", "openai"), ModelUsage())

    assert tokens(telemetry) == {}


def test_tokens_that_a_span_below_shows_are_counted_all_the_same(telemetry):
    use_model(ModelUsage("gpt", "openai", 10, 20), below=True)

    assert set(tokens(telemetry).values()) == {10, 20}
    assert "gen_ai.usage.input_tokens" not in telemetry.only_span("invoke_agent Agent").attributes


def test_past_a_hundred_models_and_providers_they_are_counted_together():
    with recording(strict=False) as telemetry:
        use_model(*(ModelUsage(f"model-{number}", "one", 1, None) for number in range(105)))
        found = tokens(telemetry)

    # The provider's name is one of the hundred.
    assert len([direction for direction, *_ in found if direction == "input"]) == 100
    assert found["input", "other", "one", "shop"] == 6
    assert len(telemetry.warnings) == 1


def test_the_first_chunk_is_timed_from_the_first_pull(telemetry, clock):
    flow = start_flow()
    producer = recorder().start_component(component("Model"), flow)
    stream = recorder().open_stream(producer)
    assert stream is not None
    producer.finish()
    clock.now_s += 50
    for chunks in (0, 1, 1):
        step = stream.pull()
        clock.now_s += 0.25
        stream.leave_step(step)
        for _ in range(chunks):
            stream.chunk()
    stream.close("exhausted")
    flow.finish()
    labels = '{flow="shop",component_type="Model"}'

    assert samples(telemetry, "langflow_component_time_to_first_chunk") == {
        f"langflow_component_time_to_first_chunk_seconds_sum{labels}": 0.5,
        f"langflow_component_time_to_first_chunk_seconds_count{labels}": 1.0,
    }


def test_a_stream_without_a_chunk_has_no_first_one(telemetry):
    flow = start_flow()
    producer = recorder().start_component(component("Model"), flow)
    unread, empty = recorder().open_stream(producer), recorder().open_stream(producer)
    assert unread is not None
    assert empty is not None
    empty.leave_step(empty.pull())
    empty.close("exhausted")
    producer.finish()
    flow.finish()

    assert samples(telemetry, "langflow_component_time_to_first_chunk") == {}


# Time to recovery


class Flow:
    """The measures of one flow, on a clock of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.store = MemoryStore()
        self.metrics = RunMetrics(Instruments(self.store, None), Settings(), clock)

    def ended(self, outcome: Outcome, name: str = "shop", entry_point: str = "api", duration_s: float = 1.0) -> None:
        self.metrics.flow(FlowInfo(name)).ended(Finished(outcome, duration_s, None), entry_point)

    def recoveries(self) -> dict[str, tuple[float, float]]:
        """Number and sum of the recovery times, by flow."""
        return {
            series.labels[0]: (sum(series.cells[:-1]), series.cells[-1])
            for series in self.store.all_series()
            if series.metric.name == "langflow.flow.recovery_time"
        }


def recoveries_after(*events: tuple[float, Outcome]) -> dict[str, tuple[float, float]]:
    clock = Clock()
    flow = Flow(clock)
    for at_s, outcome in events:
        clock.now_s = at_s
        flow.ended(outcome)
    return flow.recoveries()


def test_recovery_is_from_the_first_failure_to_the_next_success():
    assert recoveries_after((1, OK), (10, FAILED), (17, OK)) == {"shop": (1, 7)}


def test_further_failures_do_not_start_it_anew():
    assert recoveries_after((1, OK), (10, FAILED), (20, FAILED), (30, FAILED), (40, OK)) == {"shop": (1, 30)}


def test_each_recovery_counts():
    events = ((1, OK), (10, FAILED), (15, OK), (16, OK), (20, FAILED), (21, FAILED), (23, OK))

    assert recoveries_after(*events) == {"shop": (2, 5 + 3)}


def test_failures_before_the_first_success_are_no_outage():
    assert recoveries_after((1, FAILED), (5, FAILED), (9, OK)) == {}
    assert recoveries_after((1, FAILED), (5, OK), (6, FAILED), (8, OK)) == {"shop": (1, 2)}


def test_a_flow_that_never_succeeds_never_recovers():
    assert recoveries_after(*((second, FAILED) for second in range(10))) == {}


def test_an_outage_that_goes_on_is_not_counted_yet():
    assert recoveries_after((1, OK), (2, FAILED), (3, FAILED)) == {}


@pytest.mark.parametrize("outcome", [CANCELLED, PAUSED])
def test_a_run_without_a_verdict_neither_starts_nor_ends_an_outage(outcome: Outcome):
    assert recoveries_after((1, OK), (2, outcome), (5, FAILED), (6, outcome), (9, OK)) == {"shop": (1, 4)}
    assert recoveries_after((1, outcome), (2, FAILED), (3, OK)) == {}


def test_each_flow_recovers_by_itself():
    clock = Clock()
    flow = Flow(clock)
    for at_s, name, outcome in (
        (0, "a", OK),
        (0, "b", OK),
        (1, "a", FAILED),
        (3, "b", FAILED),
        (4, "a", OK),
        (9, "b", OK),
    ):
        clock.now_s = at_s
        flow.ended(outcome, name)

    assert flow.recoveries() == {"a": (1, 3), "b": (1, 6)}


def test_a_flow_run_by_a_flow_recovers_too():
    clock = Clock()
    flow = Flow(clock)
    for at_s, outcome in ((0, OK), (5, FAILED), (7, OK)):
        clock.now_s = at_s
        flow.ended(outcome, entry_point="flow")

    assert flow.recoveries() == {"shop": (1, 2)}


class Meanwhile:
    """Calls through; before the first call another thread ends a run of the same flow, as far as it is let."""

    def __init__(self, flow: Flow, wrapped: Callable[..., Any]) -> None:
        self._other = threading.Thread(target=flow.ended, args=(OK,), kwargs={"duration_s": 9.0})
        self._wrapped = wrapped

    def __call__(self, *args: Any) -> Any:
        if self._other.ident is None:
            self._other.start()
            self._other.join(0.1)
        return self._wrapped(*args)

    def finish(self) -> None:
        assert self._other.ident is not None
        self._other.join()


def test_two_runs_that_succeed_at_once_are_one_recovery(monkeypatch):
    clock = Clock()
    flow = Flow(clock)
    flow.ended(OK)
    flow.ended(FAILED)
    clock.now_s += 10
    recording_of = flow.metrics.recording
    meanwhile = Meanwhile(flow, recording_of)
    monkeypatch.setattr(
        flow.metrics,
        "recording",
        lambda metric, labels: (meanwhile if metric is catalogue.FLOW_RECOVERY_TIME else recording_of)(metric, labels),
    )
    flow.ended(OK)
    meanwhile.finish()

    assert flow.recoveries() == {"shop": (1, 10)}


def test_two_runs_that_end_at_once_are_both_in_the_average(monkeypatch):
    flow = Flow(Clock())
    flow.ended(OK)
    meanwhile = Meanwhile(flow, next_average)
    monkeypatch.setattr("langflow_otel._runs.measuring.next_average", meanwhile)
    flow.ended(OK, duration_s=5.0)
    meanwhile.finish()
    (average,) = [reading.value for reading in flow.metrics.derived(1.0) if "ema" in reading.metric.name]

    either_order = [next_average(next_average(1.0, one), two) for one, two in ((9.0, 5.0), (5.0, 9.0))]
    assert average in [pytest.approx(each) for each in either_order]


# Caps and labels


def test_flows_past_the_cap_are_counted_together():
    with recording(Settings(max_flows=2), strict=False) as telemetry:
        for number in range(5):
            run = start_flow(FlowInfo(f"flow-{number}", "api"))
            run_component(run, FAILED)
            run.component_skipped(component("Parser"))
            run.finish()
        run_flow(info=FlowInfo("flow-0", "api"))
        found = telemetry.metrics()
        scraped, pushed = both_sinks(telemetry)
    flows = {name.partition('flow="')[2].partition('"')[0] for name in found if 'flow="' in name}

    assert flows == {"flow-0", "flow-1", "other"}
    assert found['langflow_flow_duration_seconds_count{flow="flow-0",status="ok",entry_point="api"}'] == 2
    assert found['langflow_flow_duration_seconds_count{flow="other",status="ok",entry_point="api"}'] == 3
    assert found['langflow_flow_active{flow="other",entry_point="api"}'] == 0
    assert found['langflow_component_bypassed_total{flow="other",component_type="Parser",reason="skipped"}'] == 3
    assert found['langflow_flow_throughput{flow="other"}'] == 3 / 60
    assert found["langflow_throughput"] == 6 / 60
    assert scraped == pushed
    assert telemetry.warnings == [
        "langflow_otel: More than 2 flow names: metrics count further ones together as 'other'."
    ]


FLOW_METRICS = (
    "langflow.flow.duration",
    "langflow.flow.active",
    "langflow.flow.recovery_time",
    "gen_ai.client.inference.duration",
    "gen_ai.client.inference.time_to_first_chunk",
    "gen_ai.client.inference.usage.input_tokens",
    "gen_ai.client.inference.usage.reasoning.output_tokens",
    "gen_ai.client.inference.operation.input_tokens",
    "langflow.model.retries",
)
COMPONENT_METRICS = (
    "langflow.component.duration",
    "langflow.component.bypassed",
    "langflow.component.errors",
    "langflow.component.retries",
    "langflow.component.time_to_first_chunk",
)
ASKED = ["gen_ai.provider.name", "gen_ai.request.model"]
MODEL = [*ASKED, "gen_ai.operation.name", "gen_ai.response.model"]
OWN_LABELS = {
    "langflow.flow.duration": ["status", "entry_point"],
    "langflow.flow.active": ["entry_point"],
    "gen_ai.client.inference.duration": MODEL,
    "gen_ai.client.inference.time_to_first_chunk": MODEL,
    "gen_ai.client.inference.usage.input_tokens": [*MODEL, "gen_ai.token.modality"],
    "gen_ai.client.inference.usage.reasoning.output_tokens": [*MODEL, "gen_ai.token.modality"],
    "gen_ai.client.inference.operation.input_tokens": MODEL,
    "langflow.model.retries": ASKED,
    "langflow.component.duration": ["status"],
    "langflow.component.bypassed": ["reason"],
    "langflow.component.errors": ["error_type"],
}


@pytest.mark.parametrize(
    ("kept", "on_flows", "on_components"),
    [
        ((), ["flow"], []),
        (("flow",), ["flow"], ["flow"]),
        (("component_type",), ["flow"], ["component_type"]),
        (("flow", "component_type"), ["flow"], ["flow", "component_type"]),
        (("component_type", "flow"), ["flow"], ["flow", "component_type"]),
        (("flow_id",), ["flow_id", "flow"], ["flow_id"]),
        (
            ("flow", "component_type", "flow_version", "flow_id"),
            ["flow_id", "flow_version", "flow"],
            ["flow_id", "flow_version", "flow", "component_type"],
        ),
    ],
    ids=lambda value: "+".join(value) or "none",
)
def test_which_labels_there_are(kept: tuple[str, ...], on_flows: list[str], on_components: list[str]):
    info = FlowInfo("shop", "api", flow_id="f-1", version="abc")
    values = {"flow": "shop", "component_type": "Agent", "flow_id": "f-1", "flow_version": "abc"}
    with recording(Settings(metric_labels=kept)) as telemetry:
        everything_happens(info)
        found = {
            metric.name: [dict(point.attributes or {}) for point in metric.data.data_points]
            for metric in telemetry.pushed_metrics()
        }
        scraped, pushed = both_sinks(telemetry)

    for names, common in ((FLOW_METRICS, on_flows), (COMPONENT_METRICS, on_components)):
        for name in names:
            for labels in found[name]:
                assert sorted(labels) == sorted([*common, *OWN_LABELS.get(name, [])]), name
                assert {label: labels[label] for label in common} == {label: values[label] for label in common}
    assert scraped == pushed


def test_without_labels_component_series_are_few():
    with recording(Settings(metric_labels=())) as telemetry:
        for name in ("one", "two", "three"):
            flow = start_flow(FlowInfo(name, "api"))
            for number in range(4):
                run_component(flow, OK, name=f"Type{number}")
            flow.finish()

        assert samples(telemetry, "langflow_component_duration_seconds_count") == {
            'langflow_component_duration_seconds_count{status="ok"}': 12.0
        }
        # Derived, and for each type: the window is not one of the labels' series.
        assert len(samples(telemetry, "langflow_component_failure_ratio")) == 4


@pytest.mark.parametrize(("kept", "series"), [(("flow",), 1), (("flow", "flow_id"), 2), (("flow", "flow_version"), 2)])
def test_two_flows_of_one_name_can_be_told_apart(kept: tuple[str, ...], series: int):
    with recording(Settings(metric_labels=kept)) as telemetry:
        run_flow(info=FlowInfo("shop", "api", flow_id="a", version="1"))
        run_flow(info=FlowInfo("shop", "api", flow_id="b", version="2"))

        assert len(labels_of(telemetry, "langflow.flow.duration")) == series
        assert samples(telemetry, "langflow_flow_throughput") == {'langflow_flow_throughput{flow="shop"}': 2 / 60}


def test_an_id_that_is_not_known_is_an_empty_label():
    with recording(Settings(metric_labels=("flow", "flow_id", "flow_version"))) as telemetry:
        run_flow(info=FlowInfo("shop", "api"))

        assert labels_of(telemetry, "langflow.flow.active") == [
            {"flow_id": "", "flow_version": "", "flow": "shop", "entry_point": "api"}
        ]


def test_versions_of_one_flow_are_one_flow_unless_labels_tell_them_apart():
    with recording(Settings(max_flows=1)) as telemetry:
        for version in ("1", "2", "3"):
            run_flow(info=FlowInfo("shop", "api", flow_id=version, version=version))

        assert [labels["flow"] for labels in labels_of(telemetry, "langflow.flow.duration")] == ["shop"]


def test_past_the_cap_the_ids_are_other_too():
    with recording(Settings(metric_labels=("flow_id",), max_flows=1), strict=False) as telemetry:
        for flow_id in ("a", "b", "c"):
            run_flow(info=FlowInfo("shop", "api", flow_id=flow_id))

        assert [(labels["flow_id"], labels["flow"]) for labels in labels_of(telemetry, "langflow.flow.duration")] == [
            ("a", "shop"),
            ("other", "other"),
        ]


# The same whether traced or not


def call_model(within: FlowRun) -> None:
    """A call in which each metric of model calls has something to measure."""
    call = recorder().start_model(ModelInfo("chat", "gpt", "openai"), within)
    assert call is not None
    call.first_chunk()
    for _ in range(2):
        call.requested("https://models/chat", "models", 443)
    tokens = dict.fromkeys(("cache_read_tokens", "cache_write_tokens", "reasoning_tokens"), 1)
    call.answered(ModelResponse("gpt-2", input_tokens=10, output_tokens=20, **tokens))
    call.end()


def embed() -> None:
    """A run with one call of an embedding model, and one of a model that fails."""
    flow = start_flow()
    failing = recorder().start_model(ModelInfo("chat", "gpt", "openai"), flow)
    assert failing is not None
    failing.end(FAILED)
    call = recorder().start_model(ModelInfo("embeddings", "embed", "openai"), flow)
    assert call is not None
    call.answered(ModelResponse("embed", input_tokens=10))
    call.end()
    flow.finish()


def everything_happens(info: FlowInfo = API, pass_time: Callable[[float], None] = lambda seconds: None) -> None:
    """Three runs of a flow in which each metric has something to measure."""
    for outcome in (OK, FAILED, OK):
        flow = start_flow(info)
        agent = recorder().start_component(component("Agent", "agent"), flow)
        record_retry(1, 0.5, KeyError())
        agent.used_model(ModelUsage("gpt", "openai", costs=Costs({"USD": 0.25}, 1)))
        call_model(flow)
        stream = recorder().open_stream(agent)
        assert stream is not None
        stream.leave_step(stream.pull())
        pass_time(0.125)
        stream.chunk()
        stream.close("exhausted")
        pass_time(0.5)
        agent.finish(outcome)
        run_component(flow, CACHED)
        flow.component_skipped(component("Agent", "other"))
        flow.finish(outcome)


HOW_IT_IS_TRACED: dict[str, tuple[Settings, Sampler]] = {
    "component": (Settings(), ALWAYS_ON),
    "output": (Settings(detail="output"), ALWAYS_ON),
    "flow": (Settings(detail="flow"), ALWAYS_ON),
    "unsampled": (Settings(), ALWAYS_OFF),
}


def measured_when(clock: Clock, how: str) -> dict[str, float]:
    settings, sampler = HOW_IT_IS_TRACED.get(how, (Settings(), ALWAYS_ON))
    clock.now_s = 100.0
    with recording(settings, sampler) as telemetry:
        if how == "no tracer":
            set_active_recorder(Recorder(None, settings, recorder().metrics))
        everything_happens(pass_time=lambda seconds: setattr(clock, "now_s", clock.now_s + seconds))
        run_component(None)
        embed()
        spans = len(telemetry.spans)
        assert (spans == 0) is (how in ("unsampled", "no tracer"))
        found = telemetry.metrics()
        scraped, pushed = both_sinks(telemetry)
    assert scraped == pushed
    assert {name for name, _ in pushed} == {metric.name for metric in catalogue.RECORDED} - {
        "langflow.event_loop.delay",
        "langflow_otel.dropped",
        "langflow.flow.active",
        "langflow.queue.wait",
        "http.server.request.duration",
    }
    # These are of a clock that does not stand still.
    return {name: value for name, value in found.items() if "recovery" not in name and "start_time" not in name}


def ages(now_s: float) -> dict[str, float]:
    measured = recorder().metrics
    assert measured is not None
    measured.clock = lambda: now_s
    return {reading.labels[0]: reading.value for reading in measured.oldest_ages()}


def test_the_oldest_run_of_a_flow_has_an_age(telemetry):
    assert ages(100.0) == {}
    first = start_flow()
    assert ages(110.0) == {API.name: 10.0}
    second = start_flow()
    nested = start_flow(replace(API, name="inner", entry_point=NESTED))
    assert ages(130.0) == {API.name: 30.0}

    nested.finish()
    second.finish()
    assert ages(150.0) == {API.name: 50.0}
    first.finish()
    assert ages(160.0) == {API.name: 0.0}


def test_runs_that_are_over_before_they_are_looked_at_leave_a_zero(telemetry):
    """So that the series is there whatever the moments of the scrapes."""
    start_flow().finish()

    assert ages(100.0) == {API.name: 0.0}


def test_a_run_keeps_its_age_when_its_flow_is_known_better(telemetry):
    assert ages(100.0) == {}
    run = start_flow()
    assert ages(105.0) == {API.name: 5.0}
    run.describe(replace(API, name="better"))

    assert ages(110.0) == {API.name: 0.0, "better": 10.0}
    run.finish()


@pytest.mark.parametrize("how", ["output", "flow", "unsampled", "no tracer"])
def test_a_run_is_measured_the_same_however_it_is_traced(clock, how: str):
    assert measured_when(clock, how) == measured_when(clock, "component")


def test_a_run_without_a_tracer_leaves_no_context_behind(telemetry):
    set_active_recorder(Recorder(None, Settings(), recorder().metrics))
    before = otel_context.get_current()
    flow = start_flow()
    run = recorder().start_component(component("Agent"), flow)
    assert otel_context.get_current() == before
    assert current_run() is run
    run.finish()
    flow.finish()

    assert current_run() is None
    assert telemetry.spans == []


# Exemplars


def exemplars(telemetry: Telemetry) -> dict[str, set[tuple[int, int]]]:
    """Traces and spans that both sinks show, by metric."""
    measured = recorder().metrics
    assert measured is not None
    scraped = {
        (series.metric.name, each.trace_id, each.span_id)
        for series in measured.instruments.store.all_series()
        for each in series.exemplars or []
        if each is not None
    }
    pushed = {
        (metric.name, each.trace_id, each.span_id)
        for metric in telemetry.pushed_metrics()
        for point in metric.data.data_points
        for each in point.exemplars
    }
    names = ("langflow.flow.duration", "langflow.component.duration", "langflow.component.time_to_first_chunk")
    assert {each for each in scraped if each[0] in names} == {each for each in pushed if each[0] in names}
    return {name: {(trace_id, span_id) for found, trace_id, span_id in scraped if found == name} for name in names}


def test_an_exemplar_is_the_span_of_the_flow_or_component_itself(telemetry):
    flow = start_flow()
    run = recorder().start_component(component("Agent"), flow)
    stream = recorder().open_stream(run)
    assert stream is not None
    stream.leave_step(stream.pull())
    stream.chunk()
    stream.close("exhausted")
    run.finish(FAILED)
    flow.finish(FAILED)
    ids = {
        span.name: (span.context.trace_id, span.context.span_id)
        for span in telemetry.sdk_spans
        if span.context is not None
    }

    assert exemplars(telemetry) == {
        "langflow.flow.duration": {ids["invoke_workflow shop"]},
        "langflow.component.duration": {ids["component Agent"]},
        "langflow.component.time_to_first_chunk": {ids["component Agent"]},
    }


@pytest.mark.parametrize("how", ["unsampled", "no tracer"])
def test_a_run_that_is_not_sampled_is_no_exemplar(how: str):
    settings, sampler = HOW_IT_IS_TRACED.get(how, (Settings(), ALWAYS_ON))
    with recording(settings, sampler) as telemetry:
        if how == "no tracer":
            set_active_recorder(Recorder(None, settings, recorder().metrics))
        everything_happens()

        assert not any(exemplars(telemetry).values())


def test_where_only_flows_are_traced_the_flow_is_the_exemplar_of_its_components():
    with recording(Settings(detail="flow")) as telemetry:
        run_components(OK)
        (span,) = telemetry.sdk_spans
        assert span.context is not None
        found = exemplars(telemetry)

    assert found["langflow.component.duration"] == {(span.context.trace_id, span.context.span_id)}


def test_without_a_tracer_of_ours_the_span_around_the_run_is_the_exemplar(telemetry):
    """Such as the request's, by another instrumentation."""
    set_active_recorder(Recorder(None, Settings(), recorder().metrics))
    with telemetry.provider.get_tracer("another").start_as_current_span("GET /") as request:
        run_components(OK)
    context = request.get_span_context()
    found = exemplars(telemetry)

    assert found["langflow.flow.duration"] == {(context.trace_id, context.span_id)}
    assert found["langflow.component.duration"] == {(context.trace_id, context.span_id)}


# Nothing of it harms the run


@pytest.mark.parametrize("broken", ["record", "add", "flow", "watch", "memory"])
def test_an_error_in_measuring_is_contained_and_every_span_ends(lenient, monkeypatch, broken: str):
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    target = {
        "record": (Recording, "record"),
        "add": (Recording, "add"),
        "flow": (RunMetrics, "flow_labels"),
        "watch": (asyncio, "_get_running_loop"),
        "memory": (ProcessWatch, "leave"),
    }[broken]
    with recording(strict=False) as telemetry:
        set_active_recorder(Recorder(telemetry.provider, Settings(), recorder().metrics, ProcessWatch()))
        monkeypatch.setattr(*target, fail)
        if broken == "flow":
            # Components without a flow have their measures looked up as well.
            flow = start_flow()
            flow.describe(FlowInfo("renamed", "api"))
            run_component(flow, FAILED)
            flow.finish(FAILED)
        else:
            everything_happens()
        monkeypatch.undo()
        assert current_run() is None
    names = [span.name for span in telemetry.spans]

    assert [name for name in guard.faults if not name.startswith("metrics.")] == []
    assert sum(guard.faults.values()) > 0
    if broken == "flow":
        assert names == ["component Agent", "invoke_workflow renamed"]
    else:
        one_run = ["chat gpt", "stream Agent", "invoke_agent Agent", "component Agent", "invoke_workflow shop"]
        assert names == one_run * 3
        assert [event.name for event in telemetry.sdk_spans[2].events] == ["component.retry"]


def test_the_watch_of_memory_is_left_also_by_a_run_that_fails(telemetry):
    watch = ProcessWatch()
    set_active_recorder(Recorder(telemetry.provider, Settings(), recorder().metrics, watch))
    flow = start_flow()
    watch.sample({"langflow.flow.process.memory.peak": 123_456})
    flow.finish(FAILED)

    assert watch._seen == {}
    assert watch._active == set()
    assert telemetry.only_span("invoke_workflow shop").attributes["langflow.flow.process.memory.peak"] >= 123_456


def test_where_instrumentation_is_suppressed_nothing_is_measured(telemetry):
    with suppress_instrumentation():
        assert recorder().start_flow(API) is None
        run = recorder().start_component(component("Agent"), None)
        run.used_model(ModelUsage("gpt", "openai", 10, 20))
        record_retry(1)
        assert recorder().open_stream(run) is None
        run.finish(FAILED)

    assert both_sinks(telemetry) == ({}, {})


def test_a_suppressed_component_of_a_flow_is_not_measured(telemetry):
    flow = start_flow()
    with suppress_instrumentation():
        run_component(flow)
    run_component(flow, name="Parser")
    flow.finish()

    assert samples(telemetry, "langflow_component") == {
        'langflow_component_failure_ratio{component_type="Parser"}': 0.0,
        'langflow_component_duration_seconds_sum{flow="shop",component_type="Parser",status="ok"}': pytest.approx(
            0, abs=1
        ),
        'langflow_component_duration_seconds_count{flow="shop",component_type="Parser",status="ok"}': 1.0,
    }


def test_without_metrics_runs_are_traced_all_the_same(telemetry):
    set_active_recorder(Recorder(telemetry.provider, Settings()))
    everything_happens()
    count_dropped("traces", "queue_full", 3)

    assert len(telemetry.spans) == 15


def test_telemetry_that_was_lost_is_counted(telemetry):
    count_dropped("traces", "queue_full", 3)
    count_dropped("traces", "queue_full")
    count_dropped("metrics", "own_error")

    assert samples(telemetry, "langflow_otel_dropped") == {
        'langflow_otel_dropped_total{signal="traces",reason="queue_full"}': 4.0,
        'langflow_otel_dropped_total{signal="metrics",reason="own_error"}': 1.0,
    }


def test_while_instrumentation_is_off_nobody_counts_what_is_lost():
    set_active_recorder(None)
    count_dropped("traces", "queue_full")


# Whatever happens, in whatever order


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "describe", "component", "skip", "retry", "model", "end"]),
        st.integers(0, 3),
        st.sampled_from([OK, FAILED, CANCELLED, PAUSED, CACHED]),
    ),
    max_size=40,
)


@unhurried
@given(STEPS)
def test_both_sinks_agree_and_nothing_stays_active(steps: Sequence[tuple[str, int, Outcome]]):
    with recording(
        Settings(max_flows=3, metric_labels=("flow", "component_type", "flow_id")), strict=False
    ) as telemetry:
        runs: list[FlowRun] = []
        ended = 0
        for step, number, outcome in steps:
            if step == "start":
                runs.append(start_flow(FlowInfo(f"flow-{number}", "api", flow_id=str(number % 2))))
            elif runs:
                play(step, number, outcome, runs[-1])
                if step == "end":
                    runs.pop().finish(outcome if outcome is not CACHED else OK)
                    ended += 1
        going_on = sum(active(telemetry).values())
        for run in reversed(runs):
            run.finish(CANCELLED)
        scraped, pushed = both_sinks(telemetry)
        left = active(telemetry)

    assert going_on == len(runs)
    assert scraped == pushed
    assert set(left.values()) <= {0.0}
    durations = [sum(cells[:-1]) for (name, _), cells in scraped.items() if name == "langflow.flow.duration"]
    assert sum(durations) == ended + len(runs)


def play(step: str, number: int, outcome: Outcome, flow: FlowRun) -> None:
    if step == "describe":
        flow.describe(FlowInfo(f"flow-{number}", "api", flow_id="described"))
    elif step == "skip":
        flow.component_skipped(component(f"Skipped{number}"))
    elif step in ("component", "retry", "model"):
        run = recorder().start_component(component(f"Type{number}"), flow)
        if step == "retry":
            record_retry(number)
        elif step == "model":
            run.used_model(ModelUsage(f"model-{number}", None, number, 7))
        run.finish(outcome)


def test_threads_that_run_flows_at_once_lose_nothing(telemetry):
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for number in range(50):
            flow = start_flow()
            run_component(flow, FAILED if number % 2 else OK)
            flow.finish(FAILED if number % 2 else OK)

    at_once(8, work)
    found = telemetry.metrics()

    assert found['langflow_flow_duration_seconds_count{flow="shop",status="ok",entry_point="api"}'] == 200
    assert found['langflow_flow_duration_seconds_count{flow="shop",status="error",entry_point="api"}'] == 200
    assert found['langflow_component_errors_total{flow="shop",component_type="Agent",error_type="ValueError"}'] == 200
    assert found['langflow_flow_active{flow="shop",entry_point="api"}'] == 0
    assert found["langflow_throughput"] == 400 / 60
    assert found["langflow_error_rate"] == 50.0
    scraped, pushed = both_sinks(telemetry)
    assert {name: cells[:-1] for name, cells in scraped.items()} == {name: cells[:-1] for name, cells in pushed.items()}
