"""The gauges that are computed from what was counted: formulas, several workers, and nothing at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from langflow_otel._metrics import catalogue
from langflow_otel._metrics.catalogue import Reading
from langflow_otel._metrics.derived import EMA_ALPHA, Values, derived_readings, next_average
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._runs.facts import CACHED, CANCELLED, OK, ComponentInfo, FlowInfo, Outcome, Status
from langflow_otel._runs.measuring import Finished, RunMetrics
from langflow_otel._settings.settings import Settings

unhurried = hypothesis_settings(deadline=None)
PAUSED = Outcome("paused")
FAILED = Outcome("error", ValueError())
OUTCOMES: dict[Status, Outcome] = {"ok": OK, "error": FAILED, "cancelled": CANCELLED, "paused": PAUSED}
CORES = 4.0


class Worker:
    """One worker's metrics, on a clock that stands still until it is set."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.now_s = 1000.0
        self.settings = settings or Settings()
        self.store = MemoryStore()
        self.metrics = RunMetrics(Instruments(self.store, None), self.settings, clock=lambda: self.now_s)

    def flows(self, status: Status, times: int = 1, name: str = "shop", entry_point: str = "api") -> None:
        for _ in range(times):
            finished = Finished(OUTCOMES[status], 0.1, None)
            self.metrics.flow(FlowInfo(name)).ended(finished, entry_point)

    def components(self, outcome: Outcome, times: int = 1, component_type: str = "Agent") -> None:
        info = ComponentInfo("a-1", component_type, "a")
        for _ in range(times):
            self.metrics.flow(FlowInfo("shop")).component_ended(info, Finished(outcome, 0.1, None))

    def active(self, runs: int, name: str = "shop", entry_point: str = "api") -> None:
        self.metrics.flow(FlowInfo(name)).active(entry_point).add(runs)

    def values(self) -> list[Values]:
        return [(series.metric, series.labels, self.store.read(series)) for series in self.store.all_series()]


def derived(*workers: Worker) -> dict[str, float]:
    """The derived gauges of the workers together, by name and labels."""
    values = [value for worker in workers for value in worker.values()]
    first = workers[0]
    return named(derived_readings(values, first.now_s, first.settings.window_s, CORES))


def named(readings: list[Reading]) -> dict[str, float]:
    found: dict[str, float] = {}
    for reading in readings:
        name = reading.metric.name + "".join(f"[{label}]" for label in reading.labels)
        assert name not in found
        found[name] = reading.value
    return found


@pytest.fixture
def worker() -> Worker:
    return Worker()


# One worker


def test_all_gauges_of_one_worker(worker):
    worker.flows("ok", 9)
    worker.flows("error", 3)
    worker.flows("ok", 6, name="chat")
    worker.flows("error", 2, name="chat")
    worker.components(OK, 3)
    worker.components(FAILED, 1)
    worker.active(6)
    worker.active(4, name="chat")

    assert derived(worker) == {
        "langflow.throughput": 20 / 60,
        "langflow.error_rate": 25.0,
        "langflow.flow.throughput[shop]": 12 / 60,
        "langflow.flow.error_rate[shop]": 25.0,
        "langflow.flow.throughput[chat]": 8 / 60,
        "langflow.flow.error_rate[chat]": 25.0,
        "langflow.component.failure_ratio[Agent]": 0.25,
        "langflow.cpu.saturation": 2.5,
    }


def test_before_anything_happened(worker):
    assert derived(worker) == {"langflow.throughput": 0.0, "langflow.error_rate": 0.0, "langflow.cpu.saturation": 0.0}


def test_a_flow_that_has_not_ended_yet_has_no_rates(worker):
    """A playground run starts without its name: what it is called for a moment makes no series."""
    worker.active(1, name="unnamed")

    assert derived(worker) == {"langflow.throughput": 0.0, "langflow.error_rate": 0.0, "langflow.cpu.saturation": 0.25}


@pytest.mark.parametrize("window_s", [1.0, 10.0, 3600.0])
def test_a_rate_is_divided_by_the_whole_window_from_the_first_event_on(window_s: float):
    worker = Worker(Settings(window_s=window_s))
    worker.flows("ok", 3)

    assert derived(worker)["langflow.throughput"] == 3 / window_s
    assert derived(worker)["langflow.flow.throughput[shop]"] == 3 / window_s


