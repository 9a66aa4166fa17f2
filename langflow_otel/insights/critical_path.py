"""What would have to be faster for a run to be faster: the critical path of one run, and its sum over many.

The method is that of Uber's CRISP (Zhang et al., "CRISP: Critical Path Analysis of Large-Scale Microservice
Architectures", USENIX ATC 2022, https://www.usenix.org/conference/atc22/presentation/zhang-zhizhou): the path is walked
backwards from the end of the run. A span waited last for the child that ended last; before that for the child that
ended last before this one began; and so on. What no child on the path covers is the span's own time. So each moment
of the run belongs to exactly one span, and the parts add up to the run's duration.

Three things differ, since spans of LangFlow are not only remote calls:

- A child that ends clearly after its parent (a stream that is read later, a task in the background) was not waited for
  by it. It is a child of the nearest span above that lasts as long; CRISP cuts it off at its parent's end.
  The time before it began is its parent's.
- For the clocks of several machines, a child may end after its parent, or after the beginning of what followed it, by
  1 % of the parent's duration; it is cut there, as it is at its parent's start. In CRISP this is a setting.
- A clock that went back (an end before the start) makes a span of no duration.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from langflow_otel import _semconv as semconv
from langflow_otel.insights.selection import EVERY_RUN, Selection, ask, rows
from langflow_otel.insights.trace import TraceSpan, span_of, tree_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "CriticalPaths",
    "PathSegment",
    "PathShare",
    "components_around",
    "critical_path",
    "critical_paths",
    "path_by_place",
]

_TOLERANCE = 0.01
_MAX_RUNS = 2000


@dataclass(frozen=True)
class PathSegment:
    """A stretch of time in which this span itself was what the run waited for. Nanoseconds since the epoch."""

    span: TraceSpan
    start_ns: int
    end_ns: int

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class PathShare:
    """What a place contributed to the critical paths of several runs.

    Attributes:
        component: Display name of the component in which the span is, or which it is; empty outside of components.
        name: The span's name.
        runs: In how many runs it was on the path.
        total_s: Its own time on the paths, seconds; a run gets faster by at most this if the place takes no time.
        share: ``total_s`` as a part of the duration of all these runs, 0 to 1.
    """

    component: str
    name: str
    runs: int
    total_s: float
    share: float


@dataclass(frozen=True)
class CriticalPaths:
    """The critical paths of many runs together.

    Attributes:
        runs: How many runs were looked at.
        runs_selected: How many there are; if more, ``runs`` are the newest of them.
        total_s: Sum of their durations, seconds.
        shares: The largest first.
    """

    runs: int
    runs_selected: int
    total_s: float
    shares: tuple[PathShare, ...]


def critical_path(root: TraceSpan) -> list[PathSegment]:
    """The critical path of the run (or any span) ``root``, in the order of time; its segments cover it exactly."""
    waited_for = _waited_for(root)
    segments: list[PathSegment] = []
    windows = [_Window(root, root.start_ns, _end_ns(root))]
    while windows:
        window = windows.pop()
        segments += window.own_segments(waited_for.get(window.span.span_id, []), windows)
    return sorted(segments, key=lambda each: each.start_ns)


@dataclass(frozen=True)
class _Child:
    """What a span waited for.

    Attributes:
        parents: Spans between the two, the lowest first: none but for a child that outlived its parent.
    """

    span: TraceSpan
    parents: tuple[TraceSpan, ...] = ()


@dataclass(frozen=True)
class _Window:
    """A part of a span's time that is on the critical path."""

    span: TraceSpan
    start_ns: int
    end_ns: int

    def own_segments(self, children: list[_Child], windows: list[_Window]) -> Iterator[PathSegment]:
        """What of it is the span's own; the rest is added to ``windows``. Children that end last come first."""
        at_ns, tolerance_ns = self.end_ns, _tolerance_ns(self.span)
        for child in children:
            if _end_ns(child.span) > at_ns + tolerance_ns:
                continue
            for span in (child.span, *child.parents):
                start_ns, end_ns = max(span.start_ns, self.start_ns), min(_end_ns(span), at_ns)
                if start_ns >= end_ns:
                    break
                if end_ns < at_ns:
                    yield PathSegment(self.span, end_ns, at_ns)
                windows.append(_Window(span, start_ns, end_ns))
                at_ns = start_ns
        if at_ns > self.start_ns:
            yield PathSegment(self.span, self.start_ns, at_ns)


