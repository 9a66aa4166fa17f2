"""What grows and does not stop, by curves as a Prometheus gives them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from langflow_otel.insights._forecasts.metric_risks import find_risks_of_metrics
from langflow_otel.insights._forecasts.risks import KINDS, Risks
from langflow_otel.insights.prometheus_source import Curve

END_S = 1_800_000_000
HOURS = 60
HOUR_S = 3600


class Source:
    """Curves by the names of their series, hour by hour."""

    def __init__(self, **curves: Sequence[Curve]) -> None:
        self._curves = curves

    def gauge_curves(self, gauge: str, of_step: str, labels: Sequence[str], *_: Any) -> list[Curve]:
        return self._of(gauge)

    def grown_over_time(self, counter: str, labels: Sequence[str], start_s: float, end_s: float, step_s: int) -> Any:
        if step_s > (end_s - start_s) / 2:  # Of the whole time.
            return [Curve(each.labels, [(end_s, sum(value for _, value in each.points))]) for each in self._of(counter)]
        return self._of(counter)

    def _of(self, series: str) -> list[Curve]:
        name, _, matcher = series.partition("{")
        key = f"{name}__{matcher.split(chr(34))[1]}" if matcher else name
        return list(self._curves.get(key, []))


def curve(value: Callable[[int], float], *, hours: Sequence[int] = range(HOURS), **labels: str) -> Curve:
    return Curve({"instance": "web", **labels}, [(END_S - (HOURS - 1 - hour) * HOUR_S, value(hour)) for hour in hours])


def found(**curves: Sequence[Curve]) -> Risks:
    return find_risks_of_metrics(Source(**curves), END_S - HOURS * HOUR_S, END_S)  # type: ignore[arg-type]


def noise(size: float) -> Callable[[int], float]:
    rand = random.Random(1)
    return lambda _: rand.gauss(0, size)


def by_kind(risks: Risks) -> Mapping[str, str]:
    return {each.kind: each.subject for each in risks.found}


GROWING: dict[str, tuple[str, dict[str, str], float, float]] = {
    # kind: series, labels, value at the beginning, growth an hour
    "descriptors": ("process_open_fds", {"worker": "7"}, 50, 4),
    "queue": ("langflow_queue_depth", {"queue": "jobs"}, 1, 1),
    "disk": ("system_filesystem_utilization_ratio", {"system_filesystem_mountpoint": "/data"}, 0.3, 0.005),
    "gpu memory": ("hw_gpu_memory_utilization_ratio", {"hw_id": "GPU-1"}, 0.2, 0.01),
    "gpu temperature": ("hw_temperature_celsius", {"hw_id": "GPU-1"}, 50, 0.3),
    "gpu slowed": ("hw_status__degraded", {"hw_id": "GPU-1"}, 0, 0.01),
    "gpu errors": ("hw_errors_total__corrected", {"hw_id": "GPU-1"}, 0, 1),
}


@pytest.mark.parametrize("kind", GROWING)
def test_each_kind_is_found_where_it_grows_and_not_where_it_stays(kind: str):
    series, labels, first, growth = GROWING[kind]
    spread = noise(growth * 2)
    growing = curve(lambda hour: max(0, first + growth * hour + spread(hour)), **labels)
    staying = curve(lambda hour: max(0, first + spread(hour)), **{**labels, "instance": "other"})

    risks = found(**{series: [growing, staying]})

    assert by_kind(risks) == {kind: f"web {next(iter(labels.values()))}"}
    assert risks.compared == 2
    assert kind in KINDS


def test_leak_is_that_of_the_process_that_runs_now():
    """Before its restart 30 hours ago it used more: of the whole time, nothing grows."""
    spread = noise(0.01)
    uptime = curve(lambda hour: (hour % 30) * HOUR_S + 60.0, worker="7")
    memory = curve(lambda hour: (3.0 if hour < 30 else 1.0 + 0.02 * (hour - 30)) + spread(hour), worker="7")

    risks = found(process_memory_usage_bytes=[memory], process_uptime_seconds=[uptime])

    assert by_kind(risks) == {"memory": "web 7"}
    (leak,) = risks.found
    assert leak.age_s == pytest.approx(29 * HOUR_S, abs=2 * HOUR_S)
    assert leak.trend.slope * HOUR_S == pytest.approx(0.02, rel=0.15)
    assert by_kind(found(process_memory_usage_bytes=[memory])) == {}


def test_process_that_is_gone_is_no_risk():
    spread = noise(0.01)
    memory = curve(lambda hour: 1.0 + 0.02 * hour + spread(hour), hours=range(50), worker="7")

    assert found(process_memory_usage_bytes=[memory]) == Risks([], 0, 0)


def test_runs_that_fail_and_retries_are_shares_of_the_runs():
    spread = noise(0.1)
    runs = curve(lambda _: 30.0, flow="shop")
    failed = curve(lambda hour: max(0.0, 0.2 * hour + spread(hour)), flow="shop")
    retries = curve(lambda hour: max(0.0, 1.5 * hour + spread(hour)), flow="shop")

    risks = found(
        langflow_flow_duration_seconds_count=[runs],
        langflow_flow_duration_seconds_count__error=[failed],
        langflow_model_retries_total=[retries],
    )

    trends = {each.kind: each.trend for each in risks.found}
    assert set(trends) == {"errors", "retries a run"}
    assert trends["errors"].last == pytest.approx(0.2 * 59 / 30, rel=0.1)
    assert trends["retries a run"].last == pytest.approx(1.5 * 59 / 30, rel=0.1)


def test_few_runs_are_put_together():
    """Of two runs an hour, a share is that of ten hours: six values are too few."""
    runs, failed = curve(lambda _: 2.0, flow="shop"), curve(lambda hour: hour / 60, flow="shop")
    risks = found(langflow_flow_duration_seconds_count=[runs], langflow_flow_duration_seconds_count__error=[failed])

    assert (risks.compared, risks.too_short) == (0, 1)


def test_uncorrected_errors_of_a_gpu_are_said_at_once():
    risks = found(hw_errors_total__uncorrected=[curve(lambda hour: float(hour == 40), hw_id="GPU-1")])

    assert risks.uncorrected == {"web GPU-1": 1}