def test_what_has_left_the_window_counts_no_more(worker):
    worker.flows("error", 4)
    worker.components(FAILED)
    worker.now_s += 30
    worker.flows("ok", 1)
    worker.components(OK)
    both = derived(worker)
    worker.now_s += 31
    later = derived(worker)
    worker.now_s += 31
    idle = derived(worker)

    assert (both["langflow.throughput"], both["langflow.error_rate"]) == (5 / 60, 80.0)
    assert (later["langflow.throughput"], later["langflow.error_rate"]) == (1 / 60, 0.0)
    assert (idle["langflow.throughput"], idle["langflow.error_rate"]) == (0.0, 0.0)
    assert (idle["langflow.flow.throughput[shop]"], idle["langflow.flow.error_rate[shop]"]) == (0.0, 0.0)
    ratios = [each["langflow.component.failure_ratio[Agent]"] for each in (both, later, idle)]
    assert ratios == [0.5, 0.0, 0.0]


@pytest.mark.parametrize("status", ["cancelled", "paused"])
def test_a_run_that_was_cancelled_or_paused_is_finished_but_neither_ok_nor_failed(worker, status: Status):
    worker.flows(status, 5)
    alone = derived(worker)
    worker.flows("ok", 1)
    worker.flows("error", 1)
    with_others = derived(worker)

    assert (alone["langflow.throughput"], alone["langflow.error_rate"]) == (5 / 60, 0.0)
    assert (with_others["langflow.throughput"], with_others["langflow.error_rate"]) == (7 / 60, 50.0)
    assert with_others["langflow.flow.error_rate[shop]"] == 50.0


@pytest.mark.parametrize("outcome", [CANCELLED, PAUSED])
def test_a_component_that_was_cancelled_or_paused_is_not_in_the_ratio(worker, outcome: Outcome):
    worker.components(outcome, 5)
    alone = derived(worker)["langflow.component.failure_ratio[Agent]"]
    worker.components(FAILED, 1)
    worker.components(OK, 3)

    assert alone == 0.0
    assert derived(worker)["langflow.component.failure_ratio[Agent]"] == 0.25


def test_a_component_that_came_from_the_cache_is_not_in_the_ratio(worker):
    worker.components(FAILED, 1)
    worker.components(CACHED, 9)

    assert derived(worker)["langflow.component.failure_ratio[Agent]"] == 1.0


def test_component_types_have_their_own_ratios_over_all_flows(worker):
    worker.components(FAILED, 1, component_type="Agent")
    worker.components(OK, 1, component_type="Parser")
    info = ComponentInfo("x-1", "Agent", "x")
    worker.metrics.flow(FlowInfo("another")).component_ended(info, Finished(OK, 0.1, None))
    found = derived(worker)

    assert found["langflow.component.failure_ratio[Agent]"] == 0.5
    assert found["langflow.component.failure_ratio[Parser]"] == 0.0


def test_a_flow_run_by_a_flow_is_in_no_rate(worker):
    worker.flows("ok", 1)
    worker.flows("error", 3, entry_point="flow")
    worker.flows("error", 3, name="only ever inside", entry_point="flow")
    found = derived(worker)

    assert (found["langflow.throughput"], found["langflow.error_rate"]) == (1 / 60, 0.0)
    assert found["langflow.flow.throughput[shop]"] == 1 / 60
    assert "langflow.flow.throughput[only ever inside]" not in found


def test_a_flow_run_by_a_flow_does_not_saturate(worker):
    """It waits in its parent, which is counted."""
    worker.active(2)
    worker.active(6, entry_point="flow")

    assert derived(worker)["langflow.cpu.saturation"] == 0.5


def test_saturation_counts_every_entry_point_whatever_labels_there_are():
    worker = Worker(Settings(metric_labels=("flow", "flow_id", "flow_version")))
    for number, entry_point in enumerate(("api", "playground", "flow", "sdk")):
        worker.metrics.flow(FlowInfo("shop", flow_id=str(number))).active(entry_point).add(1)

    assert derived(worker)["langflow.cpu.saturation"] == 3 / CORES


def test_two_flows_of_one_name_have_one_rate_even_where_ids_tell_them_apart():
    worker = Worker(Settings(metric_labels=("flow", "flow_id")))
    for flow_id in ("a", "b"):
        worker.metrics.flow(FlowInfo("shop", flow_id=flow_id)).ended(Finished(OK, 0.1, None), "api")

    assert derived(worker)["langflow.flow.throughput[shop]"] == 2 / 60


# Several workers


