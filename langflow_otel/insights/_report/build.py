"""Asks for everything that the report shows, and writes it as compact data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from langflow_otel.insights._report import figures
from langflow_otel.insights._report.details import interesting_traces, written_traces
from langflow_otel.insights._report.missing import what_is_missing
from langflow_otel.insights._report.steps import OnProgress, Steps
from langflow_otel.insights._report.tables import Strings, columns
from langflow_otel.insights.components import ComponentShare, component_shares
from langflow_otel.insights.critical_path import CriticalPaths, critical_paths
from langflow_otel.insights.errors import ErrorGroup, error_groups
from langflow_otel.insights.flames import Frame, flame_graph
from langflow_otel.insights.models import ModelUse, model_use
from langflow_otel.insights.selection import EVERY_RUN, Selection
from langflow_otel.insights.sessions import Session, sessions
from langflow_otel.version import __version__

if TYPE_CHECKING:
    from langflow_otel.insights.traces import Reading, Traces

_MAX_FLOWS = 8
"""Flows with flame graphs, critical paths and models of their own: those with the most runs."""
_MAX_VERSIONS = 3
_MAX_DAYS = 7
_NEWEST = 1000
"""Runs that a flame graph or a sum of critical paths is made of, at most."""
_MAX_SESSIONS = 1000
_MAX_SAMPLES = 40
_STEPS = 7

COMPONENT_COLUMNS = (
    "flow", "component_id", "name", "kind", "count", "runs", "errors", "cached", "skipped", "p50_s", "p95_s", "p99_s",
    "total_s",
)  # fmt: skip
ERROR_COLUMNS = (
    "error_type", "category", "flow", "component", "name", "count", "runs", "failed_runs", "message", "http_status",
)  # fmt: skip
MODEL_COLUMNS = (
    "model", "provider", "calls", "runs", "errors", "retries", "input_tokens", "output_tokens", "cached_tokens",
    "reasoning_tokens", "calls_without_tokens", "p50_s", "p95_s", "first_chunk_p50_s",
)  # fmt: skip
_S = 1_000_000_000


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Attributes:
        title: Of the page.
        figures: Runs, components, errors, models, critical path and sessions in plain values, for other programs.
            Times are seconds.
        data: The same and more, as the page's code reads it.
        traces: The runs of which the page has every span.
    """

    title: str
    figures: dict[str, Any]
    data: dict[str, Any]
    traces: list[dict[str, Any]]


