"""Why a run was slow, or failed: against the history of the same flow.

- **How slow:** the run's duration among the other successful runs of its flow: the share of them that was faster, and
  how far it is from their median in units of the median absolute deviation, of the logarithms, since durations are
  skewed (the "modified z-score"; Iglewicz and Hoaglin, "How to Detect and Handle Outliers", ASQC 1993, who call more
  than 3.5 an outlier). Neither is moved by a few slow runs in the history. Below 10 other runs nothing is compared.
- **Where:** the time on the critical path (:mod:`langflow_otel.insights.critical_path`) in each component, against its
  own median in the other runs. These differences add up to about what the run took longer.
- **What goes with it:** :mod:`langflow_otel.insights._statistics.differences`, between the runs that were about as
  slow (nearer to this one's duration than to the median, on a scale of ratios) and the others; of a failed run,
  between those that failed with the same error and those that succeeded. The peaks of a process or machine are
  compared by themselves: a run that takes longer for whatever reason sees higher ones.

What goes with slowness is not always its cause.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

from langflow_otel import _semconv as semconv
from langflow_otel.insights._statistics.differences import Differences, Fact, find_differences
from langflow_otel.insights._statistics.run_facts import CPU_RATE, FAILED_SPANS, FIRST, GROWING, run_facts, with_zeros
from langflow_otel.insights.critical_path import components_around, critical_path
from langflow_otel.insights.selection import Selection, ask, rows
from langflow_otel.insights.trace import SpanEvent, TraceSpan, span_of, tree_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "MAX_RUNS",
    "MIN_RUNS",
    "OUTLIER_Z",
    "ComponentTime",
    "Explanation",
    "Failure",
    "History",
    "explain",
    "robust_z",
]

MIN_RUNS = 10
MAX_RUNS = 500
OUTLIER_Z = 3.5
_SLOW_RATIO = 1.2
_SLOW_SHARE = 0.75
_MAD_TO_SIGMA = 0.6745
_MEAN_DEVIATION_TO_SIGMA = 0.7979
_MIN_SECONDS = 0.001

SLOW, USUAL, FAILED, TOO_FEW = "slow", "usual", "failed", "too_few_runs"


@dataclass(frozen=True)
class History:
    """The other runs of the same flow. Times are seconds.

    Attributes:
        runs: How many were looked at, those nearest in time.
        available: How many there are.
        succeeded: How many of ``runs`` succeeded; only these have durations that can be compared.
        median_s: Of their durations; None without any.
        faster_share: Of these, those that took less time than this run, 0 to 1; None below 10.
        robust_z: How many deviations above the median; infinite if all others took equally long; None below 10.
        same_error: How many of ``runs`` failed with the same error.
    """

    runs: int
    available: int
    succeeded: int
    median_s: float | None
    faster_share: float | None
    robust_z: float | None
    same_error: int


@dataclass(frozen=True)
class ComponentTime:
    """What one component contributed. Times are seconds on the critical path.

    Attributes:
        component_id: Empty for what is in no component: LangFlow itself, between them.
        here_s: In this run.
        usual_s: Median of the other runs; None where these are too few. 0 where most of them did not wait for it.
        robust_z: How unusual it is for this component, as in :class:`History`.
        share: ``extra_s`` as a part of what all slower components took longer, 0 to 1.
        longest_span: Name of the span in it that took the most time.
    """

    component_id: str
    name: str
    here_s: float
    usual_s: float | None
    robust_z: float | None
    share: float
    longest_span: str

    @property
    def extra_s(self) -> float:
        """By how much longer than usual; negative if it was faster."""
        return self.here_s - (self.usual_s or 0.0)


@dataclass(frozen=True)
class Failure:
    """Where the error of a failed run arose.

    Attributes:
        name: Name of the span.
        component: Empty outside of components.
        message: None where messages are not recorded.
    """

    error_type: str
    category: str
    component: str
    name: str
    message: str | None


@dataclass(frozen=True)
class Explanation:
    """Why a run was slow, or failed.

    Attributes:
        verdict: ``slow``, ``usual`` (not slow), ``failed``, or ``too_few_runs`` to say whether it was slow.
        started_ns: Nanoseconds since the epoch.
        runs_in_trace: More than one if the caller made several; this is the first that failed, else the slowest.
        components: Those first that took the most longer than usual; without a history, that took the most time.
        differences: What goes with it; None where nothing was compared.
        peaks: The same of peaks, which may be higher because the run took longer.
        like: How many other runs are slow as well, or failed with the same error.
        slow_from_s: From which duration on a run counted as slow; None if it was not about that.
        missing: Attributes of the run's span, out of those that say something about its conditions, that it lacks.
    """

    trace_id: str
    span_id: str
    flow: str
    version: str | None
    status: str
    verdict: str
    started_ns: int
    duration_s: float
    runs_in_trace: int
    history: History
    failure: Failure | None
    components: tuple[ComponentTime, ...]
    differences: Differences | None
    peaks: Differences | None
    like: int
    slow_from_s: float | None
    missing: tuple[str, ...]


def explain(
    connection: DuckDBPyConnection,
    trace_id: str,
    *,
    max_runs: int = MAX_RUNS,
    is_compared: Callable[[str, Fact], bool] = lambda name, fact: True,
) -> Explanation:
    """Say why the run in this trace was slow, or failed.

    Args:
        max_runs: With more runs of the flow, those nearest in time are its history.
        is_compared: False for what of the run is not to be compared, by its name and what it is in this run.

    Raises:
        LookupError: There is no run of a flow in the trace.
    """
    run, runs_in_trace = _run(connection, trace_id)
    others, available = _history(connection, run, max_runs)
    loaded = _load(connection, [run, *others])
    facts = {name: fact for name, fact in loaded[0].facts.items() if is_compared(name, fact)}
    this = replace(loaded[0], facts=facts)
    comparable = [each for each in loaded[1:] if each.run["status"] == "ok"]
    history = _compare(run, others, available, comparable)
    verdict = _verdict(run, history)
    like, rest, slow_from_s = _groups(verdict, this, loaded[1:], comparable, history)
    return Explanation(
        trace_id=run["trace_id"],
        span_id=run["span_id"],
        flow=run["flow_name"] or "",
        version=run["flow_version"],
        status=run["status"],
        verdict=verdict,
        started_ns=run["start_ns"],
        duration_s=_seconds(run),
        runs_in_trace=runs_in_trace,
        history=history,
        failure=_failure(this) if run["status"] == "error" else None,
        components=_component_times(this, comparable),
        differences=_differences(verdict, this, like, rest, peaks=False),
        peaks=_differences(verdict, this, like, rest, peaks=True),
        like=len(like),
        slow_from_s=slow_from_s,
        missing=tuple(name for name in _CONDITIONS if name not in this.root.attributes),
    )


_CONDITIONS = (
    semconv.USER_ID,
    semconv.FLOW_MEMORY_PEAK,
    semconv.FLOW_CPU_TIME,
    semconv.FLOW_EVENT_LOOP_DELAY_PEAK,
    semconv.FLOW_SYSTEM_CPU_PEAK,
    semconv.FLOW_GPU_PEAK,
)

# Attributes are read of the few runs that are looked at, from those parts of the files in which they are.
_RUNS = """
    , firsts AS (
        SELECT arg_min(span_id, start_ns) AS span_id FROM run_rows WHERE instance IS NOT NULL GROUP BY instance
    )
    SELECT found.trace_id, span_id, start_ns, end_ns, duration_ns, status, error_type, flow_name, flow_id, flow_version,
        is_sub_run, concurrent, attributes, resource, span_id IN (SELECT span_id FROM firsts) AS is_first
    FROM found JOIN (
        SELECT trace_id, span_id, attributes, resource FROM spans
        WHERE what = 'flow' AND start_ns BETWEEN $first_ns AND $last_ns
    ) USING (trace_id, span_id)
