"""What grows and does not stop, by a Prometheus: what the spans of runs do not have, too.

Curves are those of :data:`WATCHED`, and of each flow the share of runs that fail and its retries. They are judged by
:mod:`langflow_otel.insights._forecasts.risks`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from langflow_otel._metrics import catalogue
from langflow_otel.insights._forecasts.risks import STEPS, WARM_UP, Risks, Watched, risks_in
from langflow_otel.insights.figures import FLOW

if TYPE_CHECKING:
    from langflow_otel.insights.prometheus_source import Curve, PrometheusSource

_POINTS: Final = 240
_LEAST_STEP_S: Final = 60
_LEAST_RUNS: Final = 20
_GONE_STEPS: Final = 3
_HOUR_S: Final = 3600
_PROCESS: Final = ("instance", "worker")
_GPU: Final = ("instance", "hw_id")


@dataclass(frozen=True)
class _Gauge:
    """Attributes:
    of_step: See :meth:`PrometheusSource.gauge_curves`. Peaks are those of the load, and a queue that was empty in a
        step does not grow.
    labels: Their values name it.
    is_of_process: It begins anew with each process.
    """

    kind: str
    series: str
    of_step: str
    labels: Sequence[str]
    is_of_process: bool = False


WATCHED: Final = (
    _Gauge("memory", catalogue.PROCESS_MEMORY_USAGE.prometheus_name, "quantile_over_time(0.25", _PROCESS, True),
    _Gauge("descriptors", catalogue.PROCESS_OPEN_FILES.prometheus_name, "quantile_over_time(0.25", _PROCESS, True),
    _Gauge("queue", catalogue.QUEUE_DEPTH.prometheus_name, "min_over_time", ("instance", "queue")),
    _Gauge(
        "disk",
        catalogue.SYSTEM_FILESYSTEM_UTILIZATION.prometheus_name,
        "min_over_time",
        ("instance", "system_filesystem_mountpoint"),
    ),
    _Gauge("gpu memory", catalogue.GPU_MEMORY_UTILIZATION.prometheus_name, "quantile_over_time(0.25", _GPU),
    _Gauge("gpu temperature", catalogue.GPU_TEMPERATURE.prometheus_name, "quantile_over_time(0.5", _GPU),
    _Gauge("gpu slowed", catalogue.GPU_STATUS.prometheus_name + '{hw_state="degraded"}', "avg_over_time", _GPU),
)


def find_risks_of_metrics(source: PrometheusSource, start_s: float, end_s: float) -> Risks:
    """Look at each process, flow, queue, file system and GPU between these times (Unix seconds).

    Raises:
        PrometheusError: There is no answer that can be used.
    """
    step_s = max(_LEAST_STEP_S, math.ceil((end_s - start_s) / _POINTS))
    start_s = end_s - (end_s - start_s) // step_s * step_s
    asked = (start_s, end_s, step_s)
    begun = {_subject(each, _PROCESS): _begun_s(each, step_s) for each in _uptimes(source, *asked)}
    curves: list[Watched] = []
    for gauge in WATCHED:
        for curve in source.gauge_curves(gauge.series, gauge.of_step, gauge.labels, *asked):
            watched = _watched(gauge, curve, begun, end_s - _GONE_STEPS * step_s)
            if watched is not None:
                curves.append(watched)
    curves += _of_flows(source, *asked)
    curves += _errors_of_gpus(source, *asked)
    bad = f'{catalogue.GPU_ERRORS.prometheus_name}{{error_type="uncorrected"}}'
    grown = source.grown_over_time(bad, _GPU, start_s, end_s, int(end_s - start_s))
    uncorrected = {_subject(each, _GPU): round(each.points[-1][1]) for each in grown if each.points}
    return risks_in(curves, {gpu: count for gpu, count in uncorrected.items() if count})


def _uptimes(source: PrometheusSource, start_s: float, end_s: float, step_s: int) -> list[Curve]:
    return source.gauge_curves(
        catalogue.PROCESS_UPTIME.prometheus_name, "min_over_time", _PROCESS, start_s, end_s, step_s
    )


def _begun_s(uptime: Curve, step_s: int) -> float:
    """From when on its points are those of the process that runs now: after the step in which it began."""
    restarts = [
        later[0]
        for earlier, later in zip(uptime.points, uptime.points[1:], strict=False)
        if later[1] < earlier[1] + (later[0] - earlier[0]) / 2
    ]
    return restarts[-1] + step_s / 2 if restarts else -math.inf


def _watched(gauge: _Gauge, curve: Curve, begun: Mapping[str, float], gone_s: float) -> Watched | None:
    """None for what is there no more."""
    points = list(curve.points)
    subject = _subject(curve, gauge.labels)
    if gauge.is_of_process:
        points = [point for point in points if point[0] >= begun.get(subject, -math.inf)]
    if not points or points[-1][0] < gone_s:
        return None
    age_s = points[-1][0] - points[0][0]
    if gauge.is_of_process:
        points = [point for point in points if point[0] >= points[0][0] + WARM_UP * age_s]
    return Watched(gauge.kind, subject, age_s, _fewer(points))


def _subject(curve: Curve, labels: Sequence[str]) -> str:
    return " ".join(value for name in labels if (value := curve.labels.get(name)))


def _fewer(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most :data:`~langflow_otel.insights._forecasts.risks.STEPS`: of neighbours the median."""
    size = math.ceil(len(points) / STEPS)
    parts = (points[start : start + size] for start in range(0, len(points), size or 1))
    return [(part[-1][0], median(value for _, value in part)) for part in parts]


def _of_flows(source: PrometheusSource, start_s: float, end_s: float, step_s: int) -> Iterator[Watched]:
    runs = {
        each.labels.get("flow", ""): each.points
        for each in source.grown_over_time(f"{FLOW}_count", ("flow",), start_s, end_s, step_s)
    }
    for kind, counter in (
        ("errors", f'{FLOW}_count{{status="error"}}'),
        ("retries a run", catalogue.MODEL_RETRIES.prometheus_name),
    ):
        for curve in source.grown_over_time(counter, ("flow",), start_s, end_s, step_s):
            flow = curve.labels.get("flow", "")
            points = _shares(dict(curve.points), runs.get(flow, ()))
            if points:
                yield Watched(kind, flow, points[-1][0] - points[0][0], _fewer(points))


def _shares(counts: Mapping[float, float], runs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of steps together that hold enough runs."""
    found = []
    count = together = 0.0
    for at_s, number in runs:
        count, together = count + counts.get(at_s, 0.0), together + number
        if together >= _LEAST_RUNS:
            found.append((at_s, count / together))
            count = together = 0.0
    return found


def _errors_of_gpus(source: PrometheusSource, start_s: float, end_s: float, step_s: int) -> Iterator[Watched]:
    corrected = f'{catalogue.GPU_ERRORS.prometheus_name}{{error_type="corrected"}}'
    for curve in source.grown_over_time(corrected, _GPU, start_s, end_s, step_s):
        points = [(at_s, value * _HOUR_S / step_s) for at_s, value in curve.points]
        if points:
            yield Watched("gpu errors", _subject(curve, _GPU), points[-1][0] - points[0][0], _fewer(points))
