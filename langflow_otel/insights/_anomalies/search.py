"""Anomalies of flows and component types in a span table, with the resources of the same minutes.

Detection is in :mod:`~langflow_otel.insights._anomalies.detection`; here are the spans that it is fed with, and the
resources of the same minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final, Protocol

from langflow_otel.insights._anomalies.detection import HISTORY_S, Detector, Rules
from langflow_otel.insights._anomalies.episodes import Anomaly
from langflow_otel.insights._anomalies.three_sigma import ThreeSigma
from langflow_otel.insights._anomalies.windows import NS, Execution, Key, Panes, Second
from langflow_otel.insights._statistics.correlation import Correlation, correlations
from langflow_otel.insights.resources import ResourcePoint, resources_from_runs

if TYPE_CHECKING:
    import duckdb

METHODS: Final = ("calibrated", "arima", "sigma", "mad")
"""How windows are compared: as :mod:`~langflow_otel.insights._anomalies.detection` does it, by what
:mod:`~langflow_otel.insights._anomalies.arima` predicts, by mean and standard deviation, by median and median absolute
deviation."""
RESOURCES: Final = ("cpu", "memory", "loop_delay")
STATUSES: Final = ("ok", "error", "cancelled")
UNKNOWN: Final = "unknown"

_BEFORE_S: Final = 3600
_FETCHED: Final = 10_000

# A flow that was cancelled counts for throughput; what came from a cache, or waits for an answer, does not.
_EXECUTIONS: Final = f"""
    SELECT coalesce(flow_name, flow_id, '{UNKNOWN}'),
        CASE what WHEN 'flow' THEN '' ELSE coalesce(component_type, component_name, '{UNKNOWN}') END,
        end_ns, duration_ns / 1e9, status
    FROM spans
    WHERE what IN ('flow', 'component', 'agent') AND status IN {STATUSES}
        AND ($flow IS NULL OR flow_name = $flow OR flow_id = $flow) AND end_ns >= $since_ns
    ORDER BY end_ns