"""


def _run(connection: DuckDBPyConnection, trace_id: str) -> tuple[dict[str, Any], int]:
    found = f"""
        WITH found AS (SELECT * FROM run_rows WHERE trace_id = $trace_id) {_RUNS}
        ORDER BY is_sub_run, status = 'error' DESC, duration_ns DESC, start_ns"""
    bounds = "SELECT min(start_ns) AS first_ns, max(start_ns) AS last_ns FROM run_rows WHERE trace_id = $trace_id"
    parameters = {"trace_id": trace_id}
    runs = rows(connection, found, {**parameters, **rows(connection, bounds, parameters)[0]})
    if not runs:
        raise LookupError(f"no run of a flow has the trace id {trace_id}")
    alike = [each for each in runs if each["is_sub_run"] == runs[0]["is_sub_run"]]
    return runs[0], len(alike)


_OTHERS = """
    FROM run_rows
    WHERE (flow_name = $name OR flow_id = $id) AND is_sub_run = $is_sub_run AND status IN ('ok', 'error')
        AND NOT (trace_id = $trace_id AND span_id = $span_id)
"""


def _history(connection: DuckDBPyConnection, run: Mapping[str, Any], max_runs: int) -> tuple[list[dict[str, Any]], int]:
    """Other runs of the flow that have ended by themselves, those nearest in time; and how many there are."""
    named = {"name": "flow_name", "id": "flow_id"}
    same = ("is_sub_run", "trace_id", "span_id")
    of_flow = {**{name: run[column] for name, column in named.items()}, **{name: run[name] for name in same}}
    near = f"SELECT * {_OTHERS} ORDER BY abs(start_ns - $start_ns), span_id LIMIT {int(max_runs)}"
    at = {**of_flow, "start_ns": run["start_ns"]}
    available = rows(connection, f"SELECT count(*) AS runs {_OTHERS}", of_flow)[0]["runs"]
    bounds = rows(connection, f"SELECT min(start_ns) AS first_ns, max(start_ns) AS last_ns FROM ({near})", at)[0]
    query = f"WITH found AS ({near}) {_RUNS} ORDER BY abs(start_ns - $start_ns), span_id"
    return rows(connection, query, {**at, **bounds}), available


@dataclass(frozen=True)
class _Loaded:
    """A run with its spans."""

    run: dict[str, Any]
    root: TraceSpan
    facts: dict[str, Fact]
    path: dict[str, _Part]


@dataclass
class _Part:
    """A component's part of the critical path, by the names of its spans."""

    name: str
    by_span: dict[str, float]

    @property
    def seconds(self) -> float:
        return sum(self.by_span.values())


