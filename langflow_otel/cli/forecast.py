"""``langflow-otel forecast``: the next days of each figure, and when a limit is reached."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from langflow_otel.cli.choosing import check_flow
from langflow_otel.cli.console import BAD_INPUT, give_up, make_console, printable, say
from langflow_otel.cli.opened_traces import opened_traces

if TYPE_CHECKING:
    from langflow_otel.insights._forecasts.daily import Series
    from langflow_otel.insights._forecasts.forecast import Forecast
    from langflow_otel.insights._forecasts.risks import Risks
    from langflow_otel.insights.prometheus_source import PrometheusSource

_DAY_S = 86_400
_FORECAST_DAYS = 90
_RISK_DAYS = 7
_LIMIT = re.compile(
    r"(runs|tokens|cost|cpu|memory|disk|descriptors|queue|temperature)=([0-9]+(?:\.[0-9]+)?)\s*"
    r"(|%|k|M|G|MB|GB|TB|KiB|MiB|GiB|TiB)"
)
_RISK_LIMITS = {"memory": "memory", "disk": "disk", "descriptors": "descriptors", "queue": "queue"} | {
    "temperature": "gpu temperature"
}
_FACTORS = {"": 1, "%": 0.01, "k": 10**3, "M": 10**6, "G": 10**9, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_FACTORS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        days: How many days ahead.
        limits: Such as ``memory=4GiB``.
        flow: Name or id of the only flow.
        prometheus: Of a Prometheus; None for trace files.
        token_file, ca_file: For it.
        history_days: How far back it is asked; None for 90, of risks for 7.
    """

    days: int
    limits: Sequence[str]
    flow: str | None
    prometheus: str | None
    token_file: Path | None
    ca_file: Path | None
    history_days: int | None


def forecast(paths: Sequence[Path], wanted: Wanted, *, as_json: bool) -> None:
    """Forecast each figure; what has too little history is named on stderr. If all have, the exit code is 2."""
    limits = limits_of(wanted.limits)
    try:
        from langflow_otel.insights._forecasts.forecast import TooShortError
        from langflow_otel.insights._forecasts.forecast import forecast as forecast_of
    except ImportError as exc:
        package = (exc.name or "").partition(".")[0]
        give_up(f"{package} is not installed; this needs: pip install 'langflow-otel[forecast]'")
    _check_history(wanted)
    series = _from_prometheus(wanted, paths) if wanted.prometheus is not None else _from_traces(paths, wanted.flow)
    _check_limits(limits, series)
    made, problems = [], []
    with _progress(len(series)) as advance:
        for each in series:
            try:
                made.append(forecast_of(each, wanted.days, limits.get(each.name.split()[0])))
            except TooShortError as exc:
                problems.append(f"{printable(each.name)}: {exc}")
            advance()
    if not made:
        _too_short(problems)
    for problem in problems:
        say(f"warning: no forecast of {problem}")
    if as_json:
        typer.echo(json.dumps({"forecasts": [_as_json(each) for each in made], "refused": problems}, indent=2))
    else:
        from langflow_otel.cli.forecast_view import show

        show(made, make_console())


def risks(paths: Sequence[Path], wanted: Wanted, *, as_json: bool) -> None:
    """What grows and does not stop; with limits, when they are reached."""
    from langflow_otel.cli.risks_view import as_json as risks_as_json
    from langflow_otel.cli.risks_view import show_risks

    given = limits_of(wanted.limits)
    if wanted.prometheus is None and set(given) - {"memory"}:
        give_up("--risk of trace files takes a limit of memory, and no other: --prometheus knows more")
    if set(given) - _RISK_LIMITS.keys():
        give_up(f"--risk takes limits of {', '.join(_RISK_LIMITS)}, and no others")
    _check_history(wanted)
    limits = {_RISK_LIMITS[name]: value for name, value in given.items()}
    found = _risks_of_traces(paths, wanted.flow) if wanted.prometheus is None else _risks_of_metrics(wanted, paths)
    if as_json:
        typer.echo(json.dumps(risks_as_json(found, limits), indent=2))
    else:
        show_risks(found, limits, make_console())
    if not found.compared and not found.uncorrected:
        give_up("too short a history to say what grows: 20 minutes at least are needed, with runs in each")