def _end_ns(span: TraceSpan) -> int:
    return max(span.start_ns, span.end_ns)


def _tolerance_ns(span: TraceSpan) -> float:
    return _TOLERANCE * (_end_ns(span) - span.start_ns)


def _waited_for(root: TraceSpan) -> dict[str, list[_Child]]:
    """By the id of each span what it may have waited for, that which ended last first."""
    found: dict[str, list[_Child]] = defaultdict(list)
    above: dict[str, TraceSpan] = {}
    spans = [root]
    while spans:
        parent = spans.pop()
        for child in parent.children:
            above[child.span_id] = parent
            passed: list[TraceSpan] = []
            waiting: TraceSpan | None = parent
            while waiting is not None and _end_ns(child) > _end_ns(waiting) + _tolerance_ns(waiting):
                passed.append(waiting)
                waiting = above.get(waiting.span_id)
            if waiting is not None:
                found[waiting.span_id].append(_Child(child, tuple(passed)))
        spans += parent.children
    for children in found.values():
        children.sort(key=lambda each: _end_ns(each.span), reverse=True)
    return found


def critical_paths(
    connection: DuckDBPyConnection, selection: Selection = EVERY_RUN, *, max_runs: int = _MAX_RUNS
) -> CriticalPaths:
    """The critical paths of these runs, added up by component and name of the span.

    Args:
        max_runs: With more runs the newest are taken: each run's spans are looked at one by one.
    """
    chosen, given = selection.chosen()
    selected = rows(connection, f"SELECT count(*) AS runs FROM ({chosen})", given)[0]["runs"]
    # What was asked about the same selection before need not be chosen again.
    if selected > max_runs:
        selection = replace(selection, newest=max_runs)
    spans = ask(
        connection,
        selection,
        """
        SELECT run_span_id, trace_id, span_id, parent_id, name, start_ns, end_ns, component_name, entry_point
        FROM chosen_spans ORDER BY run_span_id
        """,
    )
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    runs, total_s = 0, 0.0
    for run_id, of_run in groupby(spans, key=lambda row: row["run_span_id"]):
        root = tree_of((span_of(row, attributes=_told(row)) for row in of_run), run_id)
        runs += 1
        total_s += root.duration_s
        for place, seconds in path_by_place(root).items():
            sums[place].append(seconds)
    shares = [
        PathShare(component, name, len(each), sum(each), sum(each) / total_s if total_s > 0 else 0.0)
        for (component, name), each in sums.items()
    ]
    shares.sort(key=lambda each: (-each.total_s, each.component, each.name))
    return CriticalPaths(runs, selected, total_s, tuple(shares))


def path_by_place(root: TraceSpan) -> dict[tuple[str, str], float]:
    """Seconds of the critical path by component (display name, empty outside of components) and name of the span."""
    around = components_around(root)
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for segment in critical_path(root):
        component = around[segment.span.span_id]
        name = "" if component is None else str(component.attributes.get(semconv.COMPONENT_DISPLAY_NAME, ""))
        sums[name, segment.span.name] += segment.duration_s
    return dict(sums)


def components_around(root: TraceSpan) -> dict[str, TraceSpan | None]:
    """By the id of each span the component that it is or is in; a flow that a component runs is outside again."""
    around: dict[str, TraceSpan | None] = {}
    spans: list[tuple[TraceSpan, TraceSpan | None]] = [(root, None)]
    while spans:
        span, component = spans.pop()
        if semconv.ENTRY_POINT in span.attributes:
            component = None
        elif semconv.COMPONENT_DISPLAY_NAME in span.attributes:
            component = span
        around[span.span_id] = component
        spans += [(child, component) for child in span.children]
    return around


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """The attributes that say which component it is."""
    columns = {semconv.COMPONENT_DISPLAY_NAME: "component_name", semconv.ENTRY_POINT: "entry_point"}
    return {name: row[column] for name, column in columns.items() if row[column] is not None}