def _load(connection: DuckDBPyConnection, runs: Sequence[dict[str, Any]]) -> list[_Loaded]:
    """These runs with what is known of each, in their order."""
    by_id = {run["span_id"]: run for run in runs}
    spans = ask(
        connection,
        Selection(
            flow=runs[0]["flow_name"] if runs[0]["is_sub_run"] else None, trace_ids=[run["trace_id"] for run in runs]
        ),
        """
        SELECT run_span_id, trace_id, span_id, parent_id, name, what, start_ns, end_ns, status, attributes,
            list_transform(events, lambda event: {'name': event.name, 'attributes': event.attributes}) AS events
        FROM whole_spans WHERE list_contains($ids, run_span_id) ORDER BY run_span_id
        """,
        ids=list(by_id),
    )
    loaded = {}
    for run_id, of_run in groupby(spans, key=lambda row: row["run_span_id"]):
        each = list(of_run)
        root = tree_of(map(_span, each), run_id)
        facts = run_facts(by_id[run_id], root, {row["span_id"]: row["what"] for row in each})
        facts[FIRST] = frozenset([str(by_id[run_id]["is_first"]).lower()])
        loaded[run_id] = _Loaded(by_id[run_id], root, facts, _path(root))
    with_zeros([each.facts for each in loaded.values()])
    return [loaded[run["span_id"]] for run in runs if run["span_id"] in loaded]


def _span(row: Mapping[str, Any]) -> TraceSpan:
    return span_of(
        row,
        attributes=row["attributes"] or {},
        events=[SpanEvent(event["name"], 0, event["attributes"] or {}) for event in row["events"] or ()],
        is_error=row["status"] == "error",
    )


def _path(root: TraceSpan) -> dict[str, _Part]:
    around = components_around(root)
    parts: dict[str, _Part] = {}
    for segment in critical_path(root):
        component = around[segment.span.span_id]
        told = {} if component is None else component.attributes
        part = parts.setdefault(
            str(told.get(semconv.COMPONENT_ID, "")),
            _Part(str(told.get(semconv.COMPONENT_DISPLAY_NAME, "")), defaultdict(float)),
        )
        part.by_span[segment.span.name] += segment.duration_s
    return parts


def _seconds(run: Mapping[str, Any]) -> float:
    return max(0.0, float(run["duration_ns"]) / 1e9)


def _compare(
    run: Mapping[str, Any], others: Sequence[Mapping[str, Any]], available: int, comparable: Sequence[_Loaded]
) -> History:
    durations = [_seconds(each.run) for each in comparable]
    here = _seconds(run)
    enough = len(durations) >= MIN_RUNS
    same = [each for each in others if each["status"] == "error" and each["error_type"] == run["error_type"]]
    return History(
        runs=len(others),
        available=available,
        succeeded=len(durations),
        median_s=median(durations) if durations else None,
        faster_share=sum(each < here for each in durations) / len(durations) if enough else None,
        robust_z=robust_z(here, durations) if enough else None,
        same_error=len(same) if run["status"] == "error" else 0,
    )


def robust_z(value: float, others: Sequence[float]) -> float:
    """How many standard deviations a duration is above the median of others, by robust statistics of the logarithms.

    Where more than half of the others are equal, their mean absolute deviation stands for the median one.
    """
    logs = [math.log(max(each, _MIN_SECONDS)) for each in others]
    middle = median(logs)
    deviations = [abs(each - middle) for each in logs]
    away = math.log(max(value, _MIN_SECONDS)) - middle
    for spread, factor in (
        (median(deviations), _MAD_TO_SIGMA),
        (sum(deviations) / len(logs), _MEAN_DEVIATION_TO_SIGMA),
    ):
        if spread > 0:
            return factor * away / spread
    return math.copysign(math.inf, away) if away else 0.0