def _check_history(wanted: Wanted) -> None:
    if wanted.prometheus is None and wanted.history_days is not None:
        give_up("--history is for --prometheus: of trace files all is looked at")


def _risks_of_traces(paths: Sequence[Path], flow: str | None) -> Risks:
    with opened_traces(paths) as traces:
        from langflow_otel.insights._forecasts.risks import find_risks
        from langflow_otel.insights.selection import Selection

        if flow is not None:
            check_flow(traces, flow)
        return find_risks(traces.connection, Selection(flow=flow))


def _risks_of_metrics(wanted: Wanted, paths: Sequence[Path]) -> Risks:
    from langflow_otel.insights._forecasts.metric_risks import find_risks_of_metrics
    from langflow_otel.insights.prometheus_source import PrometheusError

    end_s = int(time.time())
    history_s = (wanted.history_days or _RISK_DAYS) * _DAY_S
    try:
        return find_risks_of_metrics(_source(wanted, paths), end_s - history_s, end_s)
    except PrometheusError as exc:
        give_up(str(exc), BAD_INPUT)


def _source(wanted: Wanted, paths: Sequence[Path]) -> PrometheusSource:
    from langflow_otel.insights.prometheus_source import PrometheusAccess, PrometheusSource

    if paths or wanted.flow is not None:
        give_up("--prometheus takes no files, and forecasts all flows together")
    access = PrometheusAccess.of(wanted.prometheus or "", token_file=wanted.token_file, ca_file=wanted.ca_file)
    return PrometheusSource(access)


def limits_of(given: Sequence[str]) -> dict[str, float]:
    """By figure. What is none ends the command with exit code 2."""
    limits = {}
    for each in given:
        found = _LIMIT.fullmatch(each.strip())
        if found is None:
            give_up(
                f"--limit {printable(each)}: a figure (runs, tokens, cost, cpu, memory, disk, descriptors, queue, "
                "temperature), = and a number are accepted, with k, M, G, MB, GB, TB, MiB, GiB, TiB or % behind it: "
                "memory=4GiB, tokens=2M, disk=90%"
            )
        limits[found[1]] = float(found[2]) * _FACTORS[found[3]]
    return limits


def _check_limits(limits: Mapping[str, float], series: Sequence[Series]) -> None:
    known = dict.fromkeys(each.name.split()[0] for each in series)
    for name in limits:
        if name not in known:
            give_up(f"--limit {name}: the data have no {name}; they have {', '.join(known) or 'nothing'}")


def _too_short(problems: Sequence[str]) -> NoReturn:
    from langflow_otel.insights._forecasts.forecast import LEAST_DAYS

    reasons = dict.fromkeys(problem.partition(": ")[2] for problem in problems)
    short = f"there are less than three days of runs, and {LEAST_DAYS} are needed"
    give_up(f"no forecast: {'; '.join(reasons) or short}", BAD_INPUT)


def _from_traces(paths: Sequence[Path], flow: str | None) -> list[Series]:
    with opened_traces(paths) as traces:
        from langflow_otel.insights._forecasts.daily import series_from_runs
        from langflow_otel.insights.selection import Selection

        if flow is not None:
            check_flow(traces, flow)
        return series_from_runs(traces.connection, Selection(flow=flow))


def _from_prometheus(wanted: Wanted, paths: Sequence[Path]) -> list[Series]:
    from langflow_otel.insights._forecasts.daily import series_from_prometheus
    from langflow_otel.insights.prometheus_source import PrometheusError

    now_s = int(time.time())
    history_s = (wanted.history_days or _FORECAST_DAYS) * _DAY_S
    try:
        return series_from_prometheus(_source(wanted, paths), now_s - history_s, now_s)
    except PrometheusError as exc:
        give_up(str(exc), BAD_INPUT)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    console = make_console(stderr=True)
    columns = (TextColumn("trying models on the past"), BarColumn(), MofNCompleteColumn())
    if not console.is_terminal:
        yield lambda: None
        return
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def _as_json(forecast: Forecast) -> dict[str, Any]:
    data = dataclasses.asdict(forecast)
    data["history"] = {
        **data.pop("series"),
        "values": [each if math.isfinite(each) else None for each in forecast.series.values],
    }
    data["days"] = [each._asdict() for each in forecast.days]
    if forecast.series.is_sum:
        data["total"] = forecast.total
    return {"figure": forecast.series.name, **data}