def build_report(
    traces: Traces, selection: Selection = EVERY_RUN, *, described: str = "", on_progress: OnProgress | None = None
) -> Report:
    """Everything about these runs that the page shows.

    Args:
        selection: Which runs; without any the page says that there are none.
        described: The selection in words, for the page.
        on_progress: Called with the number of steps that are done, and of all.
    """
    connection, strings, steps = traces.connection, Strings(), Steps(_STEPS, on_progress)
    runs = figures.choose_runs(connection, selection)
    overview = figures.overview(connection, strings) if runs else {"all": None, "flows": []}
    shown = figures.looked_into(connection, selection, runs=runs)
    steps.done()
    flows = [strings.all[each["flow"]] for each in overview["flows"] if each["flow"] >= 0][:_MAX_FLOWS]
    components, errors = component_shares(connection, shown), error_groups(connection, shown)
    found_sessions = sessions(connection, shown, newest=_MAX_SESSIONS)
    steps.done()
    samples = [each.sample_trace_id for each in errors[:_MAX_SAMPLES]]
    trace_ids = interesting_traces(connection, shown, samples)
    written = written_traces(connection, shown, trace_ids)
    steps.done()
    listed = figures.listed_runs(connection, shown, strings)
    resources = figures.resources(connection, shown, listed["span"])
    missing = [*_older_runs(shown, selection, runs), *what_is_missing(connection, shown)]
    steps.done()
    # With one flow only, its figures are those of all.
    parts = [("", shown), *((flow, replace(shown, flow=flow)) for flow in flows if len(flows) > 1)]
    uses, paths, of_parts = [], [], {}
    for flow, each in parts:
        uses.append((flow, model_use(connection, each)))
        path = critical_paths(connection, each, max_runs=_NEWEST)
        paths.append((flow, path))
        of_parts[flow] = flame_graph(
            connection, each if path.runs_selected <= _NEWEST else replace(each, newest=_NEWEST)
        )
    steps.done()
    flames = _flames(traces, shown, flows, of_parts, strings)
    steps.done()
    data = {
        "source": "traces",
        "made": {"version": __version__, "at_ms": time.time_ns() // 1_000_000, "selection": described},
        "reading": list(_reading_facts(traces.reading)),
        "missing": missing,
        "overview": overview,
        "runs": listed,
        "listed": len(listed["place"]),
        "resources": resources,
        "flames": flames,
        "components": _component_data(components, strings),
        "critical": [_path_data(flow, each, strings) for flow, each in paths],
        "errors": _error_data(errors, strings),
        "models": [_model_data(flow, each, strings) for flow, each in uses],
        "sessions": _session_data(found_sessions, strings),
        "most_sessions": _MAX_SESSIONS,
        "details": {"traces": trace_ids, "spans": sum(len(each["spans"]["id"]) for each in written)},
    }
    # Last: every text above is in it by now.
    data["strings"] = strings.all
    steps.done()
    plain = _plain(overview, strings, components, errors, uses[0][1], paths[0][1], found_sessions, missing)
    return Report(title="LangFlow runs", figures=plain, data=data, traces=written)


def _older_runs(shown: Selection, selection: Selection, runs: int) -> Iterator[tuple[str, str]]:
    if shown != selection:
        since = datetime.fromtimestamp((shown.since_ns or 0) / _S)
        yield (
            "Spans of older runs.",
            "Components, errors, models, sessions, critical paths and flame graphs are those of the newest "
            f"{figures.MAX_LOOKED_INTO:,} of {runs:,} runs, since {since:%Y-%m-%d %H:%M}. Figures over time are of all "
            "runs. --flow and --since choose others.",
        )


def _plain(
    overview: dict[str, Any],
    strings: Strings,
    components: Sequence[ComponentShare],
    errors: Sequence[ErrorGroup],
    uses: Sequence[ModelUse],
    paths: CriticalPaths,
    found_sessions: Sequence[Session],
    missing: list[tuple[str, str]],
) -> dict[str, Any]:
    def figure(flow: dict[str, Any] | None) -> dict[str, Any]:
        if flow is None:
            return {"runs": 0}
        return {
            **{name: flow[name] for name in ("runs", "errors", "cancelled")},
            **dict(zip(("p50_s", "p95_s", "p99_s"), [each / 1000 for each in flow["percentiles"]], strict=True)),
            "input_tokens": flow["input"],
            "output_tokens": flow["output"],
            "cost": {strings.all[currency]: amount for currency, amount in flow["costs"]},
        }

    flows = [
        {"flow": strings.all[each["flow"]] if each["flow"] >= 0 else "", **figure(each)} for each in overview["flows"]
    ]
    return {
        "source": "traces",
        "all": figure(overview["all"]),
        "flows": flows,
        "components": [asdict(each) for each in components],
        "critical_path": asdict(paths),
        "errors": [asdict(each) for each in errors],
        "models": [asdict(each) for each in uses],
        "sessions": [asdict(each) for each in found_sessions],
        "missing": [{"what": what, "why": why} for what, why in missing],
    }


def _reading_facts(reading: Reading) -> Iterator[tuple[str, int | str]]:
    yield from (("Files", reading.files), ("Lines", reading.lines), ("Spans", reading.spans))
    yield "Spans sent more than once", reading.duplicates
    yield "Spans that end before they start", reading.end_before_start
    for path, reasons in [*reading.bad_lines.items(), *reading.bad_spans.items()]:
        for reason, number in reasons.items():
            yield f"Not read in {path.name}", f"{number:,}: {reason}"


def _costs(cost: dict[str, float], strings: Strings) -> list[tuple[int, float]]:
    return [(strings.place(currency), amount) for currency, amount in cost.items()]


def _component_data(components: Sequence[ComponentShare], strings: Strings) -> dict[str, Any]:
    return columns([asdict(each) for each in components], COMPONENT_COLUMNS, strings)


def _path_data(flow: str, paths: CriticalPaths, strings: Strings) -> dict[str, Any]:
    shares = [asdict(each) for each in paths.shares[:200]]
    return {
        "flow": strings.place(flow),
        "runs": paths.runs,
        "runs_selected": paths.runs_selected,
        "shares": columns(shares, ("component", "name", "runs", "total_s", "share"), strings),
    }


def _error_data(errors: Sequence[ErrorGroup], strings: Strings) -> dict[str, Any]:
    return {
        **columns([asdict(each) for each in errors], ERROR_COLUMNS, strings),
        "first_ms": [each.first_ns // 1_000_000 for each in errors],
        "last_ms": [each.last_ns // 1_000_000 for each in errors],
        "sample_trace_id": [each.sample_trace_id for each in errors],
        "sample_span_id": [each.sample_span_id for each in errors],
    }


def _model_data(flow: str, uses: Sequence[ModelUse], strings: Strings) -> dict[str, Any]:
    found = columns([asdict(each) for each in uses], MODEL_COLUMNS, strings)
    return {"flow": strings.place(flow), "uses": {**found, "cost": [_costs(each.cost, strings) for each in uses]}}


def _session_data(found: Sequence[Session], strings: Strings) -> dict[str, Any]:
    names = ("session_id", "user_id", "flows", "runs", "errors", "total_s", "input_tokens", "output_tokens")
    return {
        **columns([asdict(each) for each in found], names, strings),
        "cost": [_costs(each.cost, strings) for each in found],
        "first_ms": [each.first_ns // 1_000_000 for each in found],
        "last_ms": [each.last_ns // 1_000_000 for each in found],
    }


def _flames(
    traces: Traces, selection: Selection, flows: Sequence[str], known: dict[str, Frame], strings: Strings
) -> dict[str, Any]:
    """Every set of runs that can be looked at or compared. Frames of all sets are nodes of one tree.

    Args:
        known: Flame graphs of all runs (under an empty name) and of flows.
    """
    nodes: dict[tuple[int, str], int] = {(-1, ""): 0}
    whats = {0: ""}
    found = []
    for flow, title, runs in _sets(traces, selection, flows):
        frames: dict[str, list[Any]] = {name: [] for name in ("node", "total", "self", "count", "errors")}
        of_part = None if title else known["" if runs == selection else flow]
        tree = of_part or flame_graph(traces.connection, replace(runs, newest=_NEWEST))
        for frame, node in _numbered(tree, nodes, whats):
            values = (node, round(frame.total_s, 6), round(frame.self_s, 6), frame.count, frame.errors)
            for name, value in zip(frames, values, strict=True):
                frames[name].append(value)
        about = {"flow": strings.place(flow), "title": strings.place(title), "runs": tree.count}
        found.append({**about, "sampled": tree.count >= _NEWEST, "frames": frames})
    return {
        "newest": _NEWEST,
        "nodes": {
            "parent": [parent for parent, _ in nodes],
            "name": [strings.place(name) for _, name in nodes],
            "what": [strings.place(whats[node]) for node in nodes.values()],
        },
        "sets": found,
    }


def _numbered(tree: Frame, nodes: dict[tuple[int, str], int], whats: dict[int, str]) -> Iterator[tuple[Frame, int]]:
    """Each frame with its place in the tree of all sets; a parent's is smaller."""
    waiting = [(tree, 0)]
    while waiting:
        frame, node = waiting.pop()
        yield frame, node
        for child in frame.children:
            place = nodes.setdefault((node, child.name), len(nodes))
            whats.setdefault(place, child.what)
            waiting.append((child, place))


def _sets(traces: Traces, selection: Selection, flows: Sequence[str]) -> Iterator[tuple[str, str, Selection]]:
    """All runs, each flow, versions of each, and days; (flow, title, selection)."""
    yield selection.flow or "", "", selection
    several = len(flows) > 1
    for flow in flows:
        of_flow = replace(selection, flow=flow)
        if several:
            yield flow, "", of_flow
        versions = traces.connection.execute(
            "SELECT flow_version, max(start_ns) FROM report_runs WHERE flow = ? AND start_ns >= ? "
            "AND flow_version IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT ?",
            [flow, selection.since_ns or 0, _MAX_VERSIONS],
        ).fetchall()
        if len(versions) > 1:
            yield from ((flow, f"version {version}", replace(of_flow, version=version)) for version, _ in versions)
    times = "SELECT min(start_ns), max(start_ns) FROM report_runs WHERE start_ns >= ?"
    first, last = traces.connection.execute(times, [selection.since_ns or 0]).fetchall()[0]
    for title, since_ns, until_ns in _days(first, last) if first is not None else ():
        yield (
            selection.flow or "",
            title,
            replace(selection, since_ns=max(since_ns, selection.since_ns or 0), until_ns=until_ns),
        )


def _days(first_ns: int, last_ns: int) -> Iterable[tuple[str, int, int]]:
    """The last days on which runs started, the newest first, in local time; none if it is a single one."""
    start = datetime.fromtimestamp(last_ns / _S).replace(hour=0, minute=0, second=0, microsecond=0)
    days: list[tuple[str, int, int]] = []
    while start.timestamp() * _S + 86_400 * _S > first_ns and len(days) < _MAX_DAYS:
        after = start + timedelta(days=1)
        days.append((f"{start:%a} {start.day} {start:%b}", int(start.timestamp()) * _S, int(after.timestamp()) * _S))
        start -= timedelta(days=1)
    return days if len(days) > 1 else ()