"""


class Watch(Protocol):
    """What finds anomalies while seconds come in."""

    windows: int

    @property
    def learning(self) -> set[Key]: ...

    def advance(self, second: Second) -> list[Anomaly]: ...

    def pass_time(self, until_s: int) -> list[Anomaly]: ...

    def finish(self) -> list[Anomaly]: ...


def watch_of(method: str, rules: Rules | None = None) -> Watch:
    """One of :data:`METHODS`; the rules are those of ``calibrated`` and ``arima``.

    Raises:
        ImportError: ``arima`` needs ``pip install 'langflow-otel[forecast]'``.
    """
    if method == "arima":
        from langflow_otel.insights._anomalies.arima import ArimaWatch

        return ArimaWatch(rules)
    return Detector(rules) if method == "calibrated" else ThreeSigma(robust=method == "mad")


@dataclass(frozen=True)
class Around:
    """The resources of the processes in the minutes around an anomaly; without any points they are not known.

    Attributes:
        points: Minute by minute, from an hour before it to its end.
        before, during: Medians by the names of :data:`RESOURCES`, without those that are not known.
        together: Which of them go together with the anomaly's figure more than chance allows, in minutes.
    """

    points: list[ResourcePoint]
    before: Mapping[str, float]
    during: Mapping[str, float]
    together: list[Correlation]


@dataclass(frozen=True)
class Anomalies:
    """What was found.

    Attributes:
        found: By their beginning, with what was around each.
        executions: Runs and executions that were looked at.
        keys: Flows, and types of components in each.
        learning: Of these, those with too little history to say what is usual.
        windows: How many windows were compared.
        unusable: Executions whose duration is no number.
    """

    found: list[tuple[Anomaly, Around]]
    executions: int
    keys: int
    learning: int
    windows: int
    unusable: int


def find_anomalies(
    connection: duckdb.DuckDBPyConnection,
    *,
    flow: str | None = None,
    since_ns: int | None = None,
    method: str = "calibrated",
    rules: Rules | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Anomalies:
    """Look through all runs of the views of :class:`~langflow_otel.insights.traces.Traces`.

    Args:
        flow: Name or id of the only one to look at.
        since_ns: Only anomalies that went on then or began later; the day before it is used to know what is usual.
        method: One of :data:`METHODS`.
        on_progress: Called with the number of executions that were looked at.
    """
    history_ns = 0 if since_ns is None else since_ns - 25 * 3600 * NS
    panes, watch, seen = Panes(lateness_s=0), watch_of(method, rules), 0
    found: dict[int, Anomaly] = {}
    for execution in executions(connection, flow=flow, since_ns=history_ns):
        panes.add(execution)
        seen += 1
        if seen % _FETCHED == 0:
            _note(found, _through(watch, panes.complete()))
            if on_progress is not None:
                on_progress(seen)
    _note(found, [*_through(watch, panes.rest()), *watch.finish()])
    wanted = [each for each in found.values() if since_ns is None or _ends_after(each, since_ns // NS)]
    wanted.sort(key=lambda each: (each.since_s, each.key, each.figure))
    resources = partial(resources_around, connection)
    return Anomalies(
        [(each, around(each, resources)) for each in wanted],
        seen,
        len(panes.keys),
        len(watch.learning),
        watch.windows,
        panes.unusable,
    )


def _note(found: dict[int, Anomaly], news: Iterable[Anomaly]) -> None:
    """An anomaly comes when it begins, and when it ends."""
    for anomaly in news:
        found[id(anomaly)] = anomaly


def _through(watch: Watch, seconds: Iterable[Second]) -> Iterator[Anomaly]:
    for second in seconds:
        yield from watch.advance(second)


def _ends_after(anomaly: Anomaly, at_s: int) -> bool:
    if anomaly.is_lasting:
        return anomaly.since_s + HISTORY_S > at_s
    return anomaly.until_s is None or anomaly.until_s > at_s


def executions(
    connection: duckdb.DuckDBPyConnection, *, flow: str | None = None, since_ns: int = 0
) -> Iterator[Execution]:
    """In the order of their ends."""
    cursor = connection.cursor()
    cursor.execute(_EXECUTIONS, {"flow": flow, "since_ns": since_ns})
    keys: dict[tuple[str, str], Key] = {}
    while rows := cursor.fetchmany(_FETCHED):
        for name, component_type, end_ns, duration_s, status in rows:
            key = keys.setdefault((name, component_type), Key(name, component_type))
            yield Execution(key, end_ns, duration_s, status)


def resources_around(connection: duckdb.DuckDBPyConnection, start_s: int, end_s: int) -> list[ResourcePoint]:
    """Minute by minute, of the view ``runs``."""
    return resources_from_runs(connection, start_s * NS, end_s * NS, points=max((end_s - start_s) // 60, 1))


def around(anomaly: Anomaly, resources: Callable[[int, int], list[ResourcePoint]]) -> Around:
    """What the processes used in the minutes of an anomaly.

    Args:
        resources: Given whole minutes, start and end in seconds of Unix time, a point for each.
    """
    start_s = (anomaly.since_s - _BEFORE_S) // 60 * 60
    last_s = anomaly.until_s or (anomaly.minutes[-1][0] + 60 if anomaly.minutes else anomaly.raised_s)
    points = resources(start_s, -(-last_s // 60) * 60)
    since_ns = anomaly.since_s // 60 * 60 * NS
    curves = {name: _curve(name, points) for name in RESOURCES}
    figure = {at_s // 60: value for at_s, value in anomaly.minutes}
    return Around(
        points,
        _medians(curves, lambda minute: minute * 60 * NS < since_ns),
        _medians(curves, lambda minute: minute * 60 * NS >= since_ns),
        correlations(figure, {name: curve for name, curve in curves.items() if curve}),
    )


def _curve(name: str, points: Iterable[ResourcePoint]) -> dict[int, float]:
    values = ((point.time_ns // (60 * NS), getattr(point, name)) for point in points)
    return {minute: value for minute, value in values if value is not None}


def _medians(curves: Mapping[str, Mapping[int, float]], is_wanted: Callable[[int], bool]) -> dict[str, float]:
    wanted = {name: [value for minute, value in curve.items() if is_wanted(minute)] for name, curve in curves.items()}
    return {name: median(values) for name, values in wanted.items() if values}