def test_workers_are_summed_and_never_averaged():
    """A worker that had one run, and that failed, does not weigh as much as one that had a hundred."""
    busy, idle = Worker(), Worker()
    busy.flows("ok", 100)
    busy.components(OK, 100)
    busy.active(5)
    idle.flows("error", 1)
    idle.components(FAILED, 1)
    idle.active(1)
    together, alone = derived(busy, idle), [derived(each) for each in (busy, idle)]

    expected = {
        "langflow.throughput": 101 / 60,
        "langflow.error_rate": 100 / 101,
        "langflow.flow.throughput[shop]": 101 / 60,
        "langflow.flow.error_rate[shop]": 100 / 101,
        "langflow.component.failure_ratio[Agent]": 1 / 101,
        "langflow.cpu.saturation": 6 / CORES,
    }
    assert together == pytest.approx(expected)
    averaged = {name: sum(each[name] for each in alone) / 2 for name in expected}
    assert averaged["langflow.error_rate"] == 50.0
    assert not [name for name in expected if together[name] == pytest.approx(averaged[name])]


@unhurried
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["shop", "chat"]),
            st.sampled_from(["ok", "error", "cancelled", "paused"]),
            st.sampled_from(["api", "flow"]),
            st.floats(0, 20),
        ),
        max_size=40,
    )
)
def test_runs_that_are_spread_over_workers_give_what_one_worker_would(runs):
    spread, alone = [Worker() for _ in range(3)], Worker()
    now_s = 1000.0
    for number, name, status, entry_point, gap_s in runs:
        now_s += gap_s
        for worker in (*spread, alone):
            worker.now_s = now_s
        for worker in (spread[number], alone):
            worker.flows(status, name=name, entry_point=entry_point)

    assert derived(*spread) == pytest.approx(derived(alone), abs=1e-9)


@unhurried
@given(st.lists(st.tuples(st.sampled_from(["shop", "chat"]), st.sampled_from(list(OUTCOMES))), max_size=40))
def test_the_whole_is_the_sum_of_the_flows(runs):
    worker = Worker()
    for name, status in runs:
        worker.flows(status, name=name)
    found = derived(worker)
    names = {name for name, _ in runs}
    judged = [status for _, status in runs if status in ("ok", "error")]

    assert found["langflow.throughput"] == pytest.approx(len(runs) / 60)
    assert found["langflow.throughput"] == pytest.approx(
        sum(found[f"langflow.flow.throughput[{name}]"] for name in names)
    )
    assert found["langflow.error_rate"] == pytest.approx(100 * judged.count("error") / len(judged) if judged else 0.0)
    assert all(0.0 <= value <= 100.0 for name, value in found.items() if "error_rate" in name)


# The moving average


@unhurried
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60))
def test_the_average_follows_the_closed_formula(values):
    """0.7^n * x0 + the sum of 0.3 * 0.7^(n-i) * xi."""
    last = len(values) - 1
    average = None
    for value in values:
        average = next_average(average, value)
    closed = math.fsum(
        [0.7**last * values[0], *(0.3 * 0.7 ** (last - number) * values[number] for number in range(1, last + 1))]
    )

    assert EMA_ALPHA == 0.3
    assert average == pytest.approx(closed, rel=1e-9)


def averages(worker: Worker) -> dict[str, float]:
    return {
        name: value
        for name, value in named(worker.metrics.derived(CORES)).items()
        if name.startswith("langflow.flow.duration")
    }


def test_the_average_is_of_runs_that_ended_ok_or_failed(worker):
    flow = worker.metrics.flow(FlowInfo("shop"))
    expected = None
    for outcome, duration_s in ((CANCELLED, 50.0), (OK, 1.0), (FAILED, 2.0), (PAUSED, 70.0), (OK, 4.0)):
        flow.ended(Finished(outcome, duration_s, None), "api")
        if outcome in (OK, FAILED):
            expected = next_average(expected, duration_s)

    assert expected == pytest.approx(0.7 * (0.7 * 1.0 + 0.3 * 2.0) + 0.3 * 4.0)
    assert averages(worker) == {"langflow.flow.duration.ema[shop]": expected}


def test_a_flow_without_such_a_run_has_no_average(worker):
    """0 seconds would be a lie, and pull down whatever is made of it."""
    worker.active(1)
    worker.flows("cancelled", 2, name="left early")

    assert averages(worker) == {}
    assert catalogue.FLOW_DURATION_EMA.name not in {series.metric.name for series in worker.store.all_series()}


def test_a_flow_run_by_a_flow_has_an_average(worker):
    worker.flows("ok", 1, entry_point="flow")

    assert averages(worker) == {"langflow.flow.duration.ema[shop]": 0.1}


def test_the_gauges_of_a_process_are_those_of_its_one_worker(worker):
    worker.flows("ok", 2)
    worker.active(2)
    own = named(worker.metrics.derived(CORES))

    assert own == {**derived(worker), "langflow.flow.duration.ema[shop]": pytest.approx(0.1)}