def _verdict(run: Mapping[str, Any], history: History) -> str:
    if run["status"] == "error":
        return FAILED
    if history.faster_share is None or history.median_s is None:
        return TOO_FEW
    is_slow = _seconds(run) >= _SLOW_RATIO * history.median_s and history.faster_share >= _SLOW_SHARE
    return SLOW if is_slow else USUAL


def _groups(
    verdict: str, this: _Loaded, others: Sequence[_Loaded], comparable: Sequence[_Loaded], history: History
) -> tuple[list[_Loaded], list[_Loaded], float | None]:
    """The runs that are like this one, those that are not, and from which duration on they are slow."""
    if verdict == FAILED and len(comparable) >= MIN_RUNS:
        error_type = this.run["error_type"]
        like = [each for each in others if each.run["status"] == "error" and each.run["error_type"] == error_type]
        return like, list(comparable), None
    if verdict == SLOW and history.median_s is not None:
        slow_from_s = math.sqrt(max(history.median_s, _MIN_SECONDS) * _seconds(this.run))
        like = [each for each in comparable if _seconds(each.run) >= slow_from_s]
        return like, [each for each in comparable if _seconds(each.run) < slow_from_s], slow_from_s
    return [], [], None


def _differences(
    verdict: str, this: _Loaded, like: Sequence[_Loaded], rest: Sequence[_Loaded], *, peaks: bool
) -> Differences | None:
    if not rest:
        return None
    facts = {name: fact for name, fact in this.facts.items() if (name in GROWING) == peaks}
    if verdict == FAILED:
        facts = {name: fact for name, fact in facts.items() if not name.endswith(FAILED_SPANS)}
    return find_differences(
        facts,
        [each.facts for each in like],
        [each.facts for each in rest],
        # A run that failed did less, and one that waits takes less CPU time in a second.
        only_more=facts if verdict == FAILED else (CPU_RATE,),
    )


def _component_times(this: _Loaded, comparable: Sequence[_Loaded]) -> tuple[ComponentTime, ...]:
    enough = len(comparable) >= MIN_RUNS
    times = []
    for component_id in {*this.path, *(key for each in comparable for key in each.path)}:
        part = this.path.get(component_id)
        usual = [each.path[component_id].seconds if component_id in each.path else 0.0 for each in comparable]
        if part is None and (not enough or median(usual) == 0):
            continue
        name = part.name if part else next(e.path[component_id].name for e in comparable if component_id in e.path)
        here_s = part.seconds if part else 0.0
        times.append(
            ComponentTime(
                component_id=component_id,
                name=name,
                here_s=here_s,
                usual_s=median(usual) if enough else None,
                robust_z=robust_z(here_s, usual) if enough else None,
                share=0.0,
                longest_span=max(part.by_span, key=part.by_span.__getitem__) if part else "",
            )
        )
    extra_s = sum(max(0.0, each.extra_s) for each in times)
    shared = [replace(each, share=max(0.0, each.extra_s) / extra_s if extra_s > 0 else 0.0) for each in times]
    return tuple(sorted(shared, key=lambda each: (-each.extra_s, each.name)))


def _failure(this: _Loaded) -> Failure:
    """The span in which the error arose: no span below it failed; of several, that which failed last.

    Of an HTTP request it is the span above it, if that failed, too: that knows the exception and its category.
    """
    spans = list(this.root.walk())
    parents = {child.span_id: span.span_id for span in spans for child in span.children}
    failed = {span.span_id: span for span in spans if span.is_error}
    raised = [each for each in failed.values() if parents.get(each.span_id) not in failed or not _is_request(each)]
    above = {parents.get(each.span_id) for each in raised}
    origins = [each for each in raised if each.span_id not in above] or [this.root]
    same = [each for each in origins if each.attributes.get(semconv.ERROR_TYPE) == this.run["error_type"]]
    origin = max(same or origins, key=lambda each: each.end_ns)
    component = components_around(this.root)[origin.span_id]
    messages = [event.attributes.get(semconv.EXCEPTION_MESSAGE) for event in origin.events]
    return Failure(
        error_type=str(origin.attributes.get(semconv.ERROR_TYPE, this.run["error_type"] or "")),
        category=str(origin.attributes.get(semconv.ERROR_CATEGORY, "")),
        component="" if component is None else str(component.attributes.get(semconv.COMPONENT_DISPLAY_NAME, "")),
        name=origin.name,
        message=next((str(each) for each in messages if each), None),
    )


def _is_request(span: TraceSpan) -> bool:
    return not span.attributes.keys().isdisjoint((semconv.HTTP_REQUEST_METHOD, "http.method"))
