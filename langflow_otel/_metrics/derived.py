"""Gauges computed from recorded series at the time of a scrape or an export.

Over several workers they are computed from the sums of all of them, never averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from langflow_otel._metrics import catalogue, window
from langflow_otel._metrics.catalogue import Metric, Reading
from langflow_otel._metrics.window import Counts

EMA_ALPHA: Final = 0.3
NESTED: Final = "flow"
"""The entry point of a flow run by a flow."""

Values = tuple[Metric, tuple[str, ...], Sequence[float]]
"""Metric, label values and cells of one series of one worker."""


def next_average(before: float | None, value_s: float) -> float:
    """Exponential moving average: ``0.3 * value + 0.7 * before``, the first value as it is
    (S. W. Roberts, "Control Chart Tests Based on Geometric Moving Averages", 1959)."""
    return value_s if before is None else EMA_ALPHA * value_s + (1.0 - EMA_ALPHA) * before


def derived_readings(series: Iterable[Values], now_s: float, window_s: float, cores: float) -> list[Reading]:
    """The derived gauges.

    - throughput = flow runs ended in the window / window, per flow and over all flows
    - error rate = 100 * failed / (ok + failed) in the window, 0 without any
    - failure ratio of a component type = failed / (ok + failed) in the window, 0 without any
    - CPU saturation = flow runs going on / cores (a flow run by a flow is not counted: it waits in its parent)

    Args:
        series: Of one or of all workers.
        now_s: The monotonic clock.
        window_s: Length of the window, seconds.
        cores: CPU cores that this process may use.
    """
    flows: dict[str, Counts] = {}
    components: dict[str, Counts] = {}
    active = 0.0
    for metric, labels, cells in series:
        if metric.name == catalogue.FLOW_WINDOW.name:
            flows[labels[0]] = flows.get(labels[0], Counts()).plus(window.counts(cells, now_s, window_s))
        elif metric.name == catalogue.COMPONENT_WINDOW.name:
            components[labels[0]] = components.get(labels[0], Counts()).plus(window.counts(cells, now_s, window_s))
        elif metric.name == catalogue.FLOW_ACTIVE.name and labels[-1] != NESTED:
            active += cells[0]
    ratios = [
        Reading(catalogue.COMPONENT_FAILURE_RATIO, seen.failure_ratio, (name,)) for name, seen in components.items()
    ]
    return [*_of_flows(flows, window_s), *ratios, Reading(catalogue.CPU_SATURATION, active / cores)]


def _of_flows(flows: dict[str, Counts], window_s: float) -> list[Reading]:
    total = Counts()
    readings = []
    for name, seen in flows.items():
        total = total.plus(seen)
        readings.append(Reading(catalogue.FLOW_THROUGHPUT, seen.ended / window_s, (name,)))
        readings.append(Reading(catalogue.FLOW_ERROR_RATE, 100.0 * seen.failure_ratio, (name,)))
    return [
        Reading(catalogue.THROUGHPUT, total.ended / window_s),
        Reading(catalogue.ERROR_RATE, 100.0 * total.failure_ratio),
        *readings,
    ]
