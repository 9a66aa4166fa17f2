"""``langflow-otel baseline``: keep how flows behave, and say what became worse or better."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from langflow_otel.cli.baseline import comparison_view
from langflow_otel.cli.console import FAILED, give_up, make_console, printable, say
from langflow_otel.cli.trace_input import check_flow, check_version, counted, opened_traces, seconds_of
from langflow_otel.insights._baselines import baselines
from langflow_otel.insights._baselines.baselines import PROMETHEUS, Baseline, BaselineError
from langflow_otel.insights._baselines.comparison import Comparison, NothingToCompareError
from langflow_otel.insights._baselines.comparison import compare as compare_baselines
from langflow_otel.insights.prometheus_source import PrometheusAccess, PrometheusError, PrometheusSource
from langflow_otel.insights.selection import Selection

if TYPE_CHECKING:
    from langflow_otel.insights.traces import Traces

_LEAST_S = 60
_MAX_NAMED = 10


@dataclass(frozen=True)
class Wanted:
    """Which runs, and from where.

    Attributes:
        paths: Trace files; none for that of the settings.
        flow: Name or id; None for all.
        since: Such as ``24h``; None for all runs.
        prometheus: URL of a Prometheus instead of files.
        token_file, ca_file: For it.
    """

    paths: Sequence[Path]
    flow: str | None = None
    since: str | None = None
    prometheus: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None


def save(wanted: Wanted, output: Path, *, version: str | None) -> None:
    """Write the baseline of these runs."""
    baseline = _from_prometheus(wanted, None) if wanted.prometheus else _from_files(wanted, version, None)
    try:
        baselines.save(baseline, output)
    except OSError as exc:
        give_up(f"{printable(output)} cannot be written: {exc.strerror or exc}")
    flows = baseline.flows
    runs = sum(entry.count for entry in flows.values())
    components = len(baseline.entries) - len(flows)
    of = f"{counted(len(flows), 'flow')} with {counted(components, 'component')}"
    say(f"{printable(output)}: {counted(runs, 'run')} of {of}")


def compare(wanted: Wanted, versions: Sequence[str], *, fail_over: str, every: bool, as_json: bool) -> None:
    """Compare runs with a baseline, whose file is the first path, or two versions of flows with each other.

    The command ends with exit code 1 if a figure is worse by more than ``fail_over``.
    """
    limit = limit_of("--fail-over", fail_over)
    if len(versions) > 2:
        give_up("--version can be given twice, for the version before and the one now")
    if len(versions) == 2 and versions[0] == versions[1]:
        give_up(f"--version {printable(versions[0])} is given twice: two versions are compared")
    before, after = _both_versions(wanted, versions) if len(versions) == 2 else _kept_and_new(wanted, versions)
    try:
        comparison = compare_baselines(before, after, fail_over=limit)
    except NothingToCompareError as exc:
        give_up(printable(exc))
    _show(comparison, every=every, as_json=as_json)
    _end(comparison)


def limit_of(option: str, given: str) -> float:
    """``10%`` as 0.1. What is no percentage ends the command with exit code 2."""
    text = given.strip().removesuffix("%").strip()
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent < 1e6:
        give_up(f"{option} {printable(given)}: a percentage from 0 is accepted, such as 10%")
    return percent / 100


def _kept_and_new(wanted: Wanted, versions: Sequence[str]) -> tuple[Baseline, Baseline]:
    if not wanted.paths:
        give_up("name the baseline to compare with, or two versions: --version A --version B")
    path, *paths = wanted.paths
    before = loaded(path)
    if (before.source == PROMETHEUS) != bool(wanted.prometheus):
        give_up(
            f"{printable(path)} is from {before.source}, and percentiles of histograms are not comparable with those "
            "of traces: compare it " + ("with trace files" if wanted.prometheus else "by --prometheus and --since")
        )
    rest = replace(wanted, paths=paths)
    if wanted.prometheus:
        after = _from_prometheus(rest, before)
    else:
        after = _from_files(rest, versions[0] if versions else None, before)
    return before if wanted.flow is None else _of_flows(before, after), after


def _both_versions(wanted: Wanted, versions: Sequence[str]) -> tuple[Baseline, Baseline]:
    if wanted.prometheus:
        give_up("--version: metrics do not have the version of a flow; compare trace files")
    with opened_traces(wanted.paths) as traces:
        before, after = (_of_version(traces, wanted, version) for version in versions)
    return before, after


def _of_version(traces: Traces, wanted: Wanted, version: str | None) -> Baseline:
    _check(traces, wanted, version)
    selection = Selection(flow=wanted.flow, version=version, since_ns=_since_ns(wanted))
    baseline = baselines.baseline_of_traces(traces.connection, selection)
    if not baseline.entries:
        give_up(_no_runs(wanted, version, is_newer=False))
    return baseline


def _check(traces: Traces, wanted: Wanted, version: str | None) -> None:
    check_flow(traces, wanted.flow)
    check_version(traces, version, wanted.flow)


def _since_ns(wanted: Wanted) -> int | None:
    return None if wanted.since is None else time.time_ns() - int(seconds_of(wanted.since) * 1e9)


def loaded(path: Path) -> Baseline:
    """The baseline of a file. What is none ends the command with exit code 2."""
    try:
        return baselines.load(path)
    except OSError as exc:
        give_up(f"{printable(path)} cannot be read: {exc.strerror or exc}")
    except BaselineError as exc:
        give_up(f"{printable(path)}: {printable(exc)}")


def _of_flows(before: Baseline, after: Baseline) -> Baseline:
    """Only the flows that are there now, since one of them was asked for."""
    flows = {entry.flow for entry in after.entries}
    kept = tuple(entry for entry in before.entries if entry.flow in flows)
    return replace(before, entries=kept) if kept else before


def _from_files(wanted: Wanted, version: str | None, kept: Baseline | None) -> Baseline:
    """The baseline of files; without the runs that are in the one that was kept."""
    since_ns = _since_ns(wanted)
    with opened_traces(wanted.paths) as traces:
        _check(traces, wanted, version)
        is_same = kept is not None and baselines.holds_runs_of(traces.connection, kept)
        if kept is not None and is_same:
            since_ns = max(since_ns or 0, kept.last_ns + 1)
            say("note: the files hold runs of the baseline; only newer ones are compared")
        selection = Selection(flow=wanted.flow, version=version, since_ns=since_ns)
        baseline = baselines.baseline_of_traces(traces.connection, selection)
    if not baseline.entries:
        give_up(_no_runs(wanted, version, is_newer=is_same))
    return baseline


def _no_runs(wanted: Wanted, version: str | None, *, is_newer: bool) -> str:
    conditions = [
        f"of the flow {printable(wanted.flow)}" if wanted.flow else "",
        f"of the version {printable(version)}" if version else "",
        f"of the last {printable(wanted.since)}" if wanted.since else "",
        "newer than the baseline" if is_newer else "",
    ]
    return " ".join(["no run", *filter(None, conditions), "is in these files"])


def _from_prometheus(wanted: Wanted, kept: Baseline | None) -> Baseline:
    """The baseline of histograms; of the time after the one that was kept."""
    if wanted.paths:
        give_up("--prometheus takes no trace files")
    if wanted.since is None:
        give_up("--prometheus needs --since, such as 24h: how far back")
    now_s, seconds = time.time(), seconds_of(wanted.since)
    if kept is not None and kept.last_ns / 1e9 > now_s - seconds:
        seconds = now_s - kept.last_ns / 1e9
        if seconds < _LEAST_S:
            give_up("the baseline ends less than a minute ago: compare later")
        say("note: only the time after the baseline is compared")
    try:
        access = PrometheusAccess.of(wanted.prometheus or "", token_file=wanted.token_file, ca_file=wanted.ca_file)
        measured = PrometheusSource(access).measured(seconds, at_s=now_s, flow=wanted.flow)
    except PrometheusError as exc:
        give_up(printable(exc))
    baseline = baselines.baseline_of_prometheus(measured, end_s=now_s)
    if not baseline.flows:
        give_up(f"no run ended in the last {printable(wanted.since)}")
    return baseline


def _show(comparison: Comparison, *, every: bool, as_json: bool) -> None:
    for what, flows in (("only in the baseline", comparison.flows_gone), ("not in the baseline", comparison.flows_new)):
        if flows:
            names = ", ".join(printable(each) for each in flows[:_MAX_NAMED])
            more = f" and {len(flows) - _MAX_NAMED} more" if len(flows) > _MAX_NAMED else ""
            say(f"note: not compared, since {what}: {names}{more}")
    if as_json:
        typer.echo(json.dumps(comparison_view.as_json(comparison), indent=2))
    else:
        comparison_view.show(comparison, make_console(), every=every)


def _end(comparison: Comparison) -> None:
    if not comparison.judged:
        give_up("too few runs to compare")
    if comparison.failed:
        raise typer.Exit(FAILED)
