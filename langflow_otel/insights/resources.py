"""Curves of CPU, memory and event loop delay over a time, to be drawn under runs.

From a Prometheus, which has them whether a flow runs or not; or from the spans of flows, which know them for the time
of the runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langflow_otel import _semconv as semconv

if TYPE_CHECKING:
    import duckdb

    from langflow_otel.insights.prometheus_source import PrometheusSource

__all__ = ["ResourcePoint", "resources_from_prometheus", "resources_from_runs"]


@dataclass(frozen=True)
class ResourcePoint:
    """One moment, or the time up to the next; None for what is not known.

    Attributes:
        time_ns: Unix time.
        cpu: CPU cores in use by the processes: 1.0 is one whole core; from a Prometheus the share of those that
            they may use, 0 to 1.
        memory: Resident memory, bytes.
        loop_delay: Of the event loop, seconds: the longest, from a Prometheus the P99.
        active: Flow runs at once, at most.
        system_cpu: Busy share of the machine's CPU cores, 0 to 1.
    """

    time_ns: int
    cpu: float | None
    memory: float | None
    loop_delay: float | None
    active: float | None
    system_cpu: float | None


_NAMES = ("cpu", "memory", "loop_delay", "active", "system_cpu")

# A run says one figure for its whole time, and runs overlap: of a process the highest in a step, for CPU the mean,
# since each of the runs at once has the CPU time of all; then the sum over processes.
_FROM_RUNS = """
    WITH steps AS (
        SELECT ?::BIGINT + step * ?::BIGINT AS at_ns, ?::BIGINT + (step + 1) * ?::BIGINT AS until_ns
        FROM range(?::BIGINT) AS steps(step)
    ), seen AS (
        SELECT coalesce(instance, '') AS instance, start_ns, end_ns,
            TRY_CAST({cpu} AS DOUBLE) / nullif(duration_ns / 1e9, 0) AS cpu,
            TRY_CAST({memory} AS DOUBLE) AS memory, TRY_CAST({delay} AS DOUBLE) AS delay,
            TRY_CAST({active} AS DOUBLE) AS active, TRY_CAST({system} AS DOUBLE) AS system
        FROM runs WHERE end_ns > ?::BIGINT AND start_ns < ?::BIGINT
    ), of_process AS (
        SELECT at_ns, instance, avg(cpu) AS cpu, max(memory) AS memory, max(delay) AS delay, max(active) AS active,
            max(system) AS system
        FROM steps JOIN seen ON seen.start_ns < steps.until_ns AND seen.end_ns > steps.at_ns GROUP BY ALL
    )
    SELECT at_ns, sum(cpu), sum(memory), max(delay), sum(active), max(system)
    FROM of_process GROUP BY at_ns ORDER BY at_ns
"""


def resources_from_runs(
    connection: duckdb.DuckDBPyConnection, start_ns: int, end_ns: int, *, points: int = 240
) -> list[ResourcePoint]:
    """What the spans of flows say of a time; steps in which no run went on are left out.

    Args:
        connection: With the view ``runs`` of :class:`~langflow_otel.insights.traces.Traces`.
        start_ns: Unix time.
        end_ns: The same; not before the start.
        points: How many steps the time has.
    """
    step_ns = max(1, -(-(end_ns - start_ns) // points))
    names = (
        semconv.FLOW_CPU_TIME,
        semconv.FLOW_MEMORY_PEAK,
        semconv.FLOW_EVENT_LOOP_DELAY_PEAK,
        semconv.FLOW_ACTIVE_PEAK,
        semconv.FLOW_SYSTEM_CPU_PEAK,
    )
    columns = {
        column: f"element_at(attributes, '{name}')[1]"
        for column, name in zip(("cpu", "memory", "delay", "active", "system"), names, strict=True)
    }
    steps = [start_ns, step_ns, start_ns, step_ns, points, start_ns, end_ns]
    found = connection.execute(_FROM_RUNS.format(**columns), steps).fetchall()
    return [ResourcePoint(*row) for row in found]


def resources_from_prometheus(
    source: PrometheusSource, start_ns: int, end_ns: int, *, points: int = 240
) -> list[ResourcePoint]:
    """The same of a Prometheus.

    Raises:
        PrometheusError: There is no answer that can be used.
    """
    found: dict[float, dict[str, float]] = {}
    for name in _NAMES:
        for curve in source.curve(name, start_ns / 1e9, end_ns / 1e9, points=points):
            for at_s, value in curve.points:
                found.setdefault(at_s, {})[name] = value
    return [
        ResourcePoint(round(at_s * 1e9), *(values.get(name) for name in _NAMES))
        for at_s, values in sorted(found.items())
    ]
