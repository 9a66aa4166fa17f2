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
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import (
    BAD_INPUT,
    give_up,
    heading,
    in_bytes,
    in_money,
    in_percent,
    make_console,
    printable,
    say,
)
from langflow_otel.cli.trace_input import check_flow, opened_traces
from langflow_otel.insights._forecasts.daily import Series, day_of, typical

if TYPE_CHECKING:
    from langflow_otel.insights._forecasts.forecast import BackTest, Crossing, Forecast
    from langflow_otel.insights.prometheus_source import PrometheusSource

_DAY_S = 86_400
_FORECAST_DAYS = 90
_LIMIT = re.compile(
    r"(runs|tokens|cost|cpu|memory|disk|descriptors|queue|temperature)=([0-9]+(?:\.[0-9]+)?)\s*"
    r"(|%|k|M|G|MB|GB|TB|KiB|MiB|GiB|TiB)"
)
_FACTORS = {"": 1, "%": 0.01, "k": 10**3, "M": 10**6, "G": 10**9, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_FACTORS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SHOWN_DAYS = (1, 7, 14, 30, 60, 90, 180, 365)
"""Days ahead of which a forecast is shown; of the others --json has it."""


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
    check_history(wanted)
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
        show_forecasts(made, make_console())


def check_history(wanted: Wanted) -> None:
    if wanted.prometheus is None and wanted.history_days is not None:
        give_up("--history is for --prometheus: of trace files all is looked at")


def metrics_source(wanted: Wanted, paths: Sequence[Path]) -> PrometheusSource:
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
        return series_from_prometheus(metrics_source(wanted, paths), now_s - history_s, now_s)
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


def show_forecasts(forecasts: Sequence[Forecast], console: Console) -> None:
    """Print them."""
    for forecast in forecasts:
        _show_one(forecast, console)


def _show_one(forecast: Forecast, console: Console) -> None:
    series = forecast.series
    of = "a day" if series.is_sum else "level of a day"
    heading(
        console, printable(series.name), f"{of}, from {len(series.values)} days until {day_of(series.end_s - 1)} (UTC)"
    )
    console.print(_days(forecast))
    if series.is_sum:
        total = in_unit(series, forecast.total)
        console.print(Text(f"In all of the {len(forecast.days)} days: {total}."), soft_wrap=True)
    if forecast.crossing is not None:
        console.print(Text(crossing_line(series, forecast.crossing, len(forecast.days)), "bold"), soft_wrap=True)
    console.print(Text(back_test_line(forecast), "dim"), soft_wrap=True)


def _days(forecast: Forecast) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("day", no_wrap=True)
    for title in ("forecast", "95 % interval from", "to"):
        table.add_column(title, justify="right", no_wrap=True)
    series, count = forecast.series, len(forecast.days)
    table.add_row("median so far", in_unit(series, typical(series.values)), "", "", style="dim")
    for ahead in sorted({each for each in SHOWN_DAYS if each <= count} | {count}):
        day = forecast.days[ahead - 1]
        table.add_row(day_of(day.start_s), *(in_unit(series, each) for each in (day.value, day.low, day.high)))
    return table


def in_unit(series: Series, value: float) -> str:
    """With the series' unit."""
    if series.unit == "bytes":
        return in_bytes(value)
    if series.unit.startswith("share"):
        return in_percent(100 * value)
    if series.name.startswith("cost"):
        return f"{in_money(value)} {printable(series.unit)}".rstrip()
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def crossing_line(series: Series, crossing: Crossing, days: int) -> str:
    """When a limit is reached."""
    limit = in_unit(series, crossing.limit)
    if crossing.is_over:
        return f"The limit of {limit} is reached already."
    if crossing.expected_s is None and crossing.earliest_s is None:
        return f"The limit of {limit} is not reached within {days} days, not even by the upper bound."
    earliest = "" if crossing.earliest_s is None else f"as early as {day_of(crossing.earliest_s)}"
    if crossing.expected_s is None:
        return f"The limit of {limit} is not expected to be reached within {days} days, but may be {earliest}."
    latest = "no later bound" if crossing.latest_s is None else f"{day_of(crossing.latest_s)} at the latest"
    if crossing.latest_s is None:
        latest = f"or not within {days} days"
    return f"The limit of {limit} is expected to be reached on {day_of(crossing.expected_s)}; {earliest}, {latest}."


def back_test_line(forecast: Forecast) -> str:
    """How far the models were off."""
    from langflow_otel.insights._forecasts.forecast import NAIVE, SEASONAL_NAIVE

    series, chosen = forecast.series, forecast.back_test
    others = [
        f"{name}: {in_unit(series, forecast.back_tests[name].mean_error)}"
        for name in (NAIVE, SEASONAL_NAIVE)
        if name in forecast.back_tests and name != forecast.model
    ]
    return (
        f"Model: {forecast.model}. Tried from {forecast.origins} days in the past, {forecast.tried_days} days ahead, "
        f"it was off by {in_unit(series, chosen.mean_error)} on average ({', '.join(others)}); {_coverage(chosen)}."
    )


def _coverage(test: BackTest) -> str:
    wider = "" if test.widening <= 1 else f", so that they are {test.widening:.1f} times as wide here"
    return f"its own 95 % intervals held {test.coverage:.0%} of what came{wider}"
