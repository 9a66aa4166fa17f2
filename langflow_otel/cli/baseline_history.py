"""``langflow-otel baseline history``: when figures changed for good."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from langflow_otel.cli.baseline import Wanted, limit_of, loaded
from langflow_otel.cli.choosing import check_flow, seconds_of, since_ns_of
from langflow_otel.cli.console import give_up, make_console, printable
from langflow_otel.cli.opened_traces import opened_traces
from langflow_otel.cli.progress import steps_bar
from langflow_otel.insights._baselines import baselines
from langflow_otel.insights._baselines.baselines import DAY, VERSION_OF_FLOW, Baseline
from langflow_otel.insights.prometheus_source import NoSeriesError, PrometheusAccess, PrometheusError, PrometheusSource
from langflow_otel.insights.selection import Selection

_DAY_S = 86_400
_NS = 1_000_000_000


def history(wanted: Wanted, *, by: str, over: str, as_json: bool) -> None:
    """Show what changed for good; if there are too few steps to tell anything, the exit code is 2."""
    if by not in (DAY, VERSION_OF_FLOW):
        give_up(f"--by {printable(by)}: {DAY} and {VERSION_OF_FLOW} are accepted")
    limit = limit_of("--at-least", over)
    try:
        from langflow_otel.cli import history_view
        from langflow_otel.insights._baselines.history import Step
        from langflow_otel.insights._baselines.history import history as history_of
    except ImportError as exc:
        package = (exc.name or "").partition(".")[0]
        give_up(f"{package} is not installed; this needs: pip install 'langflow-otel[insights,forecast]'")
    steps = [Step(name, baseline) for name, baseline in _steps(wanted, by)]
    with steps_bar("looking for changes") as on_progress:
        found = history_of(steps, over=limit, on_progress=on_progress)
    if not found.judged:
        give_up(f"too short a history: {history_view.too_short(found)}")
    if as_json:
        typer.echo(json.dumps(history_view.as_json(found), indent=2))
    else:
        history_view.show(found, make_console(), over=limit)


def _steps(wanted: Wanted, by: str) -> list[tuple[str, Baseline]]:
    if wanted.prometheus:
        return _of_prometheus(wanted, by)
    kept = [path for path in wanted.paths if _is_baseline(path)]
    if not kept:
        return _of_traces(wanted, by)
    if len(kept) < len(wanted.paths):
        other = next(path for path in wanted.paths if path not in kept)
        give_up(f"{printable(other)} is no baseline, and others are: name baselines or trace files")
    if by != DAY or wanted.since is not None:
        give_up("--by and --since are for trace files: each baseline is one step")
    return _of_files(kept, wanted.flow)


def _is_baseline(path: Path) -> bool:
    try:
        return baselines.is_baseline(path)
    except OSError:
        # Whoever reads the trace files says so.
        return False


def _of_files(paths: Sequence[Path], flow: str | None) -> list[tuple[str, Baseline]]:
    found = sorted(((path, loaded(path)) for path in paths), key=lambda each: each[1].last_ns)
    sources = {baseline.source for _, baseline in found}
    if len(sources) > 1:
        give_up("some of these baselines are from traces, others from a Prometheus: their percentiles differ")
    if flow is not None:
        found = [(path, _only(baseline, flow)) for path, baseline in found]
        if not any(baseline.entries for _, baseline in found):
            give_up(f"--flow {printable(flow)}: it is in none of these baselines")
    return [(f"{_moment(baseline.last_ns)} {path.name}", baseline) for path, baseline in found]


def _only(baseline: Baseline, flow: str) -> Baseline:
    from dataclasses import replace

    return replace(baseline, entries=tuple(entry for entry in baseline.entries if entry.flow == flow))


def _moment(at_ns: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_ns / _NS))


def _of_traces(wanted: Wanted, by: str) -> list[tuple[str, Baseline]]:
    with opened_traces(wanted.paths) as traces:
        check_flow(traces, wanted.flow)
        selection = Selection(flow=wanted.flow, since_ns=since_ns_of(wanted.since))
        found = baselines.baselines_of_steps(traces.connection, selection, by=by)
    if not found:
        give_up(
            "no run in these files has a langflow.flow.version"
            if by == VERSION_OF_FLOW
            else f"no run of the last {printable(wanted.since)} is in these files"
        )
    return found


def _of_prometheus(wanted: Wanted, by: str) -> list[tuple[str, Baseline]]:
    """Whole days (UTC) that have series."""
    if wanted.since is None:
        give_up("--prometheus needs --since, such as 60d: how far back")
    if by != DAY:
        give_up("--by version: metrics do not have the version of a flow")
    if wanted.paths:
        give_up("--prometheus takes no files")
    end_s = int(time.time()) // _DAY_S * _DAY_S
    days = int(seconds_of(wanted.since)) // _DAY_S
    found = []
    try:
        access = PrometheusAccess.of(wanted.prometheus or "", token_file=wanted.token_file, ca_file=wanted.ca_file)
        source = PrometheusSource(access)
        with steps_bar("asking") as on_progress:
            for done, at_s in enumerate(range(end_s - (days - 1) * _DAY_S, end_s + 1, _DAY_S)):
                try:
                    measured = source.measured(_DAY_S, at_s=at_s, flow=wanted.flow)
                except NoSeriesError:
                    continue
                baseline = baselines.baseline_of_prometheus(measured, end_s=at_s)
                found.append((_moment(baseline.first_ns), baseline))
                if on_progress is not None:
                    on_progress(done + 1, days)
    except PrometheusError as exc:
        give_up(printable(exc))
    if not any(baseline.flows for _, baseline in found):
        give_up(f"no run ended in the whole days of the last {printable(wanted.since)}")
    return found
