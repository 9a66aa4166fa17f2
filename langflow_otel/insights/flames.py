"""Where time goes over many runs: their trees merged by the path of names, and the difference of two sets of runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langflow_otel.insights.selection import EVERY_RUN, Selection, ask

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Frame", "FrameDifference", "flame_difference", "flame_graph"]

_MAX_DEPTH = 100

_FRAMES = f"""
    , covered AS (
        -- How far the earlier children of the same parent reach: what is new in each is no time of the parent's own.
        SELECT child.run_span_id, child.trace_id, child.parent_id,
            greatest(0, least(child.end_ns, parent.end_ns) - greatest(
                child.start_ns, parent.start_ns,
                coalesce(max(least(child.end_ns, parent.end_ns)) OVER (
                    PARTITION BY child.run_span_id, child.parent_id ORDER BY child.start_ns, child.span_id
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0))) AS new_ns
        FROM chosen_spans child JOIN chosen_spans parent
            ON parent.run_span_id = child.run_span_id AND parent.span_id = child.parent_id
    ),
    own AS (
        SELECT run_span_id, parent_id AS span_id, sum(new_ns) AS covered_ns FROM covered GROUP BY ALL
    ),
    timed AS (
        SELECT spans.run_span_id, spans.span_id, spans.parent_id, spans.name, spans.what,
            spans.status = 'error' AS failed,
            greatest(0, spans.duration_ns) AS total_ns,
            greatest(0, spans.duration_ns) - coalesce(covered_ns, 0)::BIGINT AS self_ns
        FROM chosen_spans spans LEFT JOIN own USING (run_span_id, span_id)
    ),
    placed AS (
        SELECT *, [name] AS path FROM timed WHERE span_id = run_span_id
        UNION ALL
        SELECT timed.*, list_append(placed.path, timed.name)
        FROM placed JOIN timed ON timed.run_span_id = placed.run_span_id AND timed.parent_id = placed.span_id
        WHERE timed.span_id <> timed.run_span_id AND len(placed.path) < {_MAX_DEPTH}
    )
    SELECT path, any_value(what) AS what, count(*) AS count, count(*) FILTER (failed) AS errors,
        sum(total_ns) / 1e9 AS total_s, sum(self_ns) / 1e9 AS self_s
    FROM placed GROUP BY path ORDER BY path
"""


@dataclass(frozen=True)
class Frame:
    """All spans with the same names from the run down to them.

    Attributes:
        name: The span's name; empty for the frame around all runs.
        what: As in the view ``spans``; empty for the frame around all runs.
        count, errors: Spans, and those of them that failed.
        total_s: Sum of their durations, seconds.
        self_s: Of that, the time in which no child ran.
        children: The widest first.
    """

    name: str
    what: str
    count: int
    errors: int
    total_s: float
    self_s: float
    children: tuple[Frame, ...] = ()

    @property
    def width_s(self) -> float:
        """Own time and the children's widths, for a flame graph. More than ``total_s`` where children ran at once."""
        return self.self_s + sum(child.width_s for child in self.children)


@dataclass(frozen=True)
class FrameDifference:
    """One frame in two sets of runs.

    Attributes:
        before, after: The frame in each set; None if it is not there.
        self_s_before, self_s_after, total_s_before, total_s_after: Seconds in a run, the mean over all runs of the set.
        count_before, count_after: Spans in a run, the same.
        children: Those that became slower the most first.
    """

    name: str
    what: str
    before: Frame | None
    after: Frame | None
    self_s_before: float
    self_s_after: float
    total_s_before: float
    total_s_after: float
    count_before: float
    count_after: float
    children: tuple[FrameDifference, ...] = ()

    @property
    def change_s(self) -> float:
        """By how much longer it takes in a run, children included; seconds, negative if it became faster."""
        return self.total_s_after - self.total_s_before


def flame_graph(connection: DuckDBPyConnection, selection: Selection = EVERY_RUN) -> Frame:
    """The spans of these runs, merged. ``count`` of the outermost frame is the number of runs.

    Spans more than 100 below their run are left out.
    """
    tree: dict[str, Any] = {"children": {}}
    for row in ask(connection, selection, _FRAMES):
        node = tree
        for name in row["path"]:
            node = node["children"].setdefault(name, {"children": {}})
        node["row"] = row
    runs = [_frame(name, node) for name, node in tree["children"].items()]
    return Frame(
        name="",
        what="",
        count=sum(run.count for run in runs),
        errors=sum(run.errors for run in runs),
        total_s=sum(run.total_s for run in runs),
        self_s=0.0,
        children=tuple(sorted(runs, key=lambda run: (-run.width_s, run.name))),
    )


def _frame(name: str, node: dict[str, Any]) -> Frame:
    row = node["row"]
    children = [_frame(child_name, child) for child_name, child in node["children"].items()]
    return Frame(
        name=name,
        what=row["what"],
        count=row["count"],
        errors=row["errors"],
        total_s=row["total_s"],
        self_s=row["self_s"],
        children=tuple(sorted(children, key=lambda child: (-child.width_s, child.name))),
    )


def flame_difference(connection: DuckDBPyConnection, before: Selection, after: Selection) -> FrameDifference:
    """What changed from one set of runs to another (two versions of a flow, two days), in a mean run."""
    first, second = flame_graph(connection, before), flame_graph(connection, after)
    return _difference(first, second, max(first.count, 1), max(second.count, 1))


def _difference(before: Frame | None, after: Frame | None, runs_before: int, runs_after: int) -> FrameDifference:
    frame = before or after
    assert frame is not None  # noqa: S101 - one of the two is there
    pairs: dict[str, list[Frame | None]] = {}
    for which, each in enumerate((before, after)):
        for child in each.children if each else ():
            pairs.setdefault(child.name, [None, None])[which] = child
    children = [_difference(first, second, runs_before, runs_after) for first, second in pairs.values()]
    return FrameDifference(
        name=frame.name,
        what=frame.what,
        before=before,
        after=after,
        self_s_before=before.self_s / runs_before if before else 0.0,
        self_s_after=after.self_s / runs_after if after else 0.0,
        total_s_before=before.total_s / runs_before if before else 0.0,
        total_s_after=after.total_s / runs_after if after else 0.0,
        count_before=before.count / runs_before if before else 0.0,
        count_after=after.count / runs_after if after else 0.0,
        children=tuple(sorted(children, key=lambda child: (-child.change_s, child.name))),
    )
